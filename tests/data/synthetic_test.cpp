#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../support/refusal.h"
#include "twingrad/data/dataset.h"

namespace twingrad::data::synthetic_test {

using namespace ::testing;
using namespace twingrad::testing;

TEST(Synthetic, IsTheSameOnEveryMachine) {
  EXPECT_EQ(synthetic(1).sha256, "1c302a92d7ea20d175c8fd3828500816c06d2bf6d1be44abffa72f7ca02df3fd");
}

TEST(Synthetic, DependsOnTheSeed) { EXPECT_NE(synthetic(1).sha256, synthetic(2).sha256); }

TEST(Synthetic, FillsAllFieldsOfTheDataset) {
  const Dataset dataset = synthetic(42, 30, 20, 3);
  EXPECT_EQ(dataset.name, "synthetic");
  EXPECT_EQ(dataset.title, "synthetic (drawn from seed 42)");
  EXPECT_EQ(dataset.location, "");
  EXPECT_EQ(dataset.classes, 3);
  EXPECT_EQ(dataset.train.count, 30);
  EXPECT_EQ(dataset.test.count, 20);
  for (const LabelledImages* part : {&dataset.train, &dataset.test}) {
    EXPECT_EQ(part->height, 28);
    EXPECT_EQ(part->width, 28);
    EXPECT_EQ(part->pixels.size(), static_cast<std::size_t>(part->count) * 28 * 28);
    EXPECT_EQ(part->labels.size(), static_cast<std::size_t>(part->count));
  }
}

TEST(Synthetic, HasEquallyFrequentClasses) {
  const Dataset dataset = synthetic(5, 103, 7, 10);
  for (std::uint8_t label = 0; label < 10; ++label) {
    const auto count = std::count(dataset.train.labels.begin(), dataset.train.labels.end(), label);
    EXPECT_EQ(count, label < 3 ? 11 : 10) << "class " << int{label};
  }
  EXPECT_FALSE(std::is_sorted(dataset.train.labels.begin(), dataset.train.labels.end()));
}

TEST(Synthetic, AcceptsCountsThatAreNotAMultipleOfTheClasses) {
  for (const std::int64_t classes : {1, 2, 3, 256}) {
    for (const std::int64_t count : {1, 2, 7, 300}) {
      const Dataset dataset = synthetic(3, count, count, classes);
      EXPECT_EQ(dataset.train.labels.size(), static_cast<std::size_t>(count));
      EXPECT_THAT(dataset.train.labels, Each(Lt(classes)));
      EXPECT_THAT(dataset.test.labels, Each(Lt(classes)));
    }
  }
}

TEST(Synthetic, RefusesCountsOutOfRange) {
  EXPECT_EQ(refusal_of([] { synthetic(1, 0, 10); }),
            "synthetic training images: expected 1 to 1000000, found 0; give a number in this range");
  EXPECT_THAT(refusal_of([] { synthetic(1, 10, -1); }),
              HasSubstr("test images: expected 1 to 1000000, found -1"));
  EXPECT_THAT(refusal_of([] { synthetic(1, 10, 10, 257); }), HasSubstr("expected 1 to 256, found 257"));
}

/// The test accuracy of a linear classifier without biases, trained as a perceptron. It uses integers, so it
/// is the same on every machine.
double perceptron_accuracy(const Dataset& dataset) {
  constexpr std::size_t kSize = 28 * 28;
  std::vector<std::vector<std::int64_t>> weights(10, std::vector<std::int64_t>(kSize));
  const auto guess = [&](const std::uint8_t* pixels) {
    std::vector<std::int64_t> logits;
    for (const auto& row : weights) {
      logits.push_back(std::inner_product(row.begin(), row.end(), pixels, std::int64_t{0}));
    }
    return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  };
  for (int epoch = 0; epoch < 4; ++epoch) {
    for (std::size_t n = 0; n < dataset.train.labels.size(); ++n) {
      const std::uint8_t* pixels = &dataset.train.pixels[n * kSize];
      const std::size_t label = dataset.train.labels[n], guessed = guess(pixels);
      if (guessed == label) continue;
      for (std::size_t i = 0; i < kSize; ++i)
        weights[label][i] += pixels[i], weights[guessed][i] -= pixels[i];
    }
  }
  int correct = 0;
  for (std::size_t n = 0; n < dataset.test.labels.size(); ++n) {
    correct += guess(&dataset.test.pixels[n * kSize]) == dataset.test.labels[n] ? 1 : 0;
  }
  return correct / static_cast<double>(dataset.test.count);
}

TEST(Synthetic, CanBeLearnedByALinearClassifierWithSomeErrors) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const double accuracy = perceptron_accuracy(synthetic(seed));
    EXPECT_GT(accuracy, 0.95) << "seed " << seed;  // chance: 0.1
    EXPECT_LT(accuracy, 1.0) << "seed " << seed;
  }
}

TEST(HoldOut, ReplacesTheTestImagesWithTheLastTrainingImages) {
  const Dataset before = synthetic(1, 20, 7);
  Dataset after = before;
  hold_out(after, 6);
  EXPECT_EQ(after.train.count, 14);
  EXPECT_EQ(after.test.count, 6);
  EXPECT_EQ(after.test.height, 28);
  EXPECT_NE(after.title, before.title) << "shown in the heading of a run";
  std::vector<std::uint8_t> pixels = after.train.pixels;
  pixels.insert(pixels.end(), after.test.pixels.begin(), after.test.pixels.end());
  std::vector<std::uint8_t> labels = after.train.labels;
  labels.insert(labels.end(), after.test.labels.begin(), after.test.labels.end());
  EXPECT_EQ(pixels, before.train.pixels);
  EXPECT_EQ(labels, before.train.labels);
}

TEST(HoldOut, RefusesToHoldOutAllImagesOrNone) {
  Dataset dataset = synthetic(1, 20, 7);
  EXPECT_THROW(hold_out(dataset, 20), UserError);
  EXPECT_THROW(hold_out(dataset, 0), UserError);
  EXPECT_EQ(dataset.train.count, 20);
}

}  // namespace twingrad::data::synthetic_test
