#include "twingrad/data/drawing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "twingrad/data/resize.h"
#include "twingrad/runtime/error.h"

namespace twingrad::data {
namespace {

[[noreturn]] void refuse_blank(const std::string& name) {
  throw UserError(name, "expected a drawing on a background, found too little contrast",
                  "use an image with a clear background");
}

// ---- Images --------------------------------------------------------------------------------------------

std::int64_t scaled(std::int64_t size, double factor) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(size) * factor));
}

/// Scales the image with fixed aspect ratio to fit into height × width.
GreyImage fit(const GreyImage& image, std::int64_t height, std::int64_t width) {
  const double factor = std::min(static_cast<double>(height) / static_cast<double>(image.height),
                                 static_cast<double>(width) / static_cast<double>(image.width));
  return resize(image, scaled(image.height, factor), scaled(image.width, factor));
}

struct Box {
  std::int64_t top, left, bottom, right;  // bottom and right are exclusive
};

GreyImage crop(const GreyImage& image, const Box& box) {
  GreyImage part{box.bottom - box.top, box.right - box.left, {}};
  for (std::int64_t y = box.top; y < box.bottom; ++y) {
    const auto row = image.pixels.begin() + y * image.width;
    part.pixels.insert(part.pixels.end(), row + box.left, row + box.right);
  }
  return part;
}

/// A black image of height × width that contains the part at (top, left).
GreyImage place(const GreyImage& part, std::int64_t top, std::int64_t left, std::int64_t height,
                std::int64_t width) {
  GreyImage image{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width))};
  for (std::int64_t y = 0; y < part.height; ++y) {
    std::copy_n(part.pixels.begin() + y * part.width, part.width,
                image.pixels.begin() + (top + y) * width + left);
  }
  return image;
}

/// Sums over rows and columns.
struct Profiles {
  std::vector<double> rows, columns;
};

/// weight_of: the summand for a pixel.
template <typename Weight>
Profiles profiles_of(const GreyImage& image, const Weight& weight_of) {
  Profiles profiles{std::vector<double>(static_cast<std::size_t>(image.height)),
                    std::vector<double>(static_cast<std::size_t>(image.width))};
  const std::uint8_t* pixel = image.pixels.data();
  for (double& row : profiles.rows) {
    for (double& column : profiles.columns) {
      const double weight = weight_of(*pixel++);
      row += weight;
      column += weight;
    }
  }
  return profiles;
}

template <typename Visit>
void for_each_border_pixel(std::int64_t height, std::int64_t width, const Visit& visit) {
  for (std::int64_t y = 0; y < height; ++y) {
    const std::int64_t step = y == 0 || y == height - 1 ? 1 : std::max<std::int64_t>(1, width - 1);
    for (std::int64_t x = 0; x < width; x += step) visit(static_cast<std::size_t>(y * width + x));
  }
}

std::uint8_t median_of_border(const GreyImage& image) {
  std::vector<std::uint8_t> border;
  for_each_border_pixel(image.height, image.width,
                        [&](std::size_t pixel) { border.push_back(image.pixels[pixel]); });
  const auto middle = border.begin() + static_cast<std::ptrdiff_t>(border.size() / 2);
  std::nth_element(border.begin(), middle, border.end());
  return *middle;
}

// ---- Ink -----------------------------------------------------------------------------------------------

/// Brightness as floating-point numbers, which can become negative. [height, width]
struct Relief {
  std::int64_t height, width;
  std::vector<float> values;
};

/// Values split into two classes by a threshold.
struct Split {
  float threshold;
  double lower_mean, upper_mean;
};

/// Otsu's threshold: of 256 levels, the one with the largest variance between the classes. If all values are
/// equal, both means are equal.
Split split(const std::vector<float>& values) {
  constexpr std::size_t kLevels = 256;
  const auto [least, largest] = std::minmax_element(values.begin(), values.end());
  const double low = *least, range = std::max(static_cast<double>(*largest) - low, 1e-9);
  const auto value_of = [&](std::size_t level) {
    return low + static_cast<double>(level) / (kLevels - 1) * range;
  };
  std::array<double, kLevels> counts{};
  for (const float value : values) {
    ++counts[static_cast<std::size_t>((value - low) / range * (kLevels - 1) + 0.5)];
  }
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (std::size_t level = 0; level < kLevels; ++level) sum += counts[level] * value_of(level);

  Split best{*least, sum / count, sum / count};
  double most = 0, lower_count = 0, lower_sum = 0;
  for (std::size_t level = 0; level + 1 < kLevels; ++level) {
    lower_count += counts[level];
    lower_sum += counts[level] * value_of(level);
    if (lower_count == 0 || lower_count == count) continue;
    const double lower_mean = lower_sum / lower_count, upper_mean = (sum - lower_sum) / (count - lower_count);
    const double gap = upper_mean - lower_mean;
    const double variance = lower_count * (count - lower_count) * gap * gap;
    if (variance <= most) continue;
    most = variance;
    best = {static_cast<float>((value_of(level) + value_of(level + 1)) / 2), lower_mean, upper_mean};
  }
  return best;
}

