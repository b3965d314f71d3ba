#include "twingrad/data/drawing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "twingrad/data/resize.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/signals.h"

namespace twingrad::data {
namespace {

using at::Tensor;

constexpr int kClose = 255 / 20;  ///< the brightest black: 5 %

[[noreturn]] void refuse_blank(const std::string& name) {
  throw UserError(name, "expected a drawing on a background, found too little contrast",
                  "use an image with a clear background");
}

// ---- Images --------------------------------------------------------------------------------------------

/// A view of the image, [height, width] bytes. The image must outlive it.
Tensor view_of(const GreyImage& image) {
  // from_blob needs a mutable pointer; nothing is written through it.
  auto* pixels = const_cast<std::uint8_t*>(image.pixels.data());
  return at::from_blob(pixels, {image.height, image.width}, at::kByte);
}

GreyImage image_of(const Tensor& pixels) {
  const Tensor bytes = pixels.to(at::kByte).contiguous();
  const auto* first = bytes.data_ptr<std::uint8_t>();
  return {bytes.size(0), bytes.size(1), {first, first + bytes.numel()}};
}

std::int64_t scaled(std::int64_t size, double factor) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(size) * factor));
}

/// Scales the image with fixed aspect ratio to fit into height × width.
GreyImage fit(const GreyImage& image, std::int64_t height, std::int64_t width) {
  const double factor = std::min(static_cast<double>(height) / static_cast<double>(image.height),
                                 static_cast<double>(width) / static_cast<double>(image.width));
  return resize(image, scaled(image.height, factor), scaled(image.width, factor));
}

/// The part at (top, left) of an image, as a view.
Tensor part_at(const Tensor& image, std::int64_t top, std::int64_t left, std::int64_t height,
               std::int64_t width) {
  return image.narrow(0, top, height).narrow(1, left, width);
}

/// A black image of height × width that contains the part at (top, left).
GreyImage place(const Tensor& part, std::int64_t top, std::int64_t left, std::int64_t height,
                std::int64_t width) {
  const Tensor image = at::zeros({height, width}, at::kByte);
  part_at(image, top, left, part.size(0), part.size(1)).copy_(part);
  return image_of(image);
}

Tensor border_of(const Tensor& image) {
  const Tensor inner = image.slice(0, 1, -1);
  return at::cat({image[0], image[-1], inner.select(1, 0), inner.select(1, -1)});
}

int median_of_border(const Tensor& image) {
  const Tensor sorted = std::get<0>(border_of(image).sort());
  return sorted[sorted.numel() / 2].item<int>();
}

/// The number of leading entries of a profile whose sum is at most this share of the total.
std::int64_t leading(const Tensor& profile, double share) {
  return (profile.cumsum(0) <= share * profile.sum()).sum().item<std::int64_t>();
}

/// The part of a profile that contains its entries, except for this share of their sum on each side.
struct Extent {
  Extent(const Tensor& profile, double share)
      : first(leading(profile, share)), size(profile.size(0) - leading(profile.flip(0), share) - first) {}
  std::int64_t first, size;
};

/// The bounding box of the mask, except for this share of its entries on each side.
Tensor cropped(const Tensor& image, const Tensor& mask, double share) {
  const Extent rows(mask.sum(1).to(at::kDouble), share), columns(mask.sum(0).to(at::kDouble), share);
  return part_at(image, rows.first, columns.first, rows.size, columns.size);
}

/// The mean index of a profile's entries.
double centre_of_mass(const Tensor& profile) {
  return ((profile * at::arange(profile.size(0))).sum() / profile.sum()).item<double>();
}

// ---- Ink -----------------------------------------------------------------------------------------------

/// Values split into two classes by a threshold.
struct Split {
  double threshold, lower_mean, upper_mean;
};

/// Otsu's threshold: of 256 levels, the one with the largest variance between the classes. If all values are
/// equal, both means are equal.
Split split(const Tensor& values) {
  constexpr std::int64_t kLevels = 256;
  const double low = values.min().item<double>();
  const double range = std::max(values.max().item<double>() - low, 1e-9);
  const Tensor level = ((values - low) / range * (kLevels - 1) + 0.5).to(at::kLong).flatten();
  const Tensor counts = at::bincount(level, {}, kLevels).to(at::kDouble);
  const Tensor value = at::arange(kLevels, at::kDouble) / (kLevels - 1) * range + low;

  const Tensor lower_count = counts.cumsum(0), lower_sum = (counts * value).cumsum(0);
  const Tensor upper_count = lower_count[-1] - lower_count, upper_sum = lower_sum[-1] - lower_sum;
  const Tensor lower_mean = lower_sum / lower_count, upper_mean = upper_sum / upper_count;
  const Tensor between = lower_count * upper_count * (upper_mean - lower_mean).square();
  const Tensor variance = between.masked_fill((lower_count == 0).logical_or(upper_count == 0), 0);
  const auto best = variance.argmax().item<std::int64_t>();
  if (variance[best].item<double>() == 0) {
    const double mean = values.mean().item<double>();
    return {low, mean, mean};
  }
  return {(value[best] + value[best + 1]).item<double>() / 2, lower_mean[best].item<double>(),
          upper_mean[best].item<double>()};
}

