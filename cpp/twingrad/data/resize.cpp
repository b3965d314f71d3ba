#include "twingrad/data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace twingrad::data {
namespace {

/// The old pixels of a row or column that a new one is the mean of: first, first + 1, …, with their weights.
struct Source {
  std::size_t first;
  std::vector<float> weights;  // their sum is 1
};

/// The source of each of `count` new pixels in the place of `old_count`.
std::vector<Source> sources(std::size_t old_count, std::size_t count) {
  const double step = static_cast<double>(old_count) / static_cast<double>(count);
  const double reach = std::max(1.0, step);
  const auto last_pixel = static_cast<double>(old_count - 1);
  std::vector<Source> all;
  for (std::size_t i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * step - 0.5;
    const double first = std::clamp(std::ceil(centre - reach), 0.0, last_pixel);
    const double last = std::clamp(std::floor(centre + reach), 0.0, last_pixel);
    Source source{static_cast<std::size_t>(first), {}};
    double sum = 0;
    for (double pixel = first; pixel <= last; ++pixel) sum += reach - std::abs(pixel - centre);
    for (double pixel = first; pixel <= last; ++pixel) {
      source.weights.push_back(static_cast<float>((reach - std::abs(pixel - centre)) / sum));
    }
    all.push_back(std::move(source));
  }
  return all;
}

}  // namespace

GreyImage resize(const GreyImage& image, std::int64_t height, std::int64_t width) {
  const auto old_height = static_cast<std::size_t>(image.height);
  const auto old_width = static_cast<std::size_t>(image.width);
  const auto new_width = static_cast<std::size_t>(width);

  std::vector<float> rows(old_height * new_width);  // [old height, width]
  const std::vector<Source> columns = sources(old_width, new_width);
  for (std::size_t y = 0; y < old_height; ++y) {
    for (std::size_t x = 0; x < new_width; ++x) {
      const std::uint8_t* pixels = image.pixels.data() + y * old_width + columns[x].first;
      for (const float weight : columns[x].weights) rows[y * new_width + x] += weight * *pixels++;
    }
  }

  GreyImage resized{height, width, {}};
  std::vector<float> row(new_width);
  for (const auto& [first, weights] : sources(old_height, static_cast<std::size_t>(height))) {
    std::fill(row.begin(), row.end(), 0.0F);
    const float* pixels = rows.data() + first * new_width;
    for (const float weight : weights) {
      for (float& sum : row) sum += weight * *pixels++;
    }
    for (const float grey : row) {
      resized.pixels.push_back(static_cast<std::uint8_t>(std::clamp(std::lround(grey), 0L, 255L)));
    }
  }
  return resized;
}

}  // namespace twingrad::data
