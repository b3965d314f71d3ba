#include "twingrad/mlp/weight_names.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "../support/refusal.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/weights.h"

namespace twingrad::weight_names_test {

using namespace ::testing;
using twingrad::testing::refusal_of;

struct NamedShape {
  std::string name;
  std::vector<std::int64_t> shape;
};

TensorFile file_of(const std::vector<NamedShape>& tensors) {
  TensorFile file;
  for (const auto& [name, shape] : tensors) file.tensors.push_back({name, at::rand(shape, at::kDouble)});
  return file;
}

/// A file with linear layers of these names and widths, "fc1" [out, in] and so on.
TensorFile linear_layers(const std::vector<std::string>& names, const std::vector<std::int64_t>& widths) {
  std::vector<NamedShape> tensors;
  for (std::size_t i = 0; i < names.size(); ++i) {
    tensors.push_back({names[i] + ".weight", {widths[i + 1], widths[i]}});
    tensors.push_back({names[i] + ".bias", {widths[i + 1]}});
  }
  return file_of(tensors);
}

std::vector<std::string> names_in(const TensorFile& file) {
  std::vector<std::string> names;
  for (const NamedTensor& named : file.tensors) names.push_back(named.name);
  return names;
}

/// The new names. Expects each tensor to be one of the old ones.
std::vector<std::string> normalized(TensorFile file, std::vector<std::string>* notes = nullptr) {
  const TensorFile before = file;
  const std::vector<std::string> lines = normalize_names(file, "w");
  if (notes != nullptr) *notes = lines;
  for (const NamedTensor& named : file.tensors) {
    EXPECT_TRUE(std::any_of(before.tensors.begin(), before.tensors.end(), [&](const NamedTensor& old) {
      return old.tensor.is_same(named.tensor);
    })) << named.name;
  }
  return names_in(file);
}

std::string refusal(TensorFile file) {
  return refusal_of([&] { normalize_names(file, "w"); });
}

TEST(NaturalLess, ComparesNumbersByTheirValue) {
  std::vector<std::string> names = {"10.weight",
                                    "2.weight",
                                    "0.bias",
                                    "fc10",
                                    "fc9",
                                    "fc",
                                    "2.10.a",
                                    "2.9.a",
                                    "2",
                                    "",
                                    "1",
                                    "01",
                                    "18446744073709551617",
                                    "18446744073709551616"};
  std::sort(names.begin(), names.end(), natural_less);
  EXPECT_THAT(names, ElementsAre("", "0.bias", "01", "1", "2", "2.9.a", "2.10.a", "2.weight", "10.weight",
                                 "18446744073709551616", "18446744073709551617", "fc", "fc9", "fc10"));
  for (const std::string& name : names) EXPECT_FALSE(natural_less(name, name));
}

TEST(NormalizeNames, SortsTensorsLayerByLayer) {
  std::vector<std::string> notes;
  EXPECT_THAT(normalized(file_of({{"10.bias", {3}},
                                  {"10.weight", {3, 2}},
                                  {"2.weight", {2, 4}},
                                  {"2.bias", {2}},
                                  {"3.num_batches_tracked", {}},
                                  {"3.running_var", {5}},
                                  {"3.running_mean", {5}}}),
                         &notes),
              ElementsAre("2.weight", "2.bias", "3.running_mean", "3.running_var", "3.num_batches_tracked",
                          "10.weight", "10.bias"));
  EXPECT_THAT(notes, IsEmpty());
}

// ---- Prefixes ----

TEST(NormalizeNames, StripsPrefixes) {
  for (const std::string prefix : {"module.", "_orig_mod.", "model.", "module._orig_mod.",
                                   "_orig_mod.module.model.", "net.", "linear_relu_stack.", "0.", "a.b.c."}) {
    std::vector<std::string> notes;
    EXPECT_THAT(normalized(linear_layers({prefix + "0", prefix + "2"}, {9, 6, 3}), &notes),
                ElementsAre("0.weight", "0.bias", "2.weight", "2.bias"));
    EXPECT_THAT(notes, ElementsAre("w: stripped the prefix \"" + prefix + "\" from the names of 4 tensors"));
  }
}

TEST(NormalizeNames, RemovesTheWrapperOfSingleCompiledLayers) {
  std::vector<std::string> notes;
  EXPECT_THAT(normalized(linear_layers({"0._orig_mod", "2._orig_mod"}, {9, 6, 3}), &notes),
              ElementsAre("0.weight", "0.bias", "2.weight", "2.bias"));
  EXPECT_THAT(notes, ElementsAre("w: removed \"_orig_mod.\" from the names"));
}

TEST(NormalizeNames, KeepsNamesOfResidualBlocks) {
  const TensorFile file = linear_layers({"0", "2.0", "3"}, {9, 6, 6, 3});
  EXPECT_EQ(normalized(file), names_in(file));
  EXPECT_THAT(normalized({}), IsEmpty());
}

// ---- Layers with other names ----

TEST(NormalizeNames, NumbersLayersWhoseShapesFitInOneOrder) {
  std::vector<std::string> notes;
  EXPECT_THAT(normalized(linear_layers({"fc1", "fc2", "out"}, {9, 6, 5, 3}), &notes),
              ElementsAre("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"));
  EXPECT_THAT(
      notes, ElementsAre("w: numbered the layers by their shapes: \"fc1\" as 0, \"fc2\" as 2, \"out\" as 4"));
  // The order of the names does not matter, and one square layer has one place.
  TensorFile file = linear_layers({"out", "b", "a"}, {9, 6, 6, 3});
  const at::Tensor square = file.tensors[2].tensor;
  std::reverse(file.tensors.begin(), file.tensors.end());
  normalize_names(file, "w");
  EXPECT_THAT(names_in(file), ElementsAre("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"));
  EXPECT_TRUE(file.tensors[2].tensor.is_same(square));
}

TEST(NormalizeNames, NumbersEveryKindOfName) {
  for (const std::vector<std::string>& names :
       std::vector<std::vector<std::string>>{{"features.0", "classifier"},
                                             {"module.fc1", "module.fc2"},
                                             {"l1._orig_mod", "l2._orig_mod"},
                                             {"10x", "9x"}}) {
    EXPECT_THAT(normalized(linear_layers(names, {9, 6, 3})),
                ElementsAre("0.weight", "0.bias", "2.weight", "2.bias"));
  }
  EXPECT_THAT(normalized(linear_layers({"fc"}, {9, 3})), ElementsAre("0.weight", "0.bias"));
  EXPECT_THAT(normalized(file_of({{"weight", {3, 9}}, {"bias", {3}}})), ElementsAre("0.weight", "0.bias"));
}

TEST(NormalizeNames, RefusesLayersWhoseOrderIsAmbiguousAndShowsHowToRenameThem) {
  EXPECT_EQ(
      refusal(linear_layers({"fc1", "fc2", "fc10", "fc11"}, {9, 6, 6, 6, 3})),
      "w: expected layers whose shapes fit in one order, found layers that fit in several orders: \"fc1\" "
      "[6, 9], \"fc2\" [6, 6], \"fc10\" [6, 6], \"fc11\" [3, 6]; rename them in their order as "
      "torch.nn.Sequential does, for example \"fc1\" to \"0\", \"fc2\" to \"2\", \"fc10\" to \"4\", \"fc11\" "
      "to "
      "\"6\"");
  EXPECT_THAT(refusal(linear_layers({"a", "b"}, {9, 3, 9})), HasSubstr("in several orders"));
  EXPECT_THAT(refusal(file_of({{"fc1.weight", {6, 9}}, {"fc2.weight", {3, 5}}})),
              HasSubstr("found layers that fit in no order: \"fc1\" [6, 9], \"fc2\" [3, 5]; rename"));
  // Two branches of one network.
  EXPECT_THAT(refusal(file_of({{"a.weight", {6, 9}}, {"b.weight", {3, 9}}})), HasSubstr("in no order"));
}

TEST(NormalizeNames, ComparesManyLayersWithLimitedEffort) {
  std::vector<NamedShape> tensors = {{"end.weight", {3, 7}}};
  for (int i = 0; i < 40; ++i) tensors.push_back({"fc" + std::to_string(i) + ".weight", {6, 6}});
  EXPECT_THAT(refusal(file_of(tensors)), HasSubstr("in no order"));  // 40! orders of the others
  std::vector<std::string> names;
  std::vector<std::int64_t> widths = {9};
  for (int i = 0; i < 150; ++i) {
    names.push_back("fc" + std::to_string(i));
    widths.push_back(10 + i);
  }
  EXPECT_THAT(normalized(linear_layers(names, widths)), SizeIs(300));
}

TEST(NormalizeNames, NumbersNormalizationsThatFitInOnePlace) {
  TensorFile file = linear_layers({"fc1", "fc2", "fc3"}, {9, 6, 5, 3});
  const TensorFile norms =
      file_of({{"ln1.weight", {5}}, {"ln1.bias", {5}}, {"ln2.weight", {6}}, {"ln2.bias", {6}}});
  file.tensors.insert(file.tensors.begin(), norms.tensors.begin(), norms.tensors.end());
  EXPECT_THAT(normalized(file), ElementsAre("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias",
                                            "4.weight", "4.bias", "6.weight", "6.bias"));
  normalize_names(file, "w");
  EXPECT_EQ(network_of(file, "w").normalization, Normalization::layer);

  TensorFile same = linear_layers({"fc1", "fc2", "fc3"}, {9, 6, 6, 3});
  same.tensors.insert(same.tensors.end(), norms.tensors.begin() + 2, norms.tensors.end());
  EXPECT_THAT(refusal(same),
              AllOf(HasSubstr("found no single place for the normalization \"ln2\" of width 6: "),
                    HasSubstr("\"fc1\" to \"0\", \"fc2\" to \"3\""),
                    HasSubstr("; a normalization gets the number after its layer")));
}

TEST(NormalizeNames, RefusesOtherLayers) {
  for (const NamedShape& other : std::vector<NamedShape>{{"act.weight", {1}},
                                                         {"act.weight", {6}},
                                                         {"conv.weight", {6, 1, 3, 3}},
                                                         {"scale", {}},
                                                         {"fc1.extra", {6}}}) {
    TensorFile file = linear_layers({"fc1", "fc2"}, {9, 6, 3});
    file.tensors.push_back(file_of({other}).tensors.front());
    EXPECT_THAT(refusal(file),
                AllOf(HasSubstr("w: expected linear layers and batch or layer normalizations, found "),
                      HasSubstr("\"" + other.name + "\" [")));
  }
}

// ---- A bias before a batch normalization ----

/// 9-6-3 with batch normalization, as Python saves it by default.
TensorFile with_bias_before_normalization(at::ScalarType dtype = at::kDouble) {
  TensorFile file = file_of({{"0.weight", {6, 9}},
                             {"0.bias", {6}},
                             {"1.weight", {6}},
                             {"1.bias", {6}},
                             {"1.running_mean", {6}},
                             {"1.running_var", {6}},
                             {"3.weight", {3, 6}},
                             {"3.bias", {3}}});
  for (NamedTensor& named : file.tensors) named.tensor = named.tensor.to(dtype);
  file.tensors.push_back({"1.num_batches_tracked", at::scalar_tensor(7, at::kLong)});
  return file;
}

TEST(NormalizeNames, FoldsABiasIntoTheRunningMeanWithTheSameLogits) {
  TensorFile file = with_bias_before_normalization();
  const auto tensor = [&](const std::string& name) {
    return std::find_if(file.tensors.begin(), file.tensors.end(),
                        [&](const NamedTensor& named) { return named.name == name; })
        ->tensor;
  };
  const at::Tensor x = at::rand({20, 9}, at::kDouble);
  // As torch.nn.Sequential(Linear, BatchNorm1d, ReLU, Linear) computes it.
  const at::Tensor linear = at::addmm(tensor("0.bias"), x, tensor("0.weight").t());
  const at::Tensor normalized =
      (linear - tensor("1.running_mean")) / (tensor("1.running_var") + 1e-5).sqrt() * tensor("1.weight") +
      tensor("1.bias");
  const at::Tensor expected = at::addmm(tensor("3.bias"), normalized.relu(), tensor("3.weight").t());

  EXPECT_THAT(normalize_names(file, "w"),
              ElementsAre("w: subtracted 0.bias from 1.running_mean, which has the same effect"));
  const MlpSpec spec = network_of(file, "w");
  EXPECT_EQ(spec.normalization, Normalization::batch);
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  load_weights(twin, file, "w");
  twin.eval();
  EXPECT_LT((twin.predict(x) - expected).abs().max().item<double>(), 1e-12) << "rounding";
}

TEST(NormalizeNames, FoldsInTheDtypeOfTheRunningMean) {
  for (const auto& [dtype, folded] :
       {std::pair(at::kDouble, at::kDouble), {at::kFloat, at::kFloat}, {at::kHalf, at::kFloat}}) {
    TensorFile file = with_bias_before_normalization(dtype);
    const at::Tensor expected =
        file.tensors[4].tensor.to(at::kDouble) - file.tensors[1].tensor.to(at::kDouble);
    const at::Tensor before = file.tensors[4].tensor.clone();
    const at::Tensor mean = file.tensors[4].tensor;
    normalize_names(file, "w");
    EXPECT_EQ(file.tensors[3].name, "1.running_mean");
    EXPECT_EQ(file.tensors[3].tensor.scalar_type(), folded);
    EXPECT_TRUE(at::equal(file.tensors[3].tensor, expected.to(folded)));
    EXPECT_TRUE(at::equal(mean, before)) << "the tensor that was given is unchanged";
  }
}

TEST(NormalizeNames, FoldsInsideOtherNamesToo) {
  TensorFile file = with_bias_before_normalization();
  for (NamedTensor& named : file.tensors) {
    const std::string layer = named.name.starts_with("0")   ? "fc1"
                              : named.name.starts_with("1") ? "bn"
                                                            : "fc2";
    named.name = "module." + layer + named.name.substr(1);
  }
  EXPECT_THAT(normalize_names(file, "w"), SizeIs(3)) << "a prefix, names and a bias";
  EXPECT_THAT(names_in(file), ElementsAre("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                          "1.num_batches_tracked", "3.weight", "3.bias"));
}

}  // namespace twingrad::weight_names_test
