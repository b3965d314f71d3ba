#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/stored_tensor.h"

namespace twingrad {

/// What the header of a safetensors file tells (the format of https://github.com/huggingface/safetensors):
///
///   length of the header, 64 bit, little endian | header: JSON, then spaces | the elements of all tensors
///
/// The JSON is {"__metadata__": {text: text, …}, name: {"dtype": "F32", "shape": [2, 3], "data_offsets":
/// [begin, end]}, …}, with offsets counted from the end of the header. The tensors follow each other without
/// holes or overlap.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  ///< in the order of their elements, all contiguous
  std::map<std::string, std::string> metadata;
};

/// The header of the file with this content. Throws UserError, naming `where` and the tensor, for anything
/// that is not what the format says, and for an element type that is not an ElementType.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& where);

/// The length and the JSON of a file whose tensors follow each other in this order; their strides and offsets
/// are not looked at. The elements then begin at a multiple of 8. Throws UserError for a name that two
/// tensors have, that is no UTF-8 or that is "__metadata__", and for a header of more than 100,000,000 bytes.
std::string write_safetensors_header(const SafetensorsHeader& header);

}  // namespace twingrad
