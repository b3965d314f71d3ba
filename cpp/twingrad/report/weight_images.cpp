#include "twingrad/report/weight_images.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>

#include "twingrad/io/png.h"
#include "twingrad/report/base64.h"

namespace twingrad {
namespace {

constexpr std::int64_t kImagesPerRow = 10;
constexpr std::int64_t kGap = 2;  ///< pixels between images
constexpr std::int64_t kMostPixelsOfWeights = kMostUnitImages * 28 * 28;
constexpr int kLevels = 48;  ///< of colour on each side of white

using Colour = std::array<double, 3>;
constexpr Colour kNegative{0, 84, 150}, kZero{250, 250, 250}, kPositive{196, 78, 0};

/// Transparent, then from negative to positive.
std::vector<std::array<std::uint8_t, 4>> diverging_palette() {
  std::vector<std::array<std::uint8_t, 4>> palette = {{0, 0, 0, 0}};
  for (int level = -kLevels; level <= kLevels; ++level) {
    const Colour& end = level < 0 ? kNegative : kPositive;
    const double share = std::abs(level) / static_cast<double>(kLevels);
    const auto mix = [&](std::size_t i) {
      return static_cast<std::uint8_t>(std::lround(kZero[i] + share * (end[i] - kZero[i])));
    };
    palette.push_back({mix(0), mix(1), mix(2), 255});
  }
  return palette;
}

/// The first weight matrix, [units, inputs], in float64. A column of ones that is appended to the images is
/// left out.
NamedTensor first_weights(const Twin& twin, const MlpSpec& spec) {
  for (const NamedTensor& parameter : twin.parameters()) {
    if (parameter.tensor.dim() == 2) {
      const at::Tensor weights = parameter.tensor.detach().to(at::kCPU, at::kDouble);
      const bool is_transposed = spec.bias != Bias::every_layer;  // y = x W instead of x Wᵀ
      return {parameter.name, (is_transposed ? weights.t() : weights).narrow(1, 0, spec.inputs)};
    }
  }
  return {};
}

/// The rows with the largest norms, in ascending order.
std::vector<std::int64_t> largest_rows(const at::Tensor& weights) {
  const at::Tensor norms = weights.norm(2, 1);
  const std::int64_t count = std::min(kMostUnitImages, weights.size(0));
  const at::Tensor rows = std::get<1>(norms.topk(count)).contiguous();
  std::vector<std::int64_t> sorted(rows.data_ptr<std::int64_t>(), rows.data_ptr<std::int64_t>() + count);
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

PaletteImage drawn(const at::Tensor& levels, std::int64_t height, std::int64_t width) {
  const std::int64_t count = levels.size(0);
  const std::int64_t columns = std::min(kImagesPerRow, count);
  const std::int64_t rows = (count + columns - 1) / columns;
  PaletteImage image{rows * (height + kGap) - kGap, columns * (width + kGap) - kGap, {}, diverging_palette()};
  image.pixels.resize(static_cast<std::size_t>(image.height * image.width), 0);
  const auto* level = levels.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t pixel = 0; pixel < height * width; ++pixel, ++level) {
      const std::int64_t y = i / columns * (height + kGap) + pixel / width;
      const std::int64_t x = i % columns * (width + kGap) + pixel % width;
      image.pixels[static_cast<std::size_t>(y * image.width + x)] =
          static_cast<std::uint8_t>(*level + kLevels + 1);
    }
  }
  return image;
}

}  // namespace

nlohmann::ordered_json first_layer_images(const Twin& twin, const MlpSpec& spec, std::int64_t height,
                                          std::int64_t width) {
  const auto [name, all] = first_weights(twin, spec);
  if (!all.defined() || !all.isfinite().all().item<bool>() ||
      std::min(kMostUnitImages, all.size(0)) * height * width > kMostPixelsOfWeights) {
    return nullptr;
  }
  std::vector<std::int64_t> shown = largest_rows(all);
  const at::Tensor weights = all.index_select(0, at::from_blob(shown.data(), {std::ssize(shown)}, at::kLong));
  // Few weights are much larger than the others; they get the colours of the limit.
  const double limit = std::max(4 * weights.square().mean().sqrt().item<double>(), 1e-300);
  const at::Tensor levels = weights.div(limit).clamp(-1, 1).mul(kLevels).round().to(at::kLong).contiguous();
  const PaletteImage image = drawn(levels, height, width);
  return {{"twin", twin.name()},
          {"name", name},
          {"units", all.size(0)},
          {"shown", shown},
          {"columns", std::min(kImagesPerRow, std::ssize(shown))},
          {"limit", limit},
          {"largest", all.abs().max().item<double>()},
          {"width", image.width},
          {"height", image.height},
          {"png", base64(encode_png(image))}};
}

}  // namespace twingrad
