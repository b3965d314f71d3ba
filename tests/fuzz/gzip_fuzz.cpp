// The input is an IDX file compressed by gzip. It is read unchanged, and again with a corrected checksum and
// length, which mutations hardly ever have. If it is accepted, zlib must unpack the same bytes.
#include <zlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fuzz.h"
#include "idx_files.h"

namespace {

using namespace twingrad::fuzz;
using Bytes = std::span<const std::uint8_t>;

/// A stream unpacked by zlib: its first bytes, checksum and length, and where it ends.
struct Unpacked {
  std::vector<std::uint8_t> start;
  std::uint32_t checksum = 0, length = 0;
  std::size_t packed_size = 0;
  bool is_whole = false;
};

/// window_bits: as in zlib's inflateInit2.
Unpacked unpack(Bytes packed, int window_bits) {
  constexpr std::size_t kMost = 1 << 16;  // more than read_idx accepts for any input here
  Unpacked unpacked;
  z_stream stream{};
  require(inflateInit2(&stream, window_bits) == Z_OK, "zlib can be initialized");
  stream.next_in = const_cast<Bytef*>(packed.data());  // zlib does not write to it
  stream.avail_in = static_cast<uInt>(packed.size());
  int state = Z_OK;
  std::array<std::uint8_t, 4096> piece;
  while (state == Z_OK) {
    stream.next_out = piece.data();
    stream.avail_out = piece.size();
    state = inflate(&stream, Z_NO_FLUSH);
    const std::size_t count = piece.size() - stream.avail_out;
    unpacked.checksum =
        static_cast<std::uint32_t>(crc32(unpacked.checksum, piece.data(), static_cast<uInt>(count)));
    unpacked.length += static_cast<std::uint32_t>(count);
    if (unpacked.start.size() < kMost) {
      unpacked.start.insert(unpacked.start.end(), piece.begin(),
                            piece.begin() + static_cast<std::ptrdiff_t>(count));
    }
  }
  unpacked.is_whole = state == Z_STREAM_END;
  unpacked.packed_size = packed.size() - stream.avail_in;
  inflateEnd(&stream);
  return unpacked;
}

/// The file with the correct checksum and length, if its header is the short one.
std::vector<std::uint8_t> with_correct_end(Bytes file) {
  constexpr std::size_t kHeaderSize = 10;
  std::vector<std::uint8_t> corrected(file.begin(), file.end());
  if (file.size() < kHeaderSize) return corrected;
  const Unpacked unpacked = unpack(file.subspan(kHeaderSize), -MAX_WBITS);
  if (!unpacked.is_whole) return corrected;
  corrected.resize(kHeaderSize + unpacked.packed_size);
  for (const std::uint32_t word : {unpacked.checksum, unpacked.length}) {
    for (int shift = 0; shift < 32; shift += 8) corrected.push_back(static_cast<std::uint8_t>(word >> shift));
  }
  return corrected;
}

void check(Bytes file) {
  for (const int rank : {kLabels, kImages}) {
    const auto content = read_idx_of(file, rank);
    if (!content || file.empty() || file[0] != 0x1f) continue;  // plain: see idx_fuzz.cpp
    const Unpacked unpacked = unpack(file, 16 + MAX_WBITS);
    require(unpacked.is_whole && unpacked.packed_size == file.size(), "zlib reads one complete stream");
    const auto whole = plain_file(*content);
    require(whole.size() == unpacked.length, "the length is that of the stream");
    require(whole.size() > unpacked.start.size() || whole == unpacked.start,
            "header and bytes equal the file");
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes file(data, size);
  check(file);
  check(with_correct_end(file));
  return 0;
}
