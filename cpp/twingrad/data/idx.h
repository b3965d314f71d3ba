#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace twingrad::data {

/// The content of one IDX file of unsigned bytes (the format of the MNIST family,
/// http://yann.lecun.com/exdb/mnist).
///
///   0x00 0x00 0x08 rank | rank sizes, 32 bit, big endian | product(sizes) bytes
struct IdxFile {
  std::vector<std::int64_t> sizes;  ///< [N] for labels, [N, height, width] for images
  std::vector<std::uint8_t> bytes;  ///< product(sizes) entries, the last index runs fastest
  std::string sha256;               ///< of the unpacked file, header included: what `sha256sum` prints of it
};

/// Reads an IDX file, plain or compressed by gzip (told by its first two bytes, not by its name).
///
/// expected_rank: 1 for labels, 3 for images. Throws UserError naming the file and the byte offset (in the
/// unpacked file; for a fault of the gzip stream in the packed one, which the message then says) for anything
/// but exactly one well-formed file: a wrong magic number, another rank, a zero or absurd size, too few or
/// too many bytes (behind the gzip stream too), a broken gzip stream, an empty file, a folder, a file that
/// can not be read. Memory grows with the bytes that are really there, never with what a header claims.
IdxFile read_idx(const std::filesystem::path& path, int expected_rank);

}  // namespace twingrad::data
