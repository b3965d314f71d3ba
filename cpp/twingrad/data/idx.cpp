#include "twingrad/data/idx.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "twingrad/io/input_file.h"
#include "twingrad/io/remedies.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/sha256.h"
#include "twingrad/runtime/text.h"

namespace twingrad::data {
namespace {

namespace fs = std::filesystem;
using Bytes = std::span<const std::uint8_t>;

constexpr const char* kFetchAgain = "delete it and fetch the data set again";

constexpr std::size_t kUnpackedSize = 65536;  // of a piece; fits into the second-level cache
constexpr std::size_t kMagicSize = 4;
constexpr std::int64_t kLargestSide = 65535;
constexpr std::uint8_t kUnsignedByte = 0x08;  // the element type in the magic number
constexpr std::array<std::uint8_t, 2> kGzipMagic{0x1f, 0x8b};

// ---- The format ----------------------------------------------------------------------------------------

/// What a file of another type appears to be, judged by its first bytes.
struct Finding {
  std::string what;
  std::string remedy = kFetchAgain;
};

/// Recognizes files that are often given instead of an IDX file of unsigned bytes.
std::uint32_t big_endian_word(Bytes bytes) {
  std::uint32_t word = 0;
  for (const std::uint8_t byte : bytes.first(4)) word = word << 8 | byte;
  return word;
}

Finding recognize(std::string_view start) {
  constexpr const char* kGiveBytes = "give an IDX file of unsigned bytes";
  static const std::array<std::pair<std::string_view, Finding>, 13> formats{{
      {{"\0\0\x09", 3}, {"an IDX file of signed bytes", kGiveBytes}},
      {{"\0\0\x0b", 3}, {"an IDX file of 16-bit integers", kGiveBytes}},
      {{"\0\0\x0c", 3}, {"an IDX file of 32-bit integers", kGiveBytes}},
      {{"\0\0\x0d", 3}, {"an IDX file of 32-bit floats", kGiveBytes}},
      {{"\0\0\x0e", 3}, {"an IDX file of 64-bit floats", kGiveBytes}},
      {"\x89PNG", {"a PNG image", "give an IDX file"}},
      {"\xff\xd8\xff", {"a JPEG image", "give an IDX file"}},
      {"\x93NUM", {"a NumPy array", "give an IDX file"}},
      {"PK", {"a ZIP archive", "unpack it first"}},
      {"BZh", {"a bzip2 archive", "unpack it first"}},
      {"\xfd\x37zX", {"an xz archive", "unpack it first"}},
      {"\x28\xb5\x2f\xfd", {"a zstd archive", "unpack it first"}},
      {"\x1f\x8b", {"a file compressed twice by gzip", "unpack it once"}},
  }};
  for (const auto& [magic, finding] : formats) {
    if (start.starts_with(magic)) return finding;
  }
  const std::string_view text = describe_text(start);
  if (text == "a Git LFS pointer") return {std::string(text), kFetchFromLfs};
  if (text == "an HTML page") return {"an HTML page, perhaps a server's error page"};
  return {text.empty() ? "not an IDX file" : std::string(text)};
}

/// "20 × 1 × 28 × 28": the sizes in the header of a file of any rank, as far as the bytes contain them.
std::string described_sizes(Bytes start) {
  std::vector<std::uint32_t> sizes;
  for (std::size_t offset = kMagicSize; sizes.size() < start[3] && offset + 4 <= start.size(); offset += 4) {
    sizes.push_back(big_endian_word(start.subspan(offset)));
  }
  return fmt::format("{}", fmt::join(sizes, " × "));
}

/// Describes a file by its first bytes, at least four of them.
Finding describe_start(Bytes start, int expected_rank) {
  if (start[0] == 0 && start[1] == 0 && start[2] == kUnsignedByte) {
    const int rank = start[3];
    if (rank != 1 && rank != 3) {
      return {fmt::format("a file of rank {} ({})", rank, described_sizes(start)),
              expected_rank == 1 ? "store the labels with the shape images"
                                 : "store the images with the shape images × height × width"};
    }
    return {fmt::format("{} ({})", rank == 1 ? "a label file" : "an image file", described_sizes(start)),
            "give the image file for the images and the label file for the labels"};
  }
  if (start[2] == 0 && start[3] == 0 && start[1] == kUnsignedByte && start[0] <= 4) {
    return {"a header in little-endian byte order",
            "write the magic number and the sizes in big-endian order"};
  }
  return recognize({reinterpret_cast<const char*>(start.data()), start.size()});
}

/// Builds an IdxFile from the pieces of the unpacked file. Each byte is checked as soon as it is available,
/// so a damaged or hostile file is unpacked only up to its first error.
class IdxAssembler {
 public:
  /// file_size: size of the file on disk. No more than a plausible multiple of it is reserved in advance.
  IdxAssembler(const fs::path& path, int expected_rank, std::uint64_t file_size)
      : path_(path), rank_(expected_rank), plausible_size_(kPlausibleRatio * file_size) {}

