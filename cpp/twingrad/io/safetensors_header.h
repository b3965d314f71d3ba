#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/stored_tensor.h"

namespace twingrad {

/// The header of a safetensors file (https://github.com/huggingface/safetensors):
///
///   length of the header, 64 bit, little endian | header: JSON, then spaces | the elements of all tensors
///
/// The JSON is {"__metadata__": {string: string, …}, name: {"dtype": "F32", "shape": [2, 3], "data_offsets":
/// [begin, end]}, …}, with offsets from the end of the header. The tensors follow each other without gaps or
/// overlap.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  ///< in the order of their elements, all contiguous
  std::map<std::string, std::string> metadata;
};

/// Parses the header of a file with this content. Throws UserError, naming `where` and the tensor, for
/// anything that violates the format and for a dtype that is not an ElementType.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& where);

/// Returns the length and the JSON of a file whose tensors follow each other in this order, padded so that
/// the elements begin at a multiple of 8. Strides and offsets are ignored. Throws UserError for a name that
/// is a duplicate, not UTF-8 or "__metadata__", and for a header of more than 100,000,000 bytes.
std::string write_safetensors_header(const SafetensorsHeader& header);

}  // namespace twingrad
