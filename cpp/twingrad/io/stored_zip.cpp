#include "twingrad/io/stored_zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <set>

#include "twingrad/io/little_endian.h"
#include "twingrad/io/remedies.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

constexpr std::string_view kLocalHeader("PK\x03\x04");
constexpr std::string_view kDirectoryEntry("PK\x01\x02");
constexpr std::string_view kEndRecord("PK\x05\x06");
constexpr std::string_view kEndRecord64("PK\x06\x06");
constexpr std::string_view kLocator64("PK\x06\x07");

constexpr std::size_t kLocalHeaderSize = 30;
constexpr std::size_t kDirectoryEntrySize = 46;
constexpr std::size_t kEndRecordSize = 22;
constexpr std::size_t kEndRecord64Size = 56;
constexpr std::size_t kLocator64Size = 20;

constexpr std::uint32_t kElsewhere = 0xffffffff;  // the number is in the ZIP64 record

/// A record of the file. Its numbers are read by offset.
struct ZipRecord {
  std::string_view bytes;

  template <typename T>
  T number(std::size_t offset) const {
    return read_little_endian<T>(bytes.substr(offset));
  }
  std::uint16_t word(std::size_t offset) const { return number<std::uint16_t>(offset); }
  std::uint32_t double_word(std::size_t offset) const { return number<std::uint32_t>(offset); }
  std::uint64_t quad_word(std::size_t offset) const { return number<std::uint64_t>(offset); }
};

/// An entry of the directory and the location of its bytes.
struct DirectoryEntry {
  std::string_view name;
  std::uint16_t flags;
  std::uint16_t method;
  std::uint32_t checksum;
  std::uint64_t packed_size;
  std::uint64_t size;
  std::uint64_t header;     ///< offset of its local header in the file
  std::uint64_t begin = 0;  ///< offsets of the first byte and the end of its content
  std::uint64_t end = 0;
};

class ZipReader {
 public:
  ZipReader(std::string_view file, const std::string& where) : file_(file), where_(where) {}

  std::vector<ZipEntry> read() {
    find_directory();
    std::vector<DirectoryEntry> directory;
    for (std::uint64_t i = 0; i < entry_count_; ++i) {
      directory.push_back(read_directory_entry());
      check(directory.back());
      find_bytes(directory.back());
    }
    if (position_ != directory_end_) {
      refuse(position_, fmt::format("the end of the directory after its {} entries", entry_count_), "more");
    }
    check_overlap(directory);
    std::vector<ZipEntry> entries;
    for (const DirectoryEntry& entry : directory) {
      if (entry.method == 0) check_checksum(entry);
      entries.push_back({entry.name, entry.begin, entry.end, entry.method});
    }
    return entries;
  }

 private:
  [[noreturn]] void refuse(std::uint64_t offset, const std::string& expected,
                           const std::string& found) const {
    throw UserError(at_byte(where_, offset), fmt::format("expected {}, found {}", expected, found),
                    kCopyAgain);
  }

  [[noreturn]] void refuse(const DirectoryEntry& entry, const std::string& expected, const std::string& found,
                           const char* remedy = kCopyAgain) const {
    throw UserError(fmt::format("{}: entry \"{}\"", where_, printable(entry.name)),
                    fmt::format("expected {}, found {}", expected, found), remedy);
  }

  /// The bytes [begin, begin + size), which must end before `end` and start with the signature.
  std::string_view take(std::uint64_t begin, std::uint64_t size, std::uint64_t end, const char* what,
                        std::string_view signature) const {
    if (begin > end || size > end - begin) refuse(begin, what, "the end of the file or of its directory");
    const std::string_view bytes = file_.substr(begin, size);
    if (!bytes.starts_with(signature)) refuse(begin, what, "other bytes");
    return bytes;
  }

  /// Reads the end record, the last bytes of a ZIP archive.
  void find_directory() {
    const char* what = "the end record of a ZIP archive as the last 22 bytes";
    if (file_.size() < kEndRecordSize) refuse(0, what, fmt::format("a file of {} bytes", file_.size()));
    directory_end_ = file_.size() - kEndRecordSize;
    const ZipRecord end{take(directory_end_, kEndRecordSize, file_.size(), what, kEndRecord)};
    entry_count_ = end.word(10);
    std::uint64_t size = end.double_word(12);
    position_ = end.double_word(16);
    if (end.word(4) != 0 || end.word(6) != 0 || end.word(8) != entry_count_ || end.word(20) != 0) {
      refuse(directory_end_, "an archive of one part without a comment", "another");
    }
    find_directory_64(size);
    if (position_ > directory_end_ || size != directory_end_ - position_) {
      refuse(directory_end_, "a directory immediately before its end record",
             fmt::format("one of {} bytes at {}", size, position_));
    }
    directory_begin_ = position_;
  }