  void consume(Bytes piece) {
    sha256_.update(piece);
    piece = take_header(piece);
    if (piece.size() > content_size_ - content_.bytes.size()) {
      throw UserError(
          at_byte(path_.string(), header_size() + content_size_),
          fmt::format("expected the end of the file after {}, found more bytes", described_size()),
          kFetchAgain);
    }
    content_.bytes.insert(content_.bytes.end(), piece.begin(), piece.end());
  }

  /// To be called at the end of the file. Throws UserError if bytes are missing.
  IdxFile finish() && {
    if (header_.size() < header_size()) {
      const char* found = header_.empty() ? "an empty file" : "the end of the file";
      throw UserError(at_byte(path_.string(), header_.size()),
                      fmt::format("expected a header of {} bytes, found {}", header_size(), found),
                      kFetchAgain);
    }
    if (content_.bytes.size() < content_size_) {
      throw UserError(at_byte(path_.string(), header_size() + content_.bytes.size()),
                      fmt::format("expected {}, found the end of the file after {} of them", described_size(),
                                  content_.bytes.size()),
                      kFetchAgain);
    }
    content_.sha256 = sha256_.hex_digest();
    if (has_columns_) keep_first_column();
    return std::move(content_);
  }

 private:
  /// Images compress to half of their size, drawings to a tenth. Anything smaller costs a few reallocations.
  static constexpr std::uint64_t kPlausibleRatio = 16;
  /// Bytes by which a file of another type is recognized.
  static constexpr std::size_t kRecognized = 1024;
  static constexpr std::uint32_t kColumnsMagic = 0x0c02;  ///< 32-bit integers of rank 2
  static constexpr std::size_t kColumnEntry = 4;          ///< bytes

  int header_rank() const { return has_columns_ ? 2 : rank_; }
  std::size_t header_size() const { return kMagicSize + 4 * static_cast<std::size_t>(header_rank()); }

  /// Takes the bytes that belong to the header and returns the rest.
  Bytes take_header(Bytes piece) {
    if (header_.size() == header_size()) return piece;
    std::vector<std::uint8_t> start = header_;
    const std::size_t recognized = std::min(piece.size(), kRecognized);
    start.insert(start.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(recognized));
    if (start.size() >= kMagicSize) check_magic(start);
    const std::size_t taken = std::min(piece.size(), header_size() - header_.size());
    header_.insert(header_.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(taken));
    if (header_.size() == header_size()) read_sizes();
    return piece.subspan(taken);
  }

  void check_magic(Bytes start) {
    const std::uint32_t expected = std::uint32_t{kUnsignedByte} << 8 | static_cast<std::uint32_t>(rank_);
    const std::uint32_t found = big_endian_word(start);
    has_columns_ = rank_ == 1 && found == kColumnsMagic;
    if (found == expected || has_columns_) return;
    const Finding finding = describe_start(start, rank_);
    throw UserError(
        at_byte(path_.string(), 0),
        fmt::format(
            "expected an IDX file of unsigned bytes with rank {} (magic number 0x{:08x}), found 0x{:08x}, {}",
            rank_, expected, found, finding.what),
        finding.remedy);
  }

  void read_sizes() {
    content_size_ = has_columns_ ? kColumnEntry : 1;
    for (int index = 0; index < header_rank(); ++index) {
      const std::size_t offset = kMagicSize + 4 * static_cast<std::size_t>(index);
      const std::int64_t size = big_endian_word(Bytes(header_).subspan(offset));
      check_size(index, size, offset);
      content_size_ *= static_cast<std::uint64_t>(size);
      content_.sizes.push_back(size);
    }
    content_.bytes.reserve(static_cast<std::size_t>(std::min(content_size_, plausible_size_)));
  }

  void check_size(int index, std::int64_t size, std::size_t offset) const {
    const std::int64_t largest = index == 0 ? std::numeric_limits<std::uint32_t>::max() : kLargestSide;
    if (size < 1 || size > largest) {
      throw UserError(at_byte(path_.string(), offset),
                      fmt::format("expected {} from 1 to {}, found {}", name_of_size(index), largest, size),
                      kFetchAgain);
    }
    constexpr std::uint64_t kMostBytes = std::numeric_limits<std::int64_t>::max();
    if (content_size_ > kMostBytes / static_cast<std::uint64_t>(size)) {
      throw UserError(
          at_byte(path_.string(), kMagicSize),
          fmt::format("expected sizes whose product is at most {}, found larger ones", kMostBytes),
          kFetchAgain);
    }
  }

