#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace twingrad::data {

/// The content of an IDX file of unsigned bytes (the format of the MNIST family,
/// http://yann.lecun.com/exdb/mnist).
///
///   0x00 0x00 0x08 rank | rank sizes, 32 bit, big endian | product(sizes) bytes
struct IdxFile {
  std::vector<std::int64_t> sizes;  ///< [N] for labels, [N, height, width] for images
  std::vector<std::uint8_t> bytes;  ///< product(sizes) entries, row-major
  std::string sha256;               ///< of the unpacked file with its header, as `sha256sum` prints it
};

/// Reads an IDX file, plain or compressed by gzip in one or more members (detected by its first two bytes,
/// not by its name).
///
/// expected_rank: 1 for labels, 3 for images. The labels may also be the first column of 32-bit integers
/// [N, 8], as in QMNIST (Yadav and Bottou, 2019, https://github.com/facebookresearch/qmnist). Throws
/// UserError naming the file and the byte offset unless the file is well-formed: for a wrong magic number or
/// rank, a size of zero or too large, too few or too many bytes (also after the gzip stream), a broken gzip
/// stream, an empty file, a directory, an unreadable file. The offset refers to the unpacked file or, for
/// errors of the gzip stream, to the compressed file; the message says which. Memory grows with the bytes
/// read, not with the sizes in the header.
IdxFile read_idx(const std::filesystem::path& path, int expected_rank);

}  // namespace twingrad::data
