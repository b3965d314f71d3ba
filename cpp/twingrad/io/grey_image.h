#pragma once

#include <cstdint>
#include <vector>

namespace twingrad {

/// A grey image of one byte a pixel: 0 is black, 255 is white.
struct GreyImage {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;  ///< [height, width], the last index runs fastest

  bool operator==(const GreyImage&) const = default;
};

}  // namespace twingrad
