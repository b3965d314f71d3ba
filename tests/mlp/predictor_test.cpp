#include "twingrad/mlp/predictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "../support/refusal.h"
#include "../support/temporary_folder.h"
#include "random_networks.h"
#include "trained_weights.h"

namespace twingrad {
namespace {

using at::Tensor;
using testing::fields_of;
using testing::for_random_cases;
using ::testing::HasSubstr;
using testing::RandomCase;
using testing::refusal_of;
using testing::trained_weights;
using testing::without_metadata;

GreyImage image_of(std::int64_t height, std::int64_t width, int first) {
  GreyImage image = {height, width, {}};
  for (std::int64_t i = 0; i < height * width; ++i) {
    image.pixels.push_back(static_cast<std::uint8_t>((first + 37 * i) % 256));
  }
  image.pixels.back() = 255;
  return image;
}

class PredictorTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const TensorFile& file) const {
    write_tensor_file(folder.path() / name, file);
    return folder.path() / name;
  }
  testing::TemporaryFolder folder;
};

/// The logits of a twin in evaluation mode, computed from the pixels.
Tensor expected_logits(const MlpSpec& spec, const TensorFile& file, const std::vector<GreyImage>& images,
                       at::ScalarType dtype) {
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), dtype);
  load_network(twin, file.tensors);
  twin.eval();
  Tensor rows = at::empty({std::ssize(images), spec.inputs}, at::kDouble);
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (std::size_t j = 0; j < images[i].pixels.size(); ++j) {
      rows[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(j)] = images[i].pixels[j] / 255.0;
    }
  }
  return twin.predict(rows.to(dtype)).to(at::kDouble).clone();
}

void expect_prediction(const Predictor::Prediction& found, const Tensor& logits, bool is_sigmoid,
                       double tolerance) {
  const Tensor e = logits.exp();
  const Tensor probabilities = is_sigmoid ? e / (1 + e) : e / e.sum();
  ASSERT_EQ(std::ssize(found.logits), logits.numel());
  ASSERT_EQ(std::ssize(found.probabilities), logits.numel());
  for (std::int64_t c = 0; c < logits.numel(); ++c) {
    const auto at = static_cast<std::size_t>(c);
    EXPECT_NEAR(found.logits[at], logits[c].item<double>(), tolerance);
    EXPECT_NEAR(found.probabilities[at], probabilities[c].item<double>(), tolerance);
  }
  EXPECT_EQ(static_cast<std::int64_t>(found.most_likely()), logits.argmax().item<std::int64_t>());
}

TEST_F(PredictorTest, GivesTheLogitsAndProbabilitiesOfBothNetworks) {
  for_random_cases(30, [&](RandomCase& random) {
    MlpSpec spec = testing::random_network(random, 12, {8, 8}, 4);
    // Batch statistics in evaluation would depend on the other images of the batch.
    spec.normalization_statistics = true;
    const at::ScalarType dtype = random.one_of({at::kFloat, at::kDouble});
    const std::map<std::string, std::string> about = {
        {kDataset, "shoes"}, {kImageHeight, "3"}, {kImageWidth, "4"}};
    const TensorFile manual = trained_weights(spec, about, dtype);
    const TensorFile autograd = trained_weights(spec, about, dtype);
    Predictor predictor(write("a.safetensors", autograd), write("m.safetensors", manual), "relu");
    EXPECT_EQ(std::tuple(predictor.height(), predictor.width()), std::tuple(3, 4));
    EXPECT_EQ(predictor.dataset(), "shoes");
    EXPECT_EQ(fields_of(predictor.spec()), fields_of(spec));
    const std::vector<GreyImage> images = {image_of(3, 4, 0), image_of(3, 4, 90), image_of(3, 4, 200)};
    const std::vector<Predictor::Predictions> found = predictor.predict(images);
    ASSERT_EQ(found.size(), images.size());
    const bool is_sigmoid = spec.loss == LossKind::bce_with_logits;
    const double tolerance = dtype == at::kDouble ? 1e-12 : 1e-4;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      expect_prediction(found[i].manual, expected_logits(spec, manual, images, dtype)[row], is_sigmoid,
                        tolerance);
      expect_prediction(found[i].autograd, expected_logits(spec, autograd, images, dtype)[row], is_sigmoid,
                        tolerance);
    }
    EXPECT_TRUE(predictor.predict({}).empty());
  });
}

