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
};

/// Reads the directory of a ZIP archive with this content, in order (PKWARE, APPNOTE.TXT, ZIP File Format
/// Specification 6.3.10, including ZIP64). The names point into `file`.
///
/// Only stored (uncompressed) entries are accepted. Throws UserError naming `where` for compressed or
/// encrypted entries, an archive of several parts or with a comment, entries that overlap, have the same name
/// or end outside the file, and wrong CRC-32 checksums.
std::vector<ZipEntry> read_stored_zip(std::string_view file, const std::string& where);

}  // namespace twingrad