  /// Replaces rows of 32-bit integers by their first ones, the labels.
  void keep_first_column() {
    const auto count = static_cast<std::size_t>(content_.sizes[0]);
    const std::size_t row = content_.bytes.size() / count;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t label = big_endian_word(Bytes(content_.bytes).subspan(i * row));
      if (label > 255) {
        throw UserError(at_byte(path_.string(), header_size() + i * row),
                        fmt::format("expected a label from 0 to 255, found {}", label), kFetchAgain);
      }
      content_.bytes[i] = static_cast<std::uint8_t>(label);  // row i or one before it, read already
    }
    content_.bytes.resize(count);
    content_.sizes.resize(1);
  }

  std::string name_of_size(int index) const {
    if (index == 0) return rank_ == 1 ? "a number of labels" : "a number of images";
    if (rank_ == 3) return index == 1 ? "an image height" : "an image width";
    return fmt::format("a size of dimension {}", index);
  }

  /// The size according to the header, for messages: "47040000 bytes (60000 × 28 × 28)".
  std::string described_size() const {
    if (rank_ == 1) return fmt::format("{} bytes", content_size_);
    return fmt::format("{} bytes ({})", content_size_, fmt::join(content_.sizes, " × "));
  }

  fs::path path_;
  int rank_;
  bool has_columns_ = false;  ///< labels in QMNIST's format
  std::uint64_t plausible_size_;
  std::vector<std::uint8_t> header_;
  std::uint64_t content_size_ = 0;  ///< bytes after the header; known once the header is complete
  Sha256 sha256_;
  IdxFile content_;
};

// ---- The gzip stream -----------------------------------------------------------------------------------

/// Unpacks a file of gzip members, one after another (RFC 1952, section 2.2). zlib's gzread silently ignores
/// other bytes after them.
class GzipReader {
 public:
  GzipReader(InputFile& file, Bytes first_chunk) : file_(file) {
    constexpr int kGzipOnly = 16;
    if (inflateInit2(&stream_, kGzipOnly + MAX_WBITS) != Z_OK) throw std::bad_alloc();
    offer(first_chunk);
  }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;
  ~GzipReader() { inflateEnd(&stream_); }

  /// The next unpacked bytes, valid until the next call; none at the end of the last member. Throws UserError
  /// for a broken or truncated member and for other bytes after one.
  Bytes read() {
    if (ended_) return {};
    stream_.next_out = unpacked_.data();
    stream_.avail_out = static_cast<uInt>(unpacked_.size());
    while (stream_.avail_out > 0 && !ended_) {
      if (stream_.avail_in == 0) offer(file_.read());
      if (stream_.avail_in == 0) refuse("expected more of the gzip stream, found the end of the file");
      inflate_some();
    }
    return Bytes(unpacked_).first(unpacked_.size() - stream_.avail_out);
  }

 private:
  void offer(Bytes packed) {
    stream_.next_in = const_cast<Bytef*>(packed.data());  // zlib does not write to it
    stream_.avail_in = static_cast<uInt>(packed.size());
  }

  void inflate_some() {
    switch (inflate(&stream_, Z_NO_FLUSH)) {
      case Z_OK:
        return;
      case Z_STREAM_END:
        begin_next_member();
        return;
      case Z_MEM_ERROR:
        throw std::bad_alloc();
      default:
        refuse(fmt::format("expected an intact gzip stream, found a broken one (zlib: {})",
                           stream_.msg != nullptr ? stream_.msg : "no detail"));
    }
  }

  void begin_next_member() {
    if (stream_.avail_in == 0) offer(file_.read());
    ended_ = stream_.avail_in == 0;
    if (ended_) return;
    if (stream_.next_in[0] != kGzipMagic[0]) {
      refuse("expected the end of the file after the gzip stream, found more bytes");
    }
    inflateReset(&stream_);
  }

  /// Throws an error at an offset in the compressed file.
  [[noreturn]] void refuse(const std::string& problem) const {
    throw UserError(
        at_byte(file_.path().string(), file_.position() - stream_.avail_in) + " of the compressed file",
        problem, kFetchAgain);
  }

  InputFile& file_;
  z_stream stream_{};
  bool ended_ = false;
  std::vector<std::uint8_t> unpacked_ = std::vector<std::uint8_t>(kUnpackedSize);
};

bool is_gzip(Bytes start) {
  return start.size() >= kGzipMagic.size() && std::equal(kGzipMagic.begin(), kGzipMagic.end(), start.begin());
}

}  // namespace

IdxFile read_idx(const fs::path& path, int expected_rank) {
  if (expected_rank < 1 || expected_rank > 255) {
    throw std::invalid_argument("read_idx: expected a rank from 1 to 255");
  }
  InputFile file(path);
  IdxAssembler assembler(path, expected_rank, file.size());
  Bytes piece = file.read();
  if (is_gzip(piece)) {
    GzipReader gzip(file, piece);
    while (!(piece = gzip.read()).empty()) assembler.consume(piece);
  } else {
    for (; !piece.empty(); piece = file.read()) assembler.consume(piece);
  }
  return std::move(assembler).finish();
}

}  // namespace twingrad::data
