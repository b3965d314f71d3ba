#include "twingrad/mlp/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "../support/refusal.h"
#include "../support/temporary_folder.h"
#include "random_networks.h"
#include "twingrad/mlp/predictor.h"
#include "twins.h"

namespace twingrad {
namespace {

using at::Tensor;
using testing::expect_same_tensors;
using testing::for_random_cases;
using ::testing::HasSubstr;
using testing::RandomCase;
using testing::refusal_of;
using ::testing::StartsWith;

/// A twin with random weights and, after a step, with statistics of its own.
std::unique_ptr<ManualTwin> trained_twin(const MlpSpec& spec, at::ScalarType dtype = at::kDouble) {
  auto twin = std::make_unique<ManualTwin>(spec, OptimizerOptions{.lr = 0.1},
                                           draw_initial_parameters(spec, 3), dtype);
  twin->set_dropout_masks(draw_dropout_masks(spec, 8, 1, 1));
  twin->compute_gradients(at::rand({8, spec.inputs}, dtype), at::arange(8).remainder(spec.classes));
  twin->update();
  return twin;
}

/// The weights of such a twin, which outlive the twin.
TensorFile trained_weights(const MlpSpec& spec, const std::map<std::string, std::string>& about = {},
                           at::ScalarType dtype = at::kDouble) {
  const auto twin = trained_twin(spec, dtype);
  TensorFile file = weights_of(*twin, spec, about);
  for (NamedTensor& named : file.tensors) {
    named.tensor = named.tensor.clone();
  }
  return file;
}

TensorFile without_metadata(TensorFile file) {
  file.metadata.clear();
  return file;
}

/// The fields of the network and the loss, for comparisons.
std::string fields_of(const MlpSpec& spec) {
  return describe_widths(spec) + fields_to_json(network_fields(), spec).dump() + entry_of(spec.loss).name;
}

TEST(Weights, DescribeTheirNetworkAndRestoreEveryTensor) {
  for_random_cases(100, [](RandomCase& random) {
    const MlpSpec spec = testing::random_network(random);
    const auto twin = trained_twin(spec);
    const TensorFile file = weights_of(*twin, spec, {{kDataset, "digits"}});
    EXPECT_EQ(file.metadata.at(kDataset), "digits");
    EXPECT_EQ(file.metadata.at("format"), "pt");
    EXPECT_EQ(file.tensors.size(), twin->parameters().size() + twin->buffers().size());
    const MlpSpec found = network_of(file, "w");
    EXPECT_EQ(fields_of(found), fields_of(spec));
    AutogradTwin other(found, {}, draw_initial_parameters(found, 4), at::kDouble);
    load_weights(other, file, "w");
    expect_same_tensors(twin->parameters(), other.parameters(), 0);
    expect_same_tensors(twin->buffers(), other.buffers(), 0);
  });
}

TEST(Weights, WithoutMetadataAreRecognizedByTheirNamesAndShapes) {
  for (const std::vector<std::int64_t>& hidden :
       std::vector<std::vector<std::int64_t>>{{}, {6}, {6, 5}, {4, 4, 7}}) {
    for (const auto& [name, normalization] : normalizations()) {
      for (const auto& [input_dropout, dropout] : {std::pair(0.0, 0.0), {0.0, 0.5}, {0.5, 0.0}, {0.5, 0.5}}) {
        for (const bool affine : {true, false}) {
          MlpSpec spec = {.inputs = 9, .hidden = hidden, .classes = 3, .activation = "tanh"};
          spec.normalization = normalization;
          spec.input_dropout = input_dropout;
          spec.dropout = dropout;
          spec.normalization_affine = affine;
          const TensorFile file = without_metadata(trained_weights(spec));
          const MlpSpec found = network_of(file, "w", "tanh");
          EXPECT_EQ(found.activation, "tanh");
          EXPECT_EQ(describe_widths(found), describe_widths(spec));
          EXPECT_EQ(found.input_dropout > 0, input_dropout > 0);
          // Without a trained parameter, a normalization and dropout leave the same gap in the numbers.
          AutogradTwin other(found, {}, draw_initial_parameters(found, 4), at::kDouble);
          load_weights(other, file, "w");
          expect_same_tensors(file.tensors, weights_of(other, found).tensors, 0);
          if (affine && !hidden.empty()) {
            EXPECT_EQ(fields_of(found), fields_of(spec));
          }
        }
      }
    }
  }
}

TEST(Weights, OfOtherNetworksAreRefused) {
  MlpSpec spec = {.inputs = 9, .hidden = {6}, .classes = 3, .normalization = Normalization::batch};
  const TensorFile file = trained_weights(spec);
  const std::string key = "twingrad.network";
  for (const bool has_metadata : {true, false}) {
    const TensorFile whole = has_metadata ? file : without_metadata(file);
    EXPECT_EQ(fields_of(network_of(whole, "w")), fields_of(spec));
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      SCOPED_TRACE(file.tensors[i].name);
      TensorFile missing = whole;
      missing.tensors.erase(missing.tensors.begin() + static_cast<std::ptrdiff_t>(i));
      EXPECT_THAT(refusal_of([&] { network_of(missing, "w"); }), StartsWith("w: expected "));
      AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
      EXPECT_THAT(refusal_of([&] { load_weights(twin, missing, "w"); }),
                  ::testing::AllOf(StartsWith("w: "), HasSubstr(file.tensors[i].name)));
      TensorFile reshaped = whole;
      reshaped.tensors[i].tensor = at::zeros({1, file.tensors[i].tensor.numel(), 1});
      EXPECT_THAT(refusal_of([&] { network_of(reshaped, "w"); }), StartsWith("w: expected "));
    }
    TensorFile more = whole;
    more.tensors.push_back({"9.weight", at::zeros({3})});
    EXPECT_THAT(refusal_of([&] { network_of(more, "w"); }), StartsWith("w: expected "));
  }
  const auto refused_with = [&](const std::string& from, const std::string& to) {
    TensorFile changed = file;
    std::string& text = changed.metadata[key];
    const std::size_t place = text.find(from);
    ASSERT_NE(place, std::string::npos) << from << " in " << text;
    text.replace(place, from.size(), to);
    EXPECT_THAT(refusal_of([&] { network_of(changed, "w"); }), StartsWith("w: expected ")) << text;
  };
  refused_with("\"inputs\":9", "\"inputs\":0");
  refused_with("\"inputs\":9", "\"inputs\":10");
  refused_with("\"inputs\":9", "\"inputs\":4611686018427387904");
  refused_with("\"inputs\":9", "\"inputs\":\"9\"");
  refused_with("\"classes\":3", "\"classes\":-3");
  refused_with("\"classes\":3", "\"classes\":2147483648");
  refused_with("\"hidden\":[6]", "\"hidden\":[]");
  refused_with("cross_entropy", "cross");
  refused_with("{", "");
  TensorFile old = file;
  std::string& text = old.metadata[key];
  text.erase(text.find("\"input_dropout\":0.0,"), std::string("\"input_dropout\":0.0,").size());
  EXPECT_EQ(network_of(old, "w").input_dropout, 0) << "missing in files of earlier versions";
  EXPECT_THAT(refusal_of([] { network_of({}, "w"); }), HasSubstr("0 other tensors"));
}

TEST(LoadNetwork, ChangesNothingUnlessEveryTensorFits) {
  const MlpSpec spec = {.inputs = 9, .hidden = {6}, .classes = 3, .normalization = Normalization::batch};
  const auto source = trained_twin(spec);
  std::vector<NamedTensor> tensors = weights_of(*source, spec).tensors;
  ManualTwin manual(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  AutogradTwin autograd(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  for (Twin* twin : {static_cast<Twin*>(&manual), static_cast<Twin*>(&autograd)}) {
    const TensorFile before = weights_of(*twin, spec);
    std::vector<NamedTensor> copies = before.tensors;
    for (NamedTensor& copy : copies) {
      copy.tensor = copy.tensor.clone();
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      std::vector<NamedTensor> wrong = tensors;
      wrong[i].tensor = wrong[i].tensor.unsqueeze(0);
      EXPECT_THROW(load_network(*twin, wrong), std::invalid_argument) << tensors[i].name;
      wrong[i].name += "?";
      EXPECT_THROW(load_network(*twin, wrong), std::invalid_argument) << tensors[i].name;
      expect_same_tensors(copies, before.tensors, 0);
    }
    std::vector<NamedTensor> more = {{"other", at::ones({2})}};
    more.insert(more.end(), tensors.rbegin(), tensors.rend());  // in any order
    load_network(*twin, more);
    expect_same_tensors(tensors, before.tensors, 0);
  }
}

// ---- The predictor ----

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
}

}  // namespace
}  // namespace twingrad