/// Negates brightness if most of the border is in the upper class. The background is then the lower class.
void put_background_below(Relief& relief) {
  const float threshold = split(relief.values).threshold;
  std::int64_t balance = 0;
  for_each_border_pixel(relief.height, relief.width,
                        [&](std::size_t pixel) { balance += relief.values[pixel] < threshold ? -1 : 1; });
  if (balance <= 0) return;
  for (float& value : relief.values) value = -value;
}

/// A term of a surface over (y, x).
using Term = double (*)(double, double);

/// Fits constant + slope · term to the values below the threshold by least squares and subtracts the fit.
void subtract(Relief& relief, Term term, float threshold) {
  const auto width = static_cast<std::size_t>(relief.width);
  const auto term_at = [&](std::size_t pixel) {  // y and x are 0 in the middle of the image
    return term(static_cast<double>(pixel / width) / static_cast<double>(relief.height) - 0.5,
                static_cast<double>(pixel % width) / static_cast<double>(width) - 0.5);
  };
  double count = 0, place = 0, value = 0, place_squared = 0, place_value = 0;
  for (std::size_t pixel = 0; pixel < relief.values.size(); ++pixel) {
    if (relief.values[pixel] >= threshold) continue;
    const double at = term_at(pixel);
    ++count;
    place += at;
    value += relief.values[pixel];
    place_squared += at * at;
    place_value += at * relief.values[pixel];
  }
  if (count == 0) return;
  for (double* sum : {&place, &value, &place_squared, &place_value}) *sum /= count;
  const double variance = place_squared - place * place;
  const double slope = variance > 1e-9 ? (place_value - place * value) / variance : 0;
  for (std::size_t pixel = 0; pixel < relief.values.size(); ++pixel) {
    relief.values[pixel] -= static_cast<float>(value + slope * (term_at(pixel) - place));
  }
}

/// Subtracts a quadratic surface, which models uneven light.
void flatten(Relief& relief) {
  constexpr std::array<Term, 5> surface{
      [](double y, double) { return y; },       [](double, double x) { return x; },
      [](double y, double) { return y * y; },   [](double, double x) { return x * x; },
      [](double y, double x) { return y * x; },
  };
  constexpr float kEverything = std::numeric_limits<float>::infinity();
  for (const Term term : surface) subtract(relief, term, kEverything);  // ink is the smaller part
  constexpr int kRounds = 3;  // each improves the split, and so the next fit
  for (int round = 0; round < kRounds; ++round) {
    for (const Term term : surface) {
      put_background_below(relief);
      subtract(relief, term, split(relief.values).threshold);
    }
  }
}

/// A relief with its background in the lower of two classes.
struct Ink {
  Relief relief;
  Split parts;
  double noise;  // the standard deviation of the background

  double contrast() const { return parts.upper_mean - parts.lower_mean; }
};

Ink separate_ink(Relief relief) {
  put_background_below(relief);
  const Split parts = split(relief.values);
  double count = 0, squares = 0;
  for (const float value : relief.values) {
    if (value >= parts.threshold) continue;
    ++count;
    squares += (value - parts.lower_mean) * (value - parts.lower_mean);
  }
  return {std::move(relief), parts, count > 0 ? std::sqrt(squares / count) : 0};
}

/// The ink of the image or of the flattened image: the one with more contrast.
Ink find_ink(const GreyImage& image) {
  Relief relief{image.height, image.width, {image.pixels.begin(), image.pixels.end()}};
  Ink even = separate_ink(relief);
  flatten(relief);
  Ink flat = separate_ink(std::move(relief));
  return flat.contrast() * even.noise > even.contrast() * flat.noise ? flat : even;
}

/// The ink strength of each pixel, from black to white.
GreyImage draw_ink(const GreyImage& image, const std::string& name) {
  const Ink ink = find_ink(image);
  // Otsu's threshold splits pure Gaussian noise in the middle: the means are 2.6 standard deviations apart.
  constexpr double kLeastContrast = 16, kLeastDeviations = 3.5;
  if (ink.contrast() < kLeastContrast || ink.contrast() < kLeastDeviations * ink.noise) refuse_blank(name);
  const double none = (ink.parts.lower_mean + ink.parts.threshold) / 2, full = ink.parts.upper_mean;
  GreyImage drawn{image.height, image.width, {}};
  for (const float value : ink.relief.values) {
    const double strength = std::clamp((value - none) / (full - none), 0.0, 1.0);
    drawn.pixels.push_back(static_cast<std::uint8_t>(std::lround(255 * strength)));
  }
  return drawn;
}

// ---- MNIST ---------------------------------------------------------------------------------------------

