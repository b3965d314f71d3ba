#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/stored_tensor.h"

namespace twingrad {

/// Where the tensors of a file that Python's torch.save or LibTorch's torch::pickle_save wrote are: a ZIP
/// archive of stored entries, NAME/data.pkl (which tensors there are), NAME/data/0, NAME/data/1, … (their
/// storages), NAME/version (of the format, 1 to 10) and in newer files NAME/byteorder. In the order of the
/// pickle; read_tensor_pickle says what may be pickled. Tensors may be views of one storage, in any strides.
///
/// No code of the file is run. Throws UserError naming `where` and the tensor for everything that is no such
/// file, for elements outside of their storage, and for tensors that together take more than 16 times the
/// file's size.
std::vector<StoredTensor> find_tensors_of_torch_archive(std::string_view file, const std::string& where);

}  // namespace twingrad
