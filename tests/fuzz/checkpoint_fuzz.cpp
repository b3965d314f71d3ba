// The input is a checkpoint file, or the progress or the settings in a checkpoint whose checksum is computed
// here.
#include <map>
#include <stdexcept>
#include <string>

#include "fuzz.h"
#include "twingrad/io/safetensors_header.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"
#include "twingrad/training/checkpoint_text.h"

namespace {

using Metadata = std::map<std::string, std::string>;

/// The file of a checkpoint without tensors.
std::string file_with(const Metadata& metadata) {
  return twingrad::with_checksum(twingrad::write_safetensors_header({{}, metadata}));
}

/// The same with the input in place of one of the texts.
std::string file_with(const char* name, const std::string& input) {
  Metadata metadata = twingrad::metadata_of({});
  metadata[name] = input;
  return file_with(metadata);
}

Metadata read(const std::string& file) {
  const Metadata metadata = twingrad::parse_safetensors_header(file, "input").metadata;
  return metadata_of(twingrad::parse_checkpoint_text(metadata, file, "input"));
}

void check(const std::string& file) {
  try {
    const Metadata metadata = read(file);
    twingrad::fuzz::require(read(file_with(metadata)) == metadata,
                            "the content is the same after it is written and read again");
  } catch (const twingrad::UserError&) {
  }
}

/// The same with a correct checksum.
void check_with_checksum(const std::string& file) {
  std::string right;
  try {
    right = twingrad::with_checksum(file);
  } catch (const std::invalid_argument&) {
    return;  // there is no place for a checksum
  }
  check(right);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  if (size > 8 && input[8] == '{') {
    check(input);
    check_with_checksum(input);
  } else if (twingrad::is_utf8(input)) {
    check(file_with("twingrad.progress", input));
    check(file_with("twingrad.run", input));
  }
  return 0;
}
