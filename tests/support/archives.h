#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "twingrad/io/little_endian.h"

namespace twingrad::testing {

using namespace std::string_literals;

// Files as torch.save writes them, built by hand: a ZIP archive and the opcodes of a pickle.

inline std::string u16(std::uint64_t value) { return write_little_endian(static_cast<std::uint16_t>(value)); }
inline std::string u32(std::uint64_t value) { return write_little_endian(static_cast<std::uint32_t>(value)); }
inline std::string u64(std::uint64_t value) { return write_little_endian<std::uint64_t>(value); }

/// Concatenates the parts. (GCC 12 warns about its own operator+ between temporary strings.)
template <typename... Parts>
std::string join(const Parts&... parts) {
  std::string whole;
  ((whole += parts), ...);
  return whole;
}

/// A file in a ZIP archive, possibly invalid.
struct ArchiveEntry {
  std::string name;
  std::string content;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::string extra = {};            ///< extra fields in the directory
  std::string local_extra = {};      ///< extra fields in the header of the entry
  std::uint32_t checksum_fault = 0;  ///< added to the checksum
};

inline std::string entry_fields(const ArchiveEntry& entry, const std::string& extra) {
  const auto* bytes = reinterpret_cast<const Bytef*>(entry.content.data());
  const std::uint64_t checksum = crc32_z(0, bytes, entry.content.size()) + entry.checksum_fault;
  const std::string size = u32(entry.content.size());
  return u16(0) + u16(entry.flags) + u16(entry.method) + u32(0) + u32(checksum) + size + size +
         u16(entry.name.size()) + u16(extra.size());
}

/// An archive and the offsets of its parts.
struct Archive {
  std::string bytes;
  std::vector<std::size_t> headers;  ///< of the entries
  std::vector<std::size_t> directory_entries;
  std::size_t end_record = 0;
};

/// zip64: with the two records for large archives, which LibTorch also writes into small ones.
inline Archive make_archive(const std::vector<ArchiveEntry>& entries, bool zip64 = true) {
  Archive archive;
  for (const ArchiveEntry& entry : entries) {
    archive.headers.push_back(archive.bytes.size());
    archive.bytes += "PK\x03\x04"s + entry_fields(entry, entry.local_extra) + entry.name + entry.local_extra +
                     entry.content;
  }
  const std::size_t directory = archive.bytes.size();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    archive.directory_entries.push_back(archive.bytes.size());
    archive.bytes += "PK\x01\x02"s + u16(0) + entry_fields(entries[i], entries[i].extra) + u16(0) + u16(0) +
                     u16(0) + u32(0) + u32(archive.headers[i]) + entries[i].name + entries[i].extra;
  }
  const std::size_t end = archive.bytes.size();
  const std::size_t count = entries.size();
  if (zip64) {
    archive.bytes += "PK\x06\x06"s + u64(44) + u16(0) + u16(0) + u32(0) + u32(0) + u64(count) + u64(count) +
                     u64(end - directory) + u64(directory);
    archive.bytes += "PK\x06\x07"s + u32(0) + u64(end) + u32(1);
  }
  archive.end_record = archive.bytes.size();
  archive.bytes += "PK\x05\x06"s + u16(0) + u16(0) + u16(count) + u16(count) + u32(end - directory) +
                   u32(directory) + u16(0);
  return archive;
}

inline std::string zip_of(const std::vector<ArchiveEntry>& entries) { return make_archive(entries).bytes; }

// ---- Pickle opcodes, as in Python's pickletools ----

inline std::string pickled(const std::string& instructions) { return "\x80\x02"s + instructions + "."; }
inline std::string text(const std::string& value) { return join("X", u32(value.size()), value); }
inline std::string number(std::int64_t value) { return "\x8a\x08"s + u64(static_cast<std::uint64_t>(value)); }
inline std::string global(const std::string& module, const std::string& name) {
  return "c"s + module + "\n" + name + "\n";
}
inline std::string tuple(const std::string& items) { return "("s + items + "t"; }
inline std::string dict(const std::string& items) { return "}("s + items + "u"; }
inline std::string call(const std::string& function, const std::string& arguments) {
  return function + tuple(arguments) + "R";
}
inline std::string ordered_dict() { return call(global("collections", "OrderedDict"), ""); }

inline std::string tuple_of(const std::vector<std::int64_t>& numbers) {
  std::string items;
  for (const std::int64_t value : numbers) items += number(value);
  return tuple(items);
}

/// A persistent id: by default of storage "0", with this number of elements.
inline std::string storage(const std::string& type, std::int64_t size, const std::string& name = "0") {
  return tuple(text("storage") + global("torch", type) + text(name) + text("cpu") + number(size)) + "Q";
}

inline std::string tensor(const std::string& storage, std::int64_t offset,
                          const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              storage + number(offset) + tuple_of(shape) + tuple_of(strides) + "\x89" + ordered_dict());
}

/// A tensor [2] of float32 that uses all of storage "0".
inline std::string two_floats() { return tensor(storage("FloatStorage", 2), 0, {2}, {1}); }

}  // namespace twingrad::testing
