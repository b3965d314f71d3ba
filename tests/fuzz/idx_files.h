#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "../support/bytes.h"
#include "fuzz.h"
#include "memory_file.h"
#include "twingrad/data/idx.h"
#include "twingrad/runtime/error.h"

namespace twingrad::fuzz {

/// The result of read_idx, if it accepts the file.
inline std::optional<data::IdxFile> read_idx_of(std::span<const std::uint8_t> file, int rank) {
  const MemoryFile on_disk(file);
  try {
    return data::read_idx(on_disk.path(), rank);
  } catch (const UserError& error) {
    require_one_line(error.what());
    return std::nullopt;
  }
}

/// The plain file with this content.
inline std::vector<std::uint8_t> plain_file(const data::IdxFile& content) {
  return testing::idx_file({content.sizes.begin(), content.sizes.end()}, content.bytes);
}

constexpr int kLabels = 1, kImages = 3;

}  // namespace twingrad::fuzz
