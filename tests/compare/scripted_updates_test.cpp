// How TwinComparer compares the steps of two optimizers, with twins whose results are scripted.
#include <gtest/gtest.h>

#include <cmath>

#include "theater.h"

namespace twingrad::scripted_twins_test {

// ---- Updates ----------------------------------------------------------------------------------------------

/// Two twins that subtract their gradients, with a reference in float32.
struct Workshop : Theater {
  explicit Workshop(at::ScalarType dtype) : Theater(4, dtype) {
    all = {&autograd, &manual};
    if (dtype == at::kFloat) {
      all.push_back(with_reference(*this));
    }
    for (PuppetTwin* twin : all) {
      twin->state = {{"0.weight.exp_avg", row_of({1, 1, 1}, twin->weights[0].tensor.scalar_type())}};
      twin->on_update = [twin] {
        twin->weights[0].tensor -= twin->gradient[0].tensor;
        twin->weights[1].tensor -= twin->gradient[1].tensor;
        for (const NamedTensor& state : twin->state) {
          state.tensor.add_(twin->gradient[0].tensor);
        }
      };
    }
  }
  Comparison update() { return judge().compare_with_update(batch); }
  std::vector<PuppetTwin*> all;
};

TEST(ScriptedUpdates, UseTheGradientStateAndWeightsOfTheManualTwin) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    Workshop shop(dtype);
    shop.manual.gradient[0].tensor[0] += 8 * (dtype == at::kDouble ? kDoubleEpsilon : std::exp2(-23));
    shop.manual.state[0].tensor.fill_(2);
    shop.manual.weights[1].tensor.fill_(16);
    const Comparison comparison = shop.update();
    std::vector<std::string> names;
    for (const TensorComparison& tensor : comparison.tensors) {
      names.push_back(tensor.name);
      EXPECT_EQ(tensor.part == TensorComparison::Part::optimizer, names.size() > 4) << tensor.name;
    }
    EXPECT_EQ(names, (std::vector<std::string>{"loss", "logits", "0.weight.grad", "0.bias.grad",
                                               "0.weight.exp_avg", "0.weight", "0.bias"}));
    const double epsilon = dtype == at::kDouble ? kDoubleEpsilon : std::exp2(-23);
    const std::vector<TensorComparison>& rows = comparison.tensors;
    for (std::size_t i = 4; i < 7; ++i) {
      EXPECT_EQ(rows[i].verdict, Verdict::identical) << rows[i].name;
    }
    EXPECT_EQ(rows[5].bound, 32 * epsilon * (7 + 8 * epsilon)) << "max |w| after";
    EXPECT_EQ(rows[6].bound, 32 * epsilon * 16) << "max |w| before";
    for (const PuppetTwin* twin : shop.all) {
      EXPECT_EQ(count_of(*twin, "update"), 1) << twin->name();
      EXPECT_EQ(twin->weights[1].tensor.item<double>(), 15.75) << "all have the updated parameters";
      EXPECT_EQ(count_of(*twin, "load state"), twin == &shop.manual ? 0 : 1);
    }
  }
}

TEST(ScriptedUpdates, AreJudgedPartByPart) {
  Workshop shop(at::kDouble);
  shop.manual.on_update = [&] { shop.manual.state[0].tensor += 0.5; };
  shop.manual.gradient[1].tensor.neg_();
  const Comparison comparison = shop.update();
  EXPECT_EQ(comparison.at_fault, "layer 0") << "the gradient comes first";
  ASSERT_EQ(comparison.tensors.size(), 7U);
  EXPECT_EQ(comparison.tensors[3].verdict, Verdict::differs);
  for (std::size_t i = 4; i < 7; ++i) {
    EXPECT_EQ(comparison.tensors[i].verdict, Verdict::differs) << "an update does not follow";
  }
  Workshop stateless(at::kDouble);
  stateless.manual.state.clear();
  EXPECT_EQ(stateless.update().tensors.size(), 6U) << "the manual twin shows no state";
  EXPECT_TRUE(stateless.update().passed());
  Workshop without(at::kDouble);
  without.autograd.state.clear();
  const Comparison missing = without.update();
  EXPECT_EQ(missing.at_fault, "optimizer");
  EXPECT_EQ(missing.tensors[4].cause, "missing in the autograd twin");
}

TEST(ScriptedUpdates, NeedNotHaveAllGradients) {
  Workshop missing(at::kDouble);
  missing.manual.gradient[1].tensor = Tensor();
  missing.manual.on_update = missing.autograd.on_update = [] {};
  Comparison comparison = missing.update();
  EXPECT_EQ(comparison.tensors.size(), 7U);
  EXPECT_EQ(comparison.tensors[3].cause, "missing in the manual twin");
  Workshop undefined(at::kDouble);
  undefined.autograd.gradient[1].tensor = Tensor();
  undefined.manual.on_update = undefined.autograd.on_update = [] {};
  comparison = undefined.update();
  EXPECT_EQ(comparison.tensors.size(), 7U);
  EXPECT_EQ(comparison.tensors[3].cause, "missing in the autograd twin");
}

TEST(ScriptedUpdates, OfTheAutogradTwinAreJudgedToo) {
  for (const bool is_state : {false, true}) {
    Workshop shop(at::kFloat);
    shop.autograd.on_update = [&] {
      shop.autograd.weights[0].tensor -= shop.autograd.gradient[0].tensor;
      shop.autograd.weights[1].tensor -= shop.autograd.gradient[1].tensor * (is_state ? 1 : 2);
      shop.autograd.state[0].tensor += shop.autograd.gradient[0].tensor * (is_state ? 2 : 1);
    };
    const Comparison comparison = shop.update();
    ASSERT_EQ(comparison.tensors.size(), 7U);
    for (std::size_t i = 4; i < 7; ++i) {
      const bool is_wrong = i == (is_state ? 4U : 6U);
      EXPECT_EQ(comparison.tensors[i].cause,
                is_wrong ? "the autograd twin is far from its float64 reference" : "")
          << comparison.tensors[i].name;
    }
  }
}

TEST(ScriptedUpdates, NameTheOptimizer) {
  Workshop shop(at::kDouble);
  shop.autograd.descriptions = {{"optimizer", "adam"}};
  shop.manual.on_update = [] {};
  EXPECT_EQ(shop.update().at_fault, "optimizer, adam");
}

TEST(ScriptedUpdates, AreNotMadeIfThereIsNothingToCompare) {
  Workshop shop(at::kDouble);
  shop.manual.loss_of = shop.autograd.loss_of = [](const Tensor&, const Tensor&) { return NAN; };
  EXPECT_TRUE(shop.update().is_empty());
  EXPECT_EQ(count_of(shop.manual, "update") + count_of(shop.autograd, "update"), 0);
}

}  // namespace twingrad::scripted_twins_test