/// Negates brightness if most of the border is in the upper class. The background is then the lower class.
Tensor with_background_below(const Tensor& brightness) {
  const Tensor is_upper = border_of(brightness) >= split(brightness).threshold;
  return 2 * is_upper.sum().item<std::int64_t>() > is_upper.numel() ? -brightness : brightness;
}

/// Fits constant + slope · term to the values below the threshold by least squares and subtracts the fit.
Tensor without(const Tensor& brightness, const Tensor& term, double threshold) {
  const Tensor is_below = brightness < threshold;
  const Tensor place = term.masked_select(is_below), value = brightness.masked_select(is_below);
  if (place.numel() == 0) return brightness;
  const Tensor centred = place - place.mean();
  const double variance = centred.square().mean().item<double>();
  const double slope = variance > 1e-9 ? (centred * value).mean().item<double>() / variance : 0;
  return brightness - (value.mean() + slope * (term - place.mean()));
}

/// Subtracts a quadratic surface, which models uneven light.
Tensor flattened(Tensor brightness) {
  const auto positions = [](std::int64_t size) {  // 0 in the middle of the image
    return at::arange(size, at::kDouble) / static_cast<double>(size) - 0.5;
  };
  const Tensor y = positions(brightness.size(0)).unsqueeze(1).expand_as(brightness);
  const Tensor x = positions(brightness.size(1)).expand_as(brightness);
  const std::vector<Tensor> surface{y, x, y * y, x * x, y * x};
  constexpr double kEverything = std::numeric_limits<double>::infinity();
  for (const Tensor& term : surface) brightness = without(brightness, term, kEverything);  // ink is less
  constexpr int kRounds = 3;  // each improves the split, and so the next fit
  for (int round = 0; round < kRounds; ++round) {
    for (const Tensor& term : surface) {
      brightness = with_background_below(brightness);
      brightness = without(brightness, term, split(brightness).threshold);
    }
  }
  return brightness;
}

/// An image with its background in the lower of two classes.
struct Ink {
  explicit Ink(const Tensor& image) : brightness(with_background_below(image)), parts(split(brightness)) {
    const Tensor background = brightness.masked_select(brightness < parts.threshold);
    noise =
        background.numel() > 0 ? (background - parts.lower_mean).square().mean().sqrt().item<double>() : 0;
  }
  double contrast() const { return parts.upper_mean - parts.lower_mean; }

  Tensor brightness;
  Split parts;
  double noise;  ///< the standard deviation of the background
};

/// The ink of the image or of the flattened image: the one with more contrast.
Ink find_ink(const GreyImage& image) {
  const Tensor brightness = view_of(image).to(at::kDouble);
  const Ink even(brightness), flat(flattened(brightness));
  return flat.contrast() * even.noise > even.contrast() * flat.noise ? flat : even;
}

/// The ink strength of each pixel, from black to white.
Tensor draw_ink(const GreyImage& image, const std::string& name) {
  const Ink ink = find_ink(image);
  // Otsu's threshold splits pure Gaussian noise in the middle: the means are 2.6 standard deviations apart.
  constexpr double kLeastContrast = 16, kLeastDeviations = 3.5;
  if (ink.contrast() < kLeastContrast || ink.contrast() < kLeastDeviations * ink.noise) refuse_blank(name);
  const double none = (ink.parts.lower_mean + ink.parts.threshold) / 2, full = ink.parts.upper_mean;
  return ((ink.brightness - none) / (full - none)).clamp(0, 1).mul(255).round().to(at::kByte);
}

// ---- MNIST ---------------------------------------------------------------------------------------------

/// The position that moves a part's centre of mass as close as possible to the middle of the whole.
std::int64_t place_by_mass(const Tensor& profile, std::int64_t whole) {
  const double start = static_cast<double>(whole) / 2 - centre_of_mass(profile);
  return std::clamp<std::int64_t>(std::llround(start), 0, whole - profile.size(0));
}

