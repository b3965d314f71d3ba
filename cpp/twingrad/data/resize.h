#pragma once

#include <cstdint>

#include "twingrad/io/grey_image.h"

namespace twingrad::data {

/// Scales the image to height × width, each > 0, regardless of its aspect ratio: bilinear, antialiased where
/// the image shrinks. An image that already has this size is returned unchanged.
GreyImage resize(const GreyImage& image, std::int64_t height, std::int64_t width);

}  // namespace twingrad::data
