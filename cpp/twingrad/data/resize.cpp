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
  // First the rows, then the columns as rows: with a new width of 1, LibTorch 2.6 sees the first row only.
  const auto resize_rows = [](const at::Tensor& rows, std::int64_t length) {
    return at::_upsample_bilinear2d_aa(rows, {rows.size(2), length}, /*align_corners=*/false);
  };
  const at::Tensor columns = resize_rows(pixels, width).transpose(2, 3).contiguous();
  const at::Tensor resized = resize_rows(columns, height).transpose(2, 3).add(0.5).to(at::kByte).contiguous();
  const auto* first = resized.data_ptr<std::uint8_t>();
  return {height, width, {first, first + height * width}};
}

}  // namespace twingrad::data
