#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fuzz.h"
#include "twingrad/io/safetensors_header.h"

namespace twingrad::fuzz {

/// The elements of a tensor that was found in the file.
inline std::string elements(const StoredTensor& tensor, std::string_view file) {
  const auto size = byte_size_of(tensor.shape, tensor.type);
  require(size.has_value(), "the size of a tensor is known");
  require(tensor.shape.size() == tensor.strides.size(), "there is a stride for each dimension");
  require(tensor.begin <= tensor.end && tensor.end <= file.size(), "a tensor is within its file");
  // A copy, so that the sanitizer sees a read outside the range.
  const std::string range(file.substr(tensor.begin, tensor.end - tensor.begin));
  StoredTensor alone = tensor;
  alone.begin = 0;
  alone.end = range.size();
  std::string copy(*size, '\0');
  copy_elements(alone, range, copy.data());
  return copy;
}

/// Writes the tensors of a file as safetensors and reads them again; they must be the same. Throws UserError
/// for a name that the format does not support.
inline void check_that_safetensors_keeps(const SafetensorsHeader& header, std::string_view file) {
  std::string written = write_safetensors_header(header);
  for (const StoredTensor& tensor : header.tensors) written += elements(tensor, file);
  const SafetensorsHeader read = parse_safetensors_header(written, "written");
  require(read.metadata == header.metadata, "the metadata is the same");
  require(read.tensors.size() == header.tensors.size(), "there are as many tensors");
  for (std::size_t i = 0; i < read.tensors.size(); ++i) {
    const StoredTensor& a = read.tensors[i];
    const StoredTensor& b = header.tensors[i];
    require(a.name == b.name && a.type == b.type && a.shape == b.shape, "a tensor is the same");
    require(elements(a, written) == elements(b, file), "its elements are the same");
  }
}

}  // namespace twingrad::fuzz
