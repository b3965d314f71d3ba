#include "twingrad/data/resize.h"

#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "twingrad/runtime/signals.h"

namespace twingrad::data {

GreyImage resize(const GreyImage& image, std::int64_t height, std::int64_t width) {
  const SignalBlockGuard guard;  // threads that LibTorch may start here must not handle signals
  const at::Tensor pixels = at::empty({1, 1, image.height, image.width}, at::kFloat);
  std::copy(image.pixels.begin(), image.pixels.end(), pixels.data_ptr<float>());
  const at::Tensor resized =
      at::_upsample_bilinear2d_aa(pixels, {height, width}, /*align_corners=*/false).add(0.5).to(at::kByte);
  const auto* first = resized.data_ptr<std::uint8_t>();
  return {height, width, {first, first + height * width}};
}

}  // namespace twingrad::data