TEST_F(PredictorTest, AssumesSquareImagesUnlessTheMetadataFits) {
  const MlpSpec square = {.inputs = 16, .hidden = {}, .classes = 3};
  const MlpSpec oblong = {.inputs = 12, .hidden = {}, .classes = 3};
  const auto size_with = [&](const MlpSpec& spec, const std::map<std::string, std::string>& about) {
    const std::filesystem::path path = write("w.safetensors", trained_weights(spec, about));
    const Predictor predictor(path, path, "relu");
    return std::tuple(predictor.height(), predictor.width());
  };
  EXPECT_EQ(size_with(square, {}), std::tuple(4, 4));
  EXPECT_EQ(size_with(square, {{kImageHeight, "2"}, {kImageWidth, "8"}}), std::tuple(2, 8));
  for (const auto& [height, width] : {std::pair("2", "4"),
                                      {"0", "16"},
                                      {"16", "0"},
                                      {"3", "5"},
                                      {"9", "1"},
                                      {"-4", "-4"},
                                      {"16", "2"},
                                      {"x", "y"}}) {
    EXPECT_EQ(size_with(square, {{kImageHeight, height}, {kImageWidth, width}}), std::tuple(4, 4))
        << height << "x" << width;
  }
  EXPECT_EQ(size_with(oblong, {{kImageHeight, "12"}, {kImageWidth, "1"}}), std::tuple(12, 1));
  EXPECT_THAT(refusal_of([&] { size_with(oblong, {}); }), HasSubstr("with 12 inputs"));
}

TEST_F(PredictorTest, RefusesWeightsAndLogitsThatAreNotFinite) {
  const MlpSpec spec = {.inputs = 16, .hidden = {5}, .classes = 3};
  const std::filesystem::path good = write("good.safetensors", trained_weights(spec, {}, at::kFloat));
  TensorFile file = trained_weights(spec, {}, at::kFloat);
  file.tensors[0].tensor[1][2] = std::nan("");
  const std::filesystem::path nan = write("nan.safetensors", file);
  EXPECT_THAT(refusal_of([&] { Predictor(good, nan, "relu"); }), HasSubstr("1 of 80 in \"0.weight\""));
  EXPECT_THAT(refusal_of([&] { Predictor(nan, good, "relu"); }),
              HasSubstr("nan.safetensors: expected finite"));
  for (NamedTensor& named : file.tensors) {
    named.tensor.fill_(3e30);  // finite, unlike the products
  }
  const std::filesystem::path large = write("large.safetensors", file);
  const std::vector<GreyImage> images = {image_of(4, 4, 0), image_of(4, 4, 90)};
  for (const auto& [autograd, manual] : {std::pair(large, good), {good, large}}) {
    Predictor predictor(autograd, manual, "relu");
    EXPECT_THAT(
        refusal_of([&] { predictor.predict(images); }),
        HasSubstr("large.safetensors: expected weights with finite logits, found 6 of 6 logits that are "
                  "not; "));
  }
}

TEST_F(PredictorTest, ReadsWeightsWithOtherNames) {
  const MlpSpec spec = {.inputs = 16, .hidden = {5}, .classes = 3, .normalization = Normalization::batch};
  const TensorFile file = without_metadata(trained_weights(spec));
  TensorFile renamed = file;
  for (NamedTensor& named : renamed.tensors) {
    named.name = "module." + named.name;
  }
  std::reverse(renamed.tensors.begin(), renamed.tensors.end());
  const std::filesystem::path path = write("w.safetensors", renamed);
  Predictor predictor(path, path, "relu");
  EXPECT_THAT(predictor.notes(), ::testing::ElementsAre(HasSubstr("stripped the prefix \"module.\"")));
  const std::vector<GreyImage> images = {image_of(4, 4, 0)};
  const Tensor expected = expected_logits(spec, file, images, at::kDouble)[0];
  expect_prediction(predictor.predict(images)[0].manual, expected, false, 1e-12);
}

TEST_F(PredictorTest, RefusesTwoDifferentNetworks) {
  MlpSpec spec = {.inputs = 16, .hidden = {5}, .classes = 3};
  const std::filesystem::path relu = write("relu.safetensors", trained_weights(spec));
  EXPECT_NO_THROW(Predictor(relu, relu, "tanh"));
  EXPECT_EQ(Predictor(relu, relu, "tanh").spec().activation, "relu") << "as the metadata says";
  spec.activation = "tanh";
  const std::filesystem::path tanh = write("tanh.safetensors", trained_weights(spec));
  EXPECT_THAT(refusal_of([&] { Predictor(relu, tanh, "relu"); }), HasSubstr("relu.safetensors: expected"));
  spec.hidden = {6};
  const std::filesystem::path wide = write("wide.safetensors", trained_weights(spec));
  EXPECT_THAT(refusal_of([&] { Predictor(tanh, wide, "relu"); }), HasSubstr("tanh.safetensors: expected"));
  spec.hidden = {6, 3};
  const std::filesystem::path deep = write("deep.safetensors", trained_weights(spec));
  EXPECT_THAT(refusal_of([&] { Predictor(deep, wide, "relu"); }),
              HasSubstr("the unknown \"4.weight\" [3, 3]"));
  TensorFile file = without_metadata(trained_weights(spec));
  file.tensors.pop_back();
  const std::filesystem::path none = write("none.safetensors", file);
  for (const auto& [autograd, manual] : {std::pair(none, deep), {deep, none}}) {
    EXPECT_THAT(refusal_of([&] { Predictor(autograd, manual, "relu"); }),
                HasSubstr("none.safetensors: expected the weights of linear layers"));
  }
}

}  // namespace
}  // namespace twingrad
