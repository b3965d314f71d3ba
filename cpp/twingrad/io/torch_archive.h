#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/stored_tensor.h"

namespace twingrad {

/// Finds the tensors in a file written by Python's torch.save, LibTorch's torch::save or torch::pickle_save,
/// or TorchScript, in the order of its pickle. Such a file is a ZIP archive: NAME/data.pkl (names and views
/// of the tensors; see read_tensor_pickle), NAME/data/0, NAME/data/1, … (their storages), NAME/version (of
/// the format, 1 to 10) and in newer files NAME/byteorder, all stored without compression. Other entries,
/// such as NAME/code of TorchScript, are ignored. Tensors may be views of one storage with any strides.
///
/// No code in the file is run. Throws UserError naming `where` and the tensor for other files, for elements
/// outside their storage, and for tensors that together take more than 16 times the size of the file.
std::vector<StoredTensor> find_tensors_of_torch_archive(std::string_view file, const std::string& where);

}  // namespace twingrad
