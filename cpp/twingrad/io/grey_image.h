#pragma once

#include <cstdint>
#include <vector>

namespace twingrad {

/// A grey image with one byte per pixel: 0 is black, 255 is white.
struct GreyImage {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;  ///< [height, width], row-major

  bool operator==(const GreyImage&) const = default;
};

}  // namespace twingrad