GreyImage prepare_digit(const GreyImage& image, std::int64_t height, std::int64_t width,
                        const std::string& name) {
  // Large enough for detail, and small enough to average out a photo's noise and to keep thin lines visible.
  constexpr std::int64_t kWorkingScale = 5;
  constexpr double kSpecks = 0.002;
  const bool is_large = image.height > kWorkingScale * height || image.width > kWorkingScale * width;
  const Tensor ink =
      draw_ink(is_large ? fit(image, kWorkingScale * height, kWorkingScale * width) : image, name);
  const GreyImage cut = image_of(cropped(ink, ink >= 128, kSpecks));
  const GreyImage fitted = fit(cut, scaled(height, 20.0 / 28), scaled(width, 20.0 / 28));
  const Tensor digit = view_of(fitted).to(at::kDouble);
  const Tensor bright = (digit * (255 / digit.max())).round();
  return place(bright, place_by_mass(bright.sum(1), height), place_by_mass(bright.sum(0), width), height,
               width);
}

// ---- Fashion-MNIST -------------------------------------------------------------------------------------

/// Brightness as the distance from the background towards white or black, whichever is farther in total: 0
/// for the background, 255 for that end.
Tensor on_black(const Tensor& image) {
  const int background = median_of_border(image);
  const Tensor difference = image.to(at::kFloat).sub_(background);
  const bool is_lighter = difference.sum().item<double>() > 0;
  const int range = is_lighter ? 255 - background : -background;
  return range == 0 ? at::zeros_like(image) : difference.mul_(255).div_(range).clamp_min_(0).to(at::kByte);
}

GreyImage prepare_clothing(const GreyImage& image, std::int64_t height, std::int64_t width,
                           const std::string& name) {
  const Tensor clothing = on_black(view_of(image));
  const Tensor is_clothing = clothing > kClose;
  if (!is_clothing.any().item<bool>()) refuse_blank(name);
  const GreyImage fitted = fit(image_of(cropped(clothing, is_clothing, 0)), height, width);
  return place(view_of(fitted), (height - fitted.height) / 2, (width - fitted.width) / 2, height, width);
}

// ---- Finished images -----------------------------------------------------------------------------------

/// The longest side of the ink in a finished image, as a share of the network's input.
struct InkSize {
  double least, most;
};

InkSize finished_ink_size(Preparation preparation) {
  switch (preparation) {
    case Preparation::mnist:
      return {17.0 / 28, 21.0 / 28};  // 20, more or less at antialiased edges
    case Preparation::fashion_mnist:
      return {25.0 / 28, 1};  // the least among the 10,000 test images
    default:
      return {17.0 / 28, 1};
  }
}

/// Whether at least two corners are black.
bool has_black_background(const Tensor& image) {
  int black = 0;
  for (const Tensor& edge : {image[0], image[-1]}) {
    for (const Tensor& corner : {edge[0], edge[-1]}) black += corner.item<int>() <= kClose ? 1 : 0;
  }
  return black >= 2;
}

/// Whether the middle of the ink or its centre of mass is near the middle of the image, along one axis.
bool is_centred(const Tensor& profile) {
  constexpr double kFarthest = 2.0 / 28;
  const auto size = static_cast<double>(profile.size(0));
  const Extent ink(profile, 0);
  const double middle = static_cast<double>(ink.first) + static_cast<double>(ink.size) / 2;
  const double mass = centre_of_mass(profile) + 0.5;
  return std::min(std::abs(middle - size / 2), std::abs(mass - size / 2)) <= kFarthest * size;
}

bool is_finished(const GreyImage& image, Preparation preparation, std::int64_t height, std::int64_t width) {
  constexpr int kWhite = 240;
  const Tensor brightness = view_of(image);
  if (image.height != height || image.width != width || !has_black_background(brightness) ||
      brightness.max().item<int>() < kWhite) {
    return false;
  }
  const Tensor ink = brightness.to(at::kDouble).masked_fill(brightness <= kClose, 0);
  const Tensor rows = ink.sum(1), columns = ink.sum(0);
  const double longest = std::max(static_cast<double>(Extent(rows, 0).size) / static_cast<double>(height),
                                  static_cast<double>(Extent(columns, 0).size) / static_cast<double>(width));
  const InkSize size = finished_ink_size(preparation);
  return size.least <= longest && longest <= size.most && is_centred(rows) && is_centred(columns);
}

}  // namespace

GreyImage prepare(const GreyImage& image, Preparation preparation, std::int64_t height, std::int64_t width,
                  const std::string& name) {
  if (preparation == Preparation::none) return resize(image, height, width);
  const SignalBlockGuard guard;  // threads that LibTorch may start here must not handle signals
  if (is_finished(image, preparation, height, width)) return image;
  return preparation == Preparation::fashion_mnist ? prepare_clothing(image, height, width, name)
                                                   : prepare_digit(image, height, width, name);
}

}  // namespace twingrad::data
