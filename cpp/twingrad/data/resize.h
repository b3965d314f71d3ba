#pragma once

#include <cstdint>

#include "twingrad/io/grey_image.h"

namespace twingrad::data {

/// The image scaled to height × width, each > 0, without regard to its aspect ratio. A pixel is the mean of
/// those of the old image, weighted by a triangle around its place that reaches as far as the next new pixel,
/// or the next old one, whichever is farther: antialiased where the image shrinks, bilinear where it grows.
/// At its own size an image stays as it is, bit for bit.
GreyImage resize(const GreyImage& image, std::int64_t height, std::int64_t width);

}  // namespace twingrad::data