  /// Reads the ZIP64 end record, if there is one, for numbers that are too large for the other record.
  /// LibTorch always writes it.
  void find_directory_64(std::uint64_t& size) {
    if (directory_end_ < kLocator64Size) return;
    const std::uint64_t locator_begin = directory_end_ - kLocator64Size;
    if (!file_.substr(locator_begin).starts_with(kLocator64)) return;
    const ZipRecord locator{file_.substr(locator_begin)};
    const ZipRecord end{
        take(locator.quad_word(8), kEndRecord64Size, locator_begin, "the ZIP64 end record", kEndRecord64)};
    const bool agrees = std::min<std::uint64_t>(end.quad_word(32), 0xffff) == entry_count_ &&
                        std::min<std::uint64_t>(end.quad_word(40), kElsewhere) == size &&
                        std::min<std::uint64_t>(end.quad_word(48), kElsewhere) == position_;
    directory_end_ = locator.quad_word(8);
    if (!agrees || directory_end_ + kEndRecord64Size != locator_begin) {
      refuse(directory_end_, "two end records that agree", "two that differ");
    }
    entry_count_ = end.quad_word(32);
    size = end.quad_word(40);
    position_ = end.quad_word(48);
  }

  /// Reads the next entry of the directory.
  DirectoryEntry read_directory_entry() {
    const char* what = "an entry of the directory";
    const std::uint64_t begin = position_;
    const ZipRecord record{take(begin, kDirectoryEntrySize, directory_end_, what, kDirectoryEntry)};
    const std::uint64_t name_size = record.word(28);
    const std::uint64_t extra_size = record.word(30);
    const std::uint64_t whole = kDirectoryEntrySize + name_size + extra_size + record.word(32);
    const std::string_view bytes = take(begin, whole, directory_end_, what, kDirectoryEntry);
    position_ += whole;
    DirectoryEntry entry{.name = bytes.substr(kDirectoryEntrySize, name_size),
                         .flags = record.word(8),
                         .method = record.word(10),
                         .checksum = record.double_word(16),
                         .packed_size = record.double_word(20),
                         .size = record.double_word(24),
                         .header = record.double_word(42)};
    read_large_numbers(bytes.substr(kDirectoryEntrySize + name_size, extra_size), entry);
    return entry;
  }

  /// Reads numbers that are too large for the directory from the extra field 0x0001 (ZIP64).
  void read_large_numbers(std::string_view extra, DirectoryEntry& entry) const {
    std::string_view numbers;
    while (extra.size() >= 4) {
      const std::string_view field = extra.substr(4, read_little_endian<std::uint16_t>(extra.substr(2)));
      if (read_little_endian<std::uint16_t>(extra) == 0x0001) numbers = field;
      extra.remove_prefix(4 + field.size());
    }
    for (std::uint64_t* number : {&entry.size, &entry.packed_size, &entry.header}) {
      if (*number != kElsewhere) continue;
      if (numbers.size() < 8) refuse(entry, "a ZIP64 field with its sizes", "none");
      *number = read_little_endian<std::uint64_t>(numbers);
      numbers.remove_prefix(8);
    }
  }

  void check(const DirectoryEntry& entry) {
    constexpr std::uint16_t kEncrypted = 1;
    if ((entry.flags & kEncrypted) != 0)
      refuse(entry, "an unencrypted entry", "an encrypted one", kSaveAgain);
    if (entry.method == 0 && entry.packed_size != entry.size)
      refuse(entry, "equal packed and unpacked sizes of a stored entry", "different ones");
    if (!names_.insert(entry.name).second) refuse(entry, "one entry with this name", "two");
  }

  /// Finds the bytes of the entry, which follow its local header.
  void find_bytes(DirectoryEntry& entry) const {
    const ZipRecord header{
        take(entry.header, kLocalHeaderSize, directory_begin_, "the header of an entry", kLocalHeader)};
    const std::uint64_t name_size = header.word(26);
    const std::uint64_t header_size = kLocalHeaderSize + name_size + header.word(28);
    const std::uint64_t room = directory_begin_ - entry.header;
    if (header_size > room || entry.packed_size > room - header_size) {
      refuse(entry, fmt::format("{} bytes before the directory", entry.packed_size), "fewer");
    }
    if (file_.substr(entry.header + kLocalHeaderSize, name_size) != entry.name) {
      refuse(entry, "the same name in the header of the entry", "another");
    }
    entry.begin = entry.header + header_size;
    entry.end = entry.begin + entry.packed_size;
  }

  void check_overlap(const std::vector<DirectoryEntry>& directory) const {
    std::vector<const DirectoryEntry*> entries;
    for (const DirectoryEntry& entry : directory) entries.push_back(&entry);
    std::sort(entries.begin(), entries.end(),
              [](const auto* a, const auto* b) { return a->header < b->header; });
    for (std::size_t i = 1; i < entries.size(); ++i) {
      if (entries[i]->header < entries[i - 1]->end) {
        refuse(*entries[i], "an entry after the previous one", "one that overlaps it");
      }
    }
  }

  /// No two entries share bytes, so all checksums together take no longer than one pass over the file.
  void check_checksum(const DirectoryEntry& entry) const {
    const std::string_view bytes = file_.substr(entry.begin, entry.size);
    const auto found = crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    if (found != entry.checksum) {
      refuse(entry, fmt::format("bytes with the checksum {:08x}", entry.checksum),
             fmt::format("bytes with {:08x}", found));
    }
  }

  std::string_view file_;
  const std::string& where_;
  std::uint64_t entry_count_ = 0;
  std::uint64_t directory_begin_ = 0;
  std::uint64_t directory_end_ = 0;
  std::uint64_t position_ = 0;  ///< in the directory
  std::set<std::string_view> names_;
};

}  // namespace

std::vector<ZipEntry> read_stored_zip(std::string_view file, const std::string& where) {
  return ZipReader(file, where).read();
}

}  // namespace twingrad
