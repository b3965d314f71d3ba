#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "twingrad/data/dataset.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/sha256.h"
#include "twingrad/runtime/splitmix64.h"

namespace twingrad::data {
namespace {

// Only non-negative integers, whose arithmetic is the same on every machine.
constexpr std::size_t kSide = 28;
constexpr std::size_t kGridSide = 5;       // a prototype interpolates between 5 × 5 random values
constexpr std::uint64_t kLeastShare = 55;  // minimum share of the class's prototype in an image, in percent
constexpr std::uint64_t kNoise = 80;       // added to each pixel: −80 … 80
constexpr std::uint64_t kBrightest = 255;

using Prototype = std::array<std::uint64_t, kSide * kSide>;

/// The position of a pixel, along one axis, between two points of the coarse grid.
struct GridPosition {
  explicit GridPosition(std::size_t pixel)
      : low(pixel * kCells / kSteps),
        high(std::min(low + 1, kGridSide - 1)),
        high_weight(pixel * kCells % kSteps),
        low_weight(kSteps - high_weight) {}

  static constexpr std::size_t kCells = kGridSide - 1;
  static constexpr std::size_t kSteps = kSide - 1;  // the sum of the two weights

  std::size_t low, high;
  std::uint64_t high_weight, low_weight;
};

/// Random values on a coarse grid, with bilinear interpolation between them.
Prototype draw_prototype(SplitMix64& random) {
  std::array<std::uint64_t, kGridSide * kGridSide> grid;
  for (std::uint64_t& value : grid) value = random.below(kBrightest + 1);

  Prototype prototype;
  for (std::size_t y = 0; y < kSide; ++y) {
    const GridPosition row(y);
    for (std::size_t x = 0; x < kSide; ++x) {
      const GridPosition column(x);
      const auto along_row = [&](std::size_t grid_row) {
        const std::uint64_t* values = grid.data() + grid_row * kGridSide;
        return column.low_weight * values[column.low] + column.high_weight * values[column.high];
      };
      prototype[y * kSide + x] =
          (row.low_weight * along_row(row.low) + row.high_weight * along_row(row.high)) /
          (GridPosition::kSteps * GridPosition::kSteps);
    }
  }
  return prototype;
}

/// The labels 0, 1, …, classes − 1, 0, … in random order: the class counts differ by at most one image.
std::vector<std::uint8_t> draw_labels(SplitMix64& random, std::size_t count, std::size_t classes) {
  std::vector<std::uint8_t> labels;
  for (std::size_t i = 0; i < count; ++i) labels.push_back(static_cast<std::uint8_t>(i % classes));
  // Fisher–Yates; the output of std::shuffle is not specified.
  for (std::size_t left = count; left > 1; --left) std::swap(labels[left - 1], labels[random.below(left)]);
  return labels;
}

/// Appends an image: the prototype of its class mixed with that of another class, plus noise. If the share of
/// its class's prototype is near one half, the two classes are hard to distinguish, as in real data.
void draw_image(SplitMix64& random, const Prototype& own, const Prototype& other,
                std::vector<std::uint8_t>& pixels) {
  const std::uint64_t share = kLeastShare + random.below(101 - kLeastShare);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const std::uint64_t mixed = (share * own[i] + (100 - share) * other[i]) / 100;
    const std::uint64_t noisy = mixed + random.below(2 * kNoise + 1);  // brighter by kNoise
    pixels.push_back(static_cast<std::uint8_t>(std::clamp(noisy, kNoise, kBrightest + kNoise) - kNoise));
  }
}

LabelledImages draw_images(SplitMix64& random, const std::vector<Prototype>& prototypes, std::int64_t count) {
  const std::size_t classes = prototypes.size();
  LabelledImages drawn{count, kSide, kSide, {}, {}};
  drawn.labels = draw_labels(random, static_cast<std::size_t>(count), classes);
  drawn.pixels.reserve(drawn.labels.size() * kSide * kSide);
  for (const std::uint8_t label : drawn.labels) {
    // Any other class, if there is one.
    const std::size_t other = classes == 1 ? label : (label + 1 + random.below(classes - 1)) % classes;
    draw_image(random, prototypes[label], prototypes[other], drawn.pixels);
  }
  return drawn;
}

void require_image_count(const char* part, std::int64_t count) {
  constexpr std::int64_t kMostImages = 1'000'000;
  if (count >= 1 && count <= kMostImages) return;
  throw UserError(fmt::format("synthetic {} images", part),
                  fmt::format("expected 1 to {}, found {}", kMostImages, count),
                  "give a number in this range");
}

}  // namespace

Dataset synthetic(std::uint64_t seed, std::int64_t train_count, std::int64_t test_count,
                  std::int64_t classes) {
  require_class_count(classes);
  require_image_count("training", train_count);
  require_image_count("test", test_count);

  SplitMix64 random(seed);
  std::vector<Prototype> prototypes;
  for (std::int64_t label = 0; label < classes; ++label) prototypes.push_back(draw_prototype(random));

  Dataset dataset;
  dataset.name = "synthetic";
  dataset.title = fmt::format("synthetic (drawn from seed {})", seed);
  dataset.classes = classes;
  dataset.train = draw_images(random, prototypes, train_count);
  dataset.test = draw_images(random, prototypes, test_count);

  Sha256 over_all;
  for (const LabelledImages* part : {&dataset.train, &dataset.test}) {
    over_all.update(part->pixels);
    over_all.update(part->labels);
  }
  dataset.sha256 = over_all.hex_digest();
  return dataset;
}

}  // namespace twingrad::data
