// The input is a file of torch.save, or a pickle for a file with two storages, for which the checksum is
// computed here.
#include <string>
#include <string_view>

#include "../support/archives.h"
#include "stored_tensors.h"
#include "twingrad/io/torch_archive.h"
#include "twingrad/runtime/error.h"

namespace {

using twingrad::fuzz::require;

constexpr std::string_view kStored = "01234567";  // occurs nowhere else in the archive

std::string archive_with(const std::string& pickle) {
  const std::string eight(kStored);
  return twingrad::testing::zip_of({{"archive/data.pkl", pickle},
                                    {"archive/data/0", eight + eight + eight},
                                    {"archive/data/1", eight},
                                    {"archive/version", "3\n"}});
}

void check(const std::string& file, bool is_ours) {
  const twingrad::SafetensorsHeader header{twingrad::find_tensors_of_torch_archive(file, "input"), {}};
  std::size_t bytes = 0;
  for (const twingrad::StoredTensor& tensor : header.tensors) {
    const std::string elements = twingrad::fuzz::elements(tensor, file);
    const bool stored = elements.find_first_not_of(kStored) == std::string::npos;
    require(!is_ours || stored, "elements are within their storage");
    bytes += elements.size();
  }
  require(bytes <= 16 * file.size(), "the tensors take at most 16 times the size of the file");
  twingrad::fuzz::check_that_safetensors_keeps(header, file);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const bool is_archive = input.starts_with("PK");
  try {
    check(is_archive ? input : archive_with(input), !is_archive);
  } catch (const twingrad::UserError&) {
  }
  return 0;
}
