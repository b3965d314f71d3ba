// The input is a PNG file. It is read unchanged, and again with corrected checksums, which mutations hardly
// ever have.
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fuzz.h"
#include "twingrad/io/png.h"
#include "twingrad/runtime/error.h"

namespace {

using twingrad::fuzz::require;
using Bytes = std::vector<std::uint8_t>;

std::uint32_t big_endian_word(std::span<const std::uint8_t> bytes) {
  std::uint32_t word = 0;
  for (const std::uint8_t byte : bytes.first(4)) word = word << 8 | byte;
  return word;
}

/// Corrects the checksum of every chunk (length, type, data, checksum).
void correct_checksums(Bytes& file) {
  std::span<std::uint8_t> rest(file);
  rest = rest.subspan(std::min<std::size_t>(rest.size(), 8));  // the signature
  while (rest.size() >= 12) {
    const std::size_t length = big_endian_word(rest);
    if (length > rest.size() - 12) return;
    const auto checksum =
        static_cast<std::uint32_t>(crc32(0, rest.data() + 4, static_cast<uInt>(length) + 4));
    for (std::size_t i = 0; i < 4; ++i) {
      rest[8 + length + i] = static_cast<std::uint8_t>(checksum >> (24 - 8 * i));
    }
    rest = rest.subspan(12 + length);
  }
}

void decode(const Bytes& file) {
  try {
    const twingrad::GreyImage image =
        twingrad::decode_png({reinterpret_cast<const char*>(file.data()), file.size()}, "input");
    require(image.height > 0 && image.width > 0, "an image with pixels");
    require(image.pixels.size() == static_cast<std::size_t>(image.height * image.width),
            "height × width pixels");
  } catch (const twingrad::UserError& error) {
    twingrad::fuzz::require_one_line(error.what());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes file(data, data + size);
  decode(file);
  correct_checksums(file);
  decode(file);
  return 0;
}
