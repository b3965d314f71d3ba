// The input is a plain IDX file. If it is accepted, its content must be complete, and the same after
// compression by gzip.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../support/bytes.h"
#include "fuzz.h"
#include "idx_files.h"

namespace {

using namespace twingrad::fuzz;
using Input = std::span<const std::uint8_t>;

bool is_gzip(Input bytes) { return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b; }

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Input file(data, size);
  if (is_gzip(file)) return 0;  // see gzip_fuzz.cpp
  for (const int rank : {kLabels, kImages}) {
    const auto content = read_idx_of(file, rank);
    const auto unpacked = read_idx_of(twingrad::testing::gzip(file), rank);
    require(content.has_value() == unpacked.has_value(), "both files are accepted or refused");
    if (!content) continue;
    const auto whole = plain_file(*content);
    require(std::equal(whole.begin(), whole.end(), file.begin(), file.end()),
            "header and bytes equal the file");
    require(unpacked->sizes == content->sizes && unpacked->bytes == content->bytes &&
                unpacked->sha256 == content->sha256,
            "both files have the same content");
  }
  return 0;
}
