#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twingrad {

/// A file within a ZIP archive: its name and where its bytes are.
struct ZipEntry {
  std::string_view name;    ///< a part of the archive
  std::uint64_t begin = 0;  ///< offsets in the archive
  std::uint64_t end = 0;
};

/// The directory of a ZIP archive with this content, in its order (PKWARE, APPNOTE.TXT, ZIP File Format
/// Specification 6.3.10; large archives by its ZIP64 records). The names point into `file`.
///
/// Entries are stored: nothing is ever unpacked. Throws UserError naming `where` for compressed or encrypted
/// entries, an archive of several parts or with a comment, entries that lie over one another, under the same
/// name or outside the file, and bytes that do not have the checksum (CRC-32) of the directory.
std::vector<ZipEntry> read_stored_zip(std::string_view file, const std::string& where);

}  // namespace twingrad
