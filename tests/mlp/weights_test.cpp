#include "twingrad/mlp/weights.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
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
using testing::expect_same_tensors;
using testing::fields_of;
using testing::for_random_cases;
using ::testing::HasSubstr;
using testing::RandomCase;
using testing::refusal_of;
using ::testing::StartsWith;
using testing::trained_twin;
using testing::trained_weights;
using testing::without_metadata;

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
  const auto refused_with = [&](const std::string& from, const std::string& to,
                                const std::string& found = "") {
    TensorFile changed = file;
    std::string& text = changed.metadata[key];
    const std::size_t place = text.find(from);
    ASSERT_NE(place, std::string::npos) << from << " in " << text;
    text.replace(place, from.size(), to);
    EXPECT_THAT(refusal_of([&] { network_of(changed, "w"); }),
                ::testing::AllOf(StartsWith("w: expected "), HasSubstr(found)))
        << text;
  };
  refused_with("\"inputs\":9", "\"inputs\":0", "found impossible widths");
  refused_with("\"inputs\":9", "\"inputs\":10");
  refused_with("\"inputs\":9", "\"inputs\":4611686018427387904", "found impossible widths");
  refused_with("\"inputs\":9", "\"inputs\":\"9\"");
  refused_with("\"classes\":3", "\"classes\":-3", "found impossible widths");
  refused_with("\"classes\":3", "\"classes\":2147483648", "found impossible widths");
  refused_with("\"classes\":3", "\"classes\":2147483647", "instead of [2147483647");  // still possible
  refused_with("\"hidden\":[6]", "\"hidden\":[]");
  refused_with("cross_entropy", "cross");
  refused_with("{", "");
  TensorFile old = file;
  std::string& text = old.metadata[key];
  text.erase(text.find("\"input_dropout\":0.0,"), std::string("\"input_dropout\":0.0,").size());
  EXPECT_EQ(network_of(old, "w").input_dropout, 0) << "missing in files of earlier versions";
  EXPECT_THAT(refusal_of([] { network_of({}, "w"); }), HasSubstr("found no tensors"));
}

TensorFile state_dict(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& shapes) {
  TensorFile file;
  for (const auto& [name, shape] : shapes) {
    file.tensors.push_back({name, at::rand(shape, at::kDouble)});
  }
  return file;
}

TEST(Weights, OfOtherNetworksAreDescribed) {
  const auto refusal = [](const TensorFile& file) { return refusal_of([&] { network_of(file, "w"); }); };
  EXPECT_THAT(refusal(state_dict({{"0.weight", {6, 9}}, {"2.weight", {3, 6}}, {"2.bias", {3}}})),
              HasSubstr("found no \"0.bias\" [6]; "));
  EXPECT_THAT(refusal(state_dict({{"0.weight", {6, 9}},
                                  {"0.bias", {6}},
                                  {"1.weight", {1}},  // a PReLU
                                  {"2.weight", {3, 6}},
                                  {"2.bias", {3}}})),
              HasSubstr("found the unknown \"1.weight\" [1]; "));
  EXPECT_THAT(
      refusal(state_dict({{"0.weight", {6, 9}}, {"0.bias", {6}}, {"2.weight", {3, 5}}, {"2.bias", {3}}})),
      HasSubstr("found \"2.weight\" [3, 5] behind \"0.weight\" [6, 9], which has 6 outputs; "));
  EXPECT_THAT(refusal(state_dict({{"0.weight_g", {6, 1}},  // a weight normalization
                                  {"0.weight_v", {6, 9}},
                                  {"0.bias", {6}},
                                  {"2.weight", {3, 6}},
                                  {"2.bias", {3}}})),
              HasSubstr("the unknown \"0.weight_g\" [6, 1], the unknown \"0.weight_v\" [6, 9]"));
  EXPECT_THAT(refusal(state_dict(
                  {{"0.weight", {8, 1, 3, 3}}, {"0.bias", {8}}, {"3.weight", {3, 72}}, {"3.bias", {3}}})),
              HasSubstr("found \"0.weight\" [8, 1, 3, 3], which belongs to no linear layer"));
  EXPECT_THAT(
      refusal(state_dict({{"0.weight", {6, 9}}, {"0.bias", {6}}, {"1.weight", {3, 6}}, {"1.bias", {3}}})),
      HasSubstr("number the layers as torch.nn.Sequential does, activations included"));
  EXPECT_THAT(refusal(state_dict({{"scale", {}}, {"shift", {2}}})),
              HasSubstr("found \"scale\" [], \"shift\" [2]; "));
  EXPECT_THAT(refusal(state_dict(
                  {{"0.weight", {0, std::int64_t{1} << 62}}, {"2.weight", {std::int64_t{1} << 62, 0}}})),
              StartsWith("w: expected "))
      << "the product of the widths overflows";
}