/// The first position at which the cumulative sum exceeds this share of the total.
template <typename Iterator>
std::int64_t first_beyond(Iterator begin, Iterator end, double share) {
  const double limit = share * std::accumulate(begin, end, 0.0);
  double sum = 0;
  return std::find_if(begin, end, [&](double part) { return (sum += part) > limit; }) - begin;
}

/// The bounding box of ink of at least half strength, except for specks.
Box box_of(const GreyImage& ink) {
  constexpr double kSpecks = 0.002;
  const auto [rows, columns] = profiles_of(ink, [](std::uint8_t pixel) { return pixel < 128 ? 0 : 1; });
  return {.top = first_beyond(rows.begin(), rows.end(), kSpecks),
          .left = first_beyond(columns.begin(), columns.end(), kSpecks),
          .bottom = ink.height - first_beyond(rows.rbegin(), rows.rend(), kSpecks),
          .right = ink.width - first_beyond(columns.rbegin(), columns.rend(), kSpecks)};
}

double centre_of_mass(const std::vector<double>& profile) {
  double sum = 0, moment = 0;
  for (std::size_t i = 0; i < profile.size(); ++i) {
    sum += profile[i];
    moment += profile[i] * static_cast<double>(i);
  }
  return moment / sum;
}

/// The position that moves a part's centre of mass as close as possible to the middle of the whole.
std::int64_t place_by_mass(const std::vector<double>& profile, std::int64_t whole) {
  const auto free = whole - static_cast<std::int64_t>(profile.size());
  const double start = static_cast<double>(whole) / 2 - centre_of_mass(profile);
  return std::clamp<std::int64_t>(std::llround(start), 0, free);
}

/// Scales brightness to make the lightest pixel white. The image must not be all black.
void brighten(GreyImage& image) {
  const int lightest = *std::max_element(image.pixels.begin(), image.pixels.end());
  for (std::uint8_t& pixel : image.pixels) {
    pixel = static_cast<std::uint8_t>((pixel * 255 + lightest / 2) / lightest);
  }
}

GreyImage prepare_digit(const GreyImage& image, std::int64_t height, std::int64_t width,
                        const std::string& name) {
  // Large enough for detail, and small enough to average out a photo's noise and to keep thin lines visible.
  constexpr std::int64_t kWorkingScale = 5;
  const bool is_large = image.height > kWorkingScale * height || image.width > kWorkingScale * width;
  const GreyImage ink =
      draw_ink(is_large ? fit(image, kWorkingScale * height, kWorkingScale * width) : image, name);
  GreyImage digit = fit(crop(ink, box_of(ink)), scaled(height, 20.0 / 28), scaled(width, 20.0 / 28));
  brighten(digit);
  const auto [rows, columns] = profiles_of(digit, [](std::uint8_t pixel) { return pixel; });
  return place(digit, place_by_mass(rows, height), place_by_mass(columns, width), height, width);
}

// ---- Fashion-MNIST -------------------------------------------------------------------------------------

/// Brightness as the distance from the background: 0 for the background, 255 for its opposite.
GreyImage on_black(GreyImage image) {
  const int background = median_of_border(image);
  for (std::uint8_t& pixel : image.pixels) {
    const int distance = background < 128 ? (pixel - background) * 255 / (255 - background)
                                          : (background - pixel) * 255 / background;
    pixel = static_cast<std::uint8_t>(std::max(distance, 0));
  }
  return image;
}

/// The bounding box of pixels more than 5 % above black; empty if there are none.
Box box_of_clothing(const GreyImage& image) {
  constexpr int kClose = 255 / 20;
  Box box{image.height, image.width, 0, 0};
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      if (image.pixels[static_cast<std::size_t>(y * image.width + x)] <= kClose) continue;
      box = {std::min(box.top, y), std::min(box.left, x), std::max(box.bottom, y + 1),
             std::max(box.right, x + 1)};
    }
  }
  return box;
}

GreyImage prepare_clothing(const GreyImage& image, std::int64_t height, std::int64_t width,
                           const std::string& name) {
  const GreyImage clothing = on_black(image);
  const Box box = box_of_clothing(clothing);
  if (box.bottom == 0) refuse_blank(name);
  const GreyImage fitted = fit(crop(clothing, box), height, width);
  return place(fitted, (height - fitted.height) / 2, (width - fitted.width) / 2, height, width);
}

}  // namespace

GreyImage prepare(const GreyImage& image, Preparation preparation, std::int64_t height, std::int64_t width,
                  const std::string& name) {
  if (preparation == Preparation::none) return resize(image, height, width);
  if (image.height == height && image.width == width && median_of_border(image) < 128) return image;
  return preparation == Preparation::mnist ? prepare_digit(image, height, width, name)
                                           : prepare_clothing(image, height, width, name);
}

}  // namespace twingrad::data
