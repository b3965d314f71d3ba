#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fuzz.h"
#include "memory_file.h"
#include "twingrad/data/idx.h"
#include "twingrad/runtime/error.h"

namespace twingrad::fuzz {

/// What read_idx makes of a file, if it does not refuse it.
inline std::optional<data::IdxFile> read_idx_of(std::span<const std::uint8_t> file, int rank) {
  const MemoryFile on_disk(file);
  try {
    return data::read_idx(on_disk.path(), rank);
  } catch (const UserError& error) {
    require_one_line(error.what());
    return std::nullopt;
  }
}

/// The plain file that holds this content.
inline std::vector<std::uint8_t> plain_file(const data::IdxFile& content) {
  std::vector<std::uint8_t> file{0, 0, 8, static_cast<std::uint8_t>(content.sizes.size())};
  for (const std::int64_t size : content.sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) file.push_back(static_cast<std::uint8_t>(size >> shift));
  }
  file.insert(file.end(), content.bytes.begin(), content.bytes.end());
  return file;
}

constexpr int kLabels = 1, kImages = 3;

}  // namespace twingrad::fuzz
