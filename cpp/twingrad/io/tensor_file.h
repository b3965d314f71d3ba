#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/named_tensor.h"

namespace twingrad {

/// The content of a weight file: tensors in the order of the file (contiguous and on the CPU after reading)
/// and metadata. Their dtypes are those of ElementType: floats of 64, 32 and 16 bits, bfloat16, integers,
/// bool.
struct TensorFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;  ///< only in safetensors files
};

/// Reads a safetensors file, or a file of Python's torch.save, LibTorch's torch::save or torch::pickle_save,
/// or TorchScript: a state dict, a checkpoint with a state dict in it, or a module (tensor_pickle.h). The
/// format is detected from the content, not from the name. No code in the file is run. Throws UserError
/// naming the file, and the tensor or the byte, for other formats and for damaged files (for the checks, see
/// safetensors_header.h and torch_archive.h).
TensorFile read_tensor_file(const std::filesystem::path& path);

/// Writes a file atomically: safetensors if the name ends in .safetensors, a file for torch.load if it ends
/// in .pt or .pth, in lower or upper case. Throws UserError for another extension, for a dtype or a name that
/// the format does not support, and if the file cannot be written; an existing file then remains unchanged.
void write_tensor_file(const std::filesystem::path& path, const TensorFile& file);

/// Read the content of a file from memory; `where` replaces the file name in messages.
TensorFile parse_safetensors(std::string_view content, const std::string& where);
TensorFile parse_torch_archive(std::string_view content, const std::string& where);

/// The content of a safetensors file. Tensors may be on any device and have any strides. Only the elements of
/// a view are written, not its storage.
std::string safetensors_of(const TensorFile& file);

/// The content of a .pt file: a dict of names and tensors, which Python loads without running code by
/// net.load_state_dict(torch.load(f)), also with weights_only=True. The metadata is not written.
std::string torch_archive_of(const TensorFile& file);

}  // namespace twingrad
