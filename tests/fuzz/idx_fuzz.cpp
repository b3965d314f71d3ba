// The input is a plain IDX file. If it is read, nothing is lost; packed by gzip, it reads the same.
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fuzz.h"
#include "idx_files.h"

namespace {

using namespace twingrad::fuzz;
using Bytes = std::span<const std::uint8_t>;

std::vector<std::uint8_t> gzip(Bytes bytes) {
  z_stream stream{};
  require(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib works");
  std::vector<std::uint8_t> packed(deflateBound(&stream, static_cast<uLong>(bytes.size())));
  stream.next_in = const_cast<Bytef*>(bytes.data());  // zlib only reads it
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib packs");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

bool is_gzip(Bytes bytes) { return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b; }

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes file(data, size);
  if (is_gzip(file)) return 0;  // gzip_fuzz's
  for (const int rank : {kLabels, kImages}) {
    const auto content = read_idx_of(file, rank);
    const auto unpacked = read_idx_of(gzip(file), rank);
    require(content.has_value() == unpacked.has_value(), "packed and plain are read or refused alike");
    if (!content) continue;
    const auto whole = plain_file(*content);
    require(std::equal(whole.begin(), whole.end(), file.begin(), file.end()),
            "header and bytes are the file");
    require(unpacked->sizes == content->sizes && unpacked->bytes == content->bytes &&
                unpacked->sha256 == content->sha256,
            "packed and plain hold the same");
  }
  return 0;
}
