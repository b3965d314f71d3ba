#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/named_tensor.h"

namespace twingrad {

/// What a weight file holds: tensors in the order of the file, contiguous and on the CPU after reading, and
/// texts about them. Their dtypes are those of ElementType: floats of 64, 32 and 16 bits, bfloat16, integers,
/// bool.
struct TensorFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;  ///< safetensors alone has a place for it
};

/// Reads a safetensors file or a state dict saved by Python's torch.save or by torch::pickle_save; what it is
/// is told by its content, not by its name. No code in it is run. Throws UserError naming the file, and the
/// tensor or the byte, for anything else and for a damaged file (safetensors_header.h and torch_archive.h say
/// what is checked).
TensorFile read_tensor_file(const std::filesystem::path& path);

/// Writes a file whole or not at all: safetensors if the name ends in .safetensors, one for torch.load if it
/// ends in .pt or .pth. Throws UserError for another ending, for a dtype or a name that the format does not
/// know, and if the file cannot be written; an older file then remains.
void write_tensor_file(const std::filesystem::path& path, const TensorFile& file);

/// The same for a content in memory; messages name it `where`.
TensorFile parse_safetensors(std::string_view content, const std::string& where);
TensorFile parse_torch_archive(std::string_view content, const std::string& where);

/// The content of a file. Tensors may be on any device and in any strides; of a view, the view alone is
/// written.
std::string safetensors_of(const TensorFile& file);

/// A tuple of (name, tensor) pairs, which Python reads without running code: dict(torch.load(f,
/// weights_only=True)). The metadata has no place in it.
std::string torch_archive_of(const TensorFile& file);

}  // namespace twingrad
