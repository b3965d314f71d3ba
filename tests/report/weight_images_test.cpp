#include "twingrad/report/weight_images.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "twingrad/mlp/manual_twin.h"

namespace twingrad::weight_images_test {

using namespace ::testing;

/// The images of a network for 2 × 3 pixels whose first layer has these weights [units, 6].
nlohmann::ordered_json images_of(const at::Tensor& weights, Bias bias = Bias::every_layer) {
  const MlpSpec spec{.inputs = 6, .hidden = {weights.size(0)}, .classes = 2, .bias = bias};
  const ManualTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  for (const auto& [name, parameter] : twin.parameters()) {
    if (parameter.dim() == 2) {
      const bool is_transposed = bias != Bias::every_layer;
      const at::Tensor images = (is_transposed ? parameter.t() : parameter).narrow(1, 0, 6);
      images.copy_(weights);
      break;
    }
  }
  return first_layer_images(twin, spec, 2, 3);
}

TEST(WeightImages, ShowTheUnitsWithTheLargestWeights) {
  const at::Tensor weights = at::arange(1, 51, at::kDouble).view({50, 1}).expand({50, 6});
  const nlohmann::ordered_json images = images_of(weights);
  EXPECT_EQ(images["name"], "0.weight");
  EXPECT_EQ(images["units"], 50);
  ASSERT_EQ(images["shown"].size(), 40);
  EXPECT_EQ(images["shown"].front(), 10);
  EXPECT_EQ(images["shown"].back(), 49);
  EXPECT_EQ(images["largest"], 50);
  EXPECT_EQ(images["width"], 10 * 3 + 9 * 2);
  EXPECT_EQ(images["height"], 4 * 2 + 3 * 2);
}

TEST(WeightImages, AreTheSameForAllKindsOfBias) {
  const at::Tensor weights = at::arange(24, at::kDouble).view({4, 6}).sub(11);
  const std::string png = images_of(weights)["png"];
  EXPECT_EQ(images_of(weights, Bias::separate_layer)["png"], png);
  EXPECT_EQ(images_of(weights, Bias::column_of_ones)["png"], png);
  EXPECT_NE(images_of(weights.neg())["png"], png);
}

TEST(WeightImages, AreLeftOutIfTheyCannotBeDrawn) {
  EXPECT_TRUE(images_of(at::full({4, 6}, std::numeric_limits<double>::quiet_NaN(), at::kDouble)).is_null());
  EXPECT_FALSE(images_of(at::zeros({4, 6}, at::kDouble)).is_null());
  const MlpSpec large{.inputs = 400 * 400, .hidden = {}, .classes = 2};
  const ManualTwin twin(large, {}, draw_initial_parameters(large, 1), at::kFloat);
  EXPECT_TRUE(first_layer_images(twin, large, 400, 400).is_null());
}

}  // namespace twingrad::weight_images_test
