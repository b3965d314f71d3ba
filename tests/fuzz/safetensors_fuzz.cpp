// The input is a safetensors file.
#include <string_view>

#include "stored_tensors.h"
#include "twingrad/io/little_endian.h"
#include "twingrad/io/safetensors_header.h"
#include "twingrad/runtime/error.h"

namespace {

void check(std::string_view file) {
  const twingrad::SafetensorsHeader header = twingrad::parse_safetensors_header(file, "input");
  std::uint64_t position = 8 + twingrad::read_little_endian<std::uint64_t>(file);
  for (const twingrad::StoredTensor& tensor : header.tensors) {
    twingrad::fuzz::require(tensor.begin == position, "the tensors follow each other");
    position = tensor.end;
  }
  twingrad::fuzz::require(position == file.size(), "the tensors end where the file ends");
  twingrad::fuzz::check_that_safetensors_keeps(header, file);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    check({reinterpret_cast<const char*>(data), size});
  } catch (const twingrad::UserError&) {
  }
  return 0;
}