TEST(Weights, InAnyOrderAreTheSameNetwork) {
  // Sorted by name as the safetensors library does: 0, 10, 12, 2, …
  for (const Normalization normalization :
       {Normalization::none, Normalization::batch, Normalization::layer}) {
    MlpSpec spec = {.inputs = 9, .hidden = {8, 7, 6, 5, 4, 8}, .classes = 3, .normalization = normalization};
    spec.dropout = normalization == Normalization::batch ? 0.5 : 0;
    TensorFile file = without_metadata(trained_weights(spec));
    const auto by_name = [](const NamedTensor& a, const NamedTensor& b) { return a.name < b.name; };
    for (int order = 0; order < 2; ++order) {
      std::sort(file.tensors.begin(), file.tensors.end(), by_name);
      if (order == 1) {
        std::reverse(file.tensors.begin(), file.tensors.end());
      }
      EXPECT_EQ(fields_of(network_of(file, "w")), fields_of(spec));
      AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 4), at::kDouble);
      load_weights(twin, file, "w");
      expect_same_tensors(file.tensors, weights_of(twin, spec).tensors, 0);
    }
  }
}

// ---- Loading into a twin ----

TEST(LoadWeights, RefusesTensorsThatTheNetworkDoesNotHave) {
  const MlpSpec spec = {.inputs = 9, .hidden = {6}, .classes = 3};
  ManualTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  const auto refusal = [&](const TensorFile& file) {
    return refusal_of([&] { load_weights(twin, file, "w"); });
  };
  const MlpSpec deeper = {.inputs = 9, .hidden = {6, 3}, .classes = 3};
  EXPECT_THAT(refusal(trained_weights(deeper)),
              HasSubstr("w: expected the tensors of the network, found the unknown \"4.bias\" [3], the "
                        "unknown \"4.weight\" [3, 3]; "));
  TensorFile file = trained_weights(spec);
  file.tensors.push_back({"1.weight", at::ones({1})});
  EXPECT_THAT(refusal(file), HasSubstr("found the unknown \"1.weight\" [1]; "));
  file.tensors.back() = {"extra\n", at::ones({1})};
  EXPECT_THAT(refusal(file), HasSubstr("the unknown \"extra\\x0a\" [1]"));
  for (int i = 0; i < 10; ++i) {
    file.tensors.push_back({std::to_string(i + 5) + ".weight", at::ones({1})});
  }
  EXPECT_THAT(refusal(file), HasSubstr("the unknown \"8.weight\" [1] and 7 more; "));
  file = trained_weights(spec);
  file.tensors[0].tensor = at::ones({6, 8});
  EXPECT_THAT(refusal(file), HasSubstr("found \"0.weight\" [6, 8] instead of [6, 9]; "));
}

TEST(LoadWeights, AcceptsOtherDropoutLayers) {
  const std::vector<std::pair<double, double>> dropouts = {{0, 0}, {0, 0.5}, {0.1, 0}, {0.1, 0.5}};
  for (const Normalization normalization :
       {Normalization::none, Normalization::layer, Normalization::batch}) {
    MlpSpec from{.inputs = 9, .hidden = {6, 5}, .classes = 3, .normalization = normalization};
    MlpSpec to = from;
    for (const auto& [from_input, from_hidden] : dropouts) {
      from.input_dropout = from_input;
      from.dropout = from_hidden;
      const TensorFile file = trained_weights(from);
      for (const auto& [to_input, to_hidden] : dropouts) {
        SCOPED_TRACE(fmt::format("from {}, {} to {}, {}", from_input, from_hidden, to_input, to_hidden));
        to.input_dropout = to_input;
        to.dropout = to_hidden;
        AutogradTwin twin(to, {}, draw_initial_parameters(to, 4), at::kDouble);
        load_weights(twin, file, "w");
        const std::vector<NamedTensor> loaded = twin.parameters();
        for (std::size_t i = 0; i < loaded.size(); ++i) {
          EXPECT_TRUE(at::equal(loaded[i].tensor, file.tensors[i].tensor)) << loaded[i].name;
        }
      }
    }
  }
}

TEST(LoadWeights, RefusesEntriesOutsideTheRangeOfTheDtype) {
  const MlpSpec spec = {.inputs = 9, .hidden = {6}, .classes = 3};
  TensorFile file = trained_weights(spec);
  file.tensors[2].tensor.fill_(1e200);
  AutogradTwin wide(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  EXPECT_NO_THROW(load_weights(wide, file, "w"));
  AutogradTwin narrow(spec, {}, draw_initial_parameters(spec, 1), at::kFloat);
  EXPECT_THAT(
      refusal_of([&] { load_weights(narrow, file, "w"); }),
      HasSubstr("w: tensor \"2.weight\": expected numbers in the range of Float, found 18 of 18 entries "
                "outside; use --dtype float64"));
}

TEST(Weights, ThatAreNotFiniteAreRefused) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const double value : {inf, -inf, std::nan("")}) {
      TensorFile file{{{"0.weight", at::ones({6, 9}, dtype)}, {"0.bias", at::ones({6}, dtype)}}, {}};
      EXPECT_NO_THROW(require_finite(file, "w"));
      file.tensors[0].tensor[2][3] = value;
      EXPECT_THAT(
          refusal_of([&] { require_finite(file, "w"); }),
          HasSubstr("w: expected finite weights, found entries that are not: 1 of 54 in \"0.weight\"; "));
      file.tensors[1].tensor.fill_(value);
      EXPECT_THAT(refusal_of([&] { require_finite(file, "w"); }),
                  HasSubstr("1 of 54 in \"0.weight\", 6 of 6 in \"0.bias\"; "));
    }
  }
  EXPECT_NO_THROW(
      require_finite({{{"n", at::scalar_tensor(3, at::kLong)}, {"b", at::ones({2}, at::kBool)}}, {}}, "w"));
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

}  // namespace
}  // namespace twingrad
