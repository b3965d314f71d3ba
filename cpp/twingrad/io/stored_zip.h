#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twingrad {

/// A file in a ZIP archive: its name and the location of its bytes.
struct ZipEntry {
  std::string_view name;    ///< points into the archive
  std::uint64_t begin = 0;  ///< offsets in the archive
  std::uint64_t end = 0;
  std::uint16_t method = 0;  ///< of its compression; 0: stored
};

/// Reads the directory of a ZIP archive with this content, in order (PKWARE, APPNOTE.TXT, ZIP File Format
/// Specification 6.3.10, including ZIP64). The names point into `file`.
///
/// The bytes of compressed entries are located, but not unpacked or checked. Throws UserError naming `where`
/// for encrypted entries, an archive of several parts or with a comment, entries that overlap, have the same
/// name or end outside the file, and wrong CRC-32 checksums of stored entries.
std::vector<ZipEntry> read_stored_zip(std::string_view file, const std::string& where);

}  // namespace twingrad
