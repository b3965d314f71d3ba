// The numbers and texts of a comparison: of two tensors, and of all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "twingrad/compare/compare_tensors.h"
#include "twingrad/compare/comparison.h"
#include "twingrad/compare/difference.h"
#include "twingrad/compare/layer_names.h"

namespace twingrad::comparison_values_test {

using at::Tensor;
using Part = TensorComparison::Part;

constexpr double kInf = std::numeric_limits<double>::infinity();

Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

// ---- Two tensors ------------------------------------------------------------------------------------------

TEST(RelativeTo, IsAQuotientUnlessThereIsNone) {
  EXPECT_EQ(relative_to(2, 0.5), 4);
  EXPECT_EQ(relative_to(1, 4), 0.25);
  EXPECT_EQ(relative_to(0, 0), 0);
  EXPECT_EQ(relative_to(0, 3), 0);
  EXPECT_EQ(relative_to(1, kInf), 0);
  for (const auto& [absolute, scale] : std::vector<std::pair<double, double>>{
           {1, 0}, {1, -1}, {kInf, 1}, {kInf, 0}, {NAN, 1}, {0, NAN}, {1, NAN}}) {
    EXPECT_EQ(relative_to(absolute, scale), kInf) << absolute << " / " << scale;
  }
}

TEST(DifferenceOfTensors, IsRelativeToTheExpectedOne) {
  const Difference found = difference(doubles({1, -8}), doubles({3, -7}));
  EXPECT_EQ(found.absolute, 2);
  EXPECT_EQ(found.relative, 0.25) << "to 8, not to 7";
  EXPECT_EQ(difference(at::ones({2}), doubles({1, 1 + 1e-12})).absolute, 1 + 1e-12 - 1) << "in float64";
  const Difference empty = difference(at::empty({0, 2}), at::empty({0, 2}));
  EXPECT_EQ(empty.absolute, 0);
  EXPECT_EQ(empty.relative, 0);
  EXPECT_EQ(difference(doubles({0.25}), doubles({0.5})).relative, 1);
  EXPECT_EQ(difference(at::Tensor(), at::Tensor()).absolute, kInf);
  EXPECT_EQ(Difference().absolute, 0);
  EXPECT_EQ(Difference().relative, 0);
}

/// The comparison of a manual and an autograd tensor with a reference. noise: 2⁻⁴⁰.
TensorComparison compared(const Tensor& manual, const Tensor& autograd, const Tensor& reference) {
  return compare_tensors("z", manual, autograd, reference, std::exp2(-40), std::exp2(-52), 7);
}

TEST(CompareTwoTensors, TheBoundIsTheLastErrorThatPasses) {
  const Tensor right = doubles({1, -2, 0, 0.5}), one = doubles({0, 1, 0, 0});
  const double largest = 32 * std::exp2(-40), unit = std::exp2(-50);
  struct Case {
    double autograd, manual, bound;
    bool passes;
  };
  for (const Case& of : std::vector<Case>{{0, largest, largest, true},
                                          {0, largest + unit, largest, false},
                                          {largest / 2, 3 * largest, 3 * largest, true},
                                          {largest / 2, 3 * largest + unit, 3 * largest, false},
                                          {largest, 5 * largest, 5 * largest, true},
                                          {largest * 4, 5 * largest, 5 * largest, true},
                                          {largest * 4, 5 * largest + unit, 5 * largest, false},
                                          {largest * 5, 0, 5 * largest, true},
                                          {largest * 5 + unit, 0, 5 * largest, false}}) {
    const TensorComparison row = compared(right + one * of.manual, right - one * of.autograd, right);
    EXPECT_EQ(row.bound, of.bound) << of.autograd;
    EXPECT_EQ(row.manual_error, of.manual);
    EXPECT_EQ(row.autograd_error, of.autograd);
    EXPECT_EQ(row.verdict, of.passes ? Verdict::same_to_rounding : Verdict::differs) << of.manual;
  }
  EXPECT_EQ(largest_rounding_error(std::exp2(-40)), 5 * largest);
}

TEST(CompareTwoTensors, NoiseThatExceedsTheTensorHasAWiderBound) {
  const double size = 32 * std::exp2(-40);
  EXPECT_EQ(compared(doubles({size}), doubles({size}), doubles({size})).bound, size);
  const double smaller = size * (1 - std::exp2(-30));
  EXPECT_EQ(compared(doubles({smaller}), doubles({smaller}), doubles({smaller})).bound, 32 * size);
}

TEST(CompareTwoTensors, CountsUnitsInTheLastPlaceOfTheLargestEntry) {
  const auto units = [](double largest, double difference) {
    const Tensor autograd = doubles({1e-9, largest});
    return compared(autograd + doubles({difference, 0}), autograd, autograd).max_ulp;
  };
  EXPECT_NEAR(units(1, std::exp2(-50)), 4, 1e-3);
  EXPECT_NEAR(units(1.99, std::exp2(-50)), 4, 1e-3);
  EXPECT_NEAR(units(2, std::exp2(-50)), 2, 1e-3);
  EXPECT_NEAR(units(-2, std::exp2(-50)), 2, 1e-3);
  const Tensor zero = doubles({0, 0});
  EXPECT_EQ(compared(zero, zero, zero).max_ulp, 0);
  EXPECT_EQ(compared(doubles({0, 1e-300}), zero, zero).max_ulp, kInf);
  EXPECT_EQ(compared(doubles({0, 1e-300}), zero, zero).max_rel, kInf);
}

TEST(CompareTwoTensors, ToldApartByTheirBits) {
  const Tensor right = doubles({1, 2, 3});
  EXPECT_EQ(compared(right, right, right).verdict, Verdict::identical);
  EXPECT_EQ(compared(right, right, right + 1e-13).verdict, Verdict::identical) << "both have the same error";
  const TensorComparison almost = compared(right + doubles({0, 0, 1e-15}), right, right);
  EXPECT_EQ(almost.identical, 2);
  EXPECT_EQ(almost.verdict, Verdict::same_to_rounding);
  const TensorComparison empty = compared(doubles({}), doubles({}), doubles({}));
  EXPECT_EQ(empty.verdict, Verdict::identical);
  EXPECT_EQ(empty.largest, 0);
  EXPECT_EQ(empty.entries, 0);
}

TEST(CompareTwoTensors, WithoutACounterpartHaveInfiniteErrors) {
  const Tensor two = at::ones({2}), three = at::ones({3}), none;
  struct Case {
    Tensor manual, autograd, reference;
    std::string cause;
    std::vector<std::int64_t> shape;
  };
  for (const Case& of : std::vector<Case>{{none, two, two, "missing in the manual twin", {}},
                                          {none, none, two, "missing in the manual twin", {}},
                                          {two, none, two, "missing in the autograd twin", {}},
                                          {two, two, none, "missing in the autograd twin", {}},
                                          {three, two, two, "the shapes differ", {3}},
                                          {two, three, two, "the shapes differ", {2}},
                                          {three, three, two, "the shapes differ", {3}}}) {
    const TensorComparison row = compared(of.manual, of.autograd, of.reference);
    for (const double value : {row.manual_error, row.autograd_error, row.max_abs, row.max_rel, row.max_ulp}) {
      EXPECT_EQ(value, kInf) << of.cause;
    }
    EXPECT_EQ(row.verdict, Verdict::differs);
    EXPECT_EQ(row.cause, of.cause);
    EXPECT_EQ(row.shape, of.shape);
    EXPECT_EQ(row.name, "z");
    EXPECT_EQ(row.bound, 0);
    EXPECT_EQ(row.largest, 0);
    EXPECT_EQ(row.entries, 0);
    EXPECT_EQ(row.identical, 0);
  }
}

TEST(CompareTwoTensors, OnesThatAreNotFiniteDiffer) {
  const double noise = std::exp2(-40);
  for (const double bad : {kInf, -kInf, static_cast<double>(NAN)}) {
    const Tensor right = doubles({1, 2}), wrong = doubles({1, bad});
    struct Case {
      Tensor manual, autograd, reference;
      std::string cause;
    };
    const std::string of_autograd = "not finite in the autograd twin or its reference";
    for (const Case& of : std::vector<Case>{{wrong, right, right, "not finite, 50% of the entries"},
                                            {right, wrong, right, of_autograd},
                                            {right, right, wrong, of_autograd},
                                            {right, wrong, wrong, of_autograd},
                                            {wrong, wrong, wrong, of_autograd}}) {
      for (const double of_noise : {noise, kInf}) {
        const TensorComparison row =
            compare_tensors("z", of.manual, of.autograd, of.reference, of_noise, noise, 7);
        EXPECT_EQ(row.verdict, Verdict::differs);
        if (of_noise == noise) {
          EXPECT_EQ(row.cause, of.cause) << bad;
        }
      }
    }
  }
}

TEST(CompareTwoTensors, TheCauseSaysWhatAndHowMuch) {
  const Tensor right = doubles({1, -2, 3.5, 0.25, 0.75, 6, -9, 13});
  const double bound = 32 * std::exp2(-40);
  const auto cause = [&](const Tensor& manual) { return compared(manual, right, right).cause; };
  const auto change = [&](std::int64_t entry, double by) {
    Tensor changed = right.clone();
    changed[entry] += by;
    return changed;
  };
  EXPECT_EQ(cause(change(2, 0.5)), "12.5% of the entries");
  EXPECT_EQ(cause(change(2, 0.5) + change(0, bound) - right), "12.5% of the entries")
      << "one is at the bound";
  EXPECT_EQ(cause(change(2, NAN)), "not finite, 12.5% of the entries");
  EXPECT_EQ(cause(right * 3), "factor 3");
  EXPECT_EQ(cause(right * 7), "missing mean, 100% of the entries") << "over the seven rows";
  EXPECT_EQ(cause(-right), "sign, 100% of the entries");
  EXPECT_EQ(cause(right / 7), "extra mean, 100% of the entries");
  EXPECT_EQ(cause(right), "");
  const Tensor matrix = at::arange(1, 16, at::kDouble).square().view({3, 5});
  EXPECT_EQ(compared(matrix * 5, matrix, matrix).cause, "missing mean, 100% of the entries") << "of a row";
  EXPECT_EQ(compared(matrix * 15, matrix, matrix).cause, "missing mean, 100% of the entries") << "of all";
  EXPECT_EQ(compared(matrix * 11, matrix, matrix).cause, "factor 11");
  const Tensor square = matrix.slice(1, 0, 3).contiguous();
  EXPECT_EQ(compared(square.t(), square, square).cause, "transposed, 66.7% of the entries");
  EXPECT_EQ(compared(doubles({6}), doubles({2}), doubles({2})).cause, "100% of the entries")
      << "one number is always a multiple of another";
  EXPECT_EQ(compared(right * 7, right + 1, right).cause,
            "the autograd twin is far from its float64 reference");
}

// ---- All tensors ------------------------------------------------------------------------------------------

/// A tensor that agrees.
TensorComparison agreeing(const std::string& name, double max_rel, double largest = 1) {
  return {.part = Part::gradient,
          .name = name,
          .shape = {2, 3},
          .largest = largest,
          .max_abs = max_rel * largest,
          .max_rel = max_rel,
          .max_ulp = 3,
          .entries = 6,
          .identical = 5,
          .manual_error = 0.125,
          .autograd_error = 0.0625,
          .bound = 0.25,
          .verdict = Verdict::same_to_rounding};
}

Comparison comparison_of(const std::vector<TensorComparison>& tensors) {
  Comparison comparison;
  comparison.dtype = at::kDouble;
  comparison.rows = 40;
  comparison.rows_set_aside = 2;
  comparison.tensors = tensors;
  return comparison;
}

TEST(ComparisonOfAll, ANewOneHasNothingToCompare) {
  const Comparison fresh;
  EXPECT_EQ(fresh.rows, 0);
  EXPECT_EQ(fresh.rows_set_aside, 0);
  EXPECT_EQ(fresh.manual_loss, 0);
  EXPECT_EQ(fresh.autograd_loss, 0);
  EXPECT_FALSE(fresh.has_reference);
  EXPECT_TRUE(fresh.is_finite && fresh.is_conditioned);
  EXPECT_TRUE(fresh.is_empty());
  EXPECT_EQ(fresh.worst_gradient(), nullptr);
  const TensorComparison row;
  for (const double value : {row.largest, row.max_abs, row.max_rel, row.max_ulp, row.manual_error,
                             row.autograd_error, row.bound}) {
    EXPECT_EQ(value, 0);
  }
  EXPECT_EQ(row.entries, 0);
  EXPECT_EQ(row.identical, 0);
  EXPECT_EQ(row.part, Part::gradient);
  EXPECT_EQ(row.verdict, Verdict::differs) << "until it is judged";
}

TEST(ComparisonOfAll, PassesIfThereAreTensorsAndAllAgree) {
  EXPECT_FALSE(comparison_of({}).passed());
  for (const Verdict verdict :
       {Verdict::identical, Verdict::same_to_rounding, Verdict::differs, Verdict::follows}) {
    for (std::size_t place = 0; place < 3; ++place) {
      std::vector<TensorComparison> rows(3, agreeing("a", 0));
      rows[place].verdict = verdict;
      const bool agrees = verdict == Verdict::identical || verdict == Verdict::same_to_rounding;
      EXPECT_EQ(comparison_of(rows).passed(), agrees);
      EXPECT_EQ(comparison_of(rows).verdict(), agrees ? "same to rounding" : "differs");
    }
  }
  EXPECT_EQ(comparison_of({}).verdict(), "differs");
}

TEST(ComparisonOfAll, HasOneObstacle) {
  Comparison comparison = comparison_of({});
  EXPECT_EQ(comparison.obstacle(), "");
  EXPECT_FALSE(comparison.is_empty());
  comparison.is_conditioned = false;
  EXPECT_EQ(comparison.obstacle(), "the inputs of a normalization are equal up to rounding");
  EXPECT_TRUE(comparison.is_empty());
  comparison.is_finite = false;
  EXPECT_EQ(comparison.obstacle(), "the loss is not finite");
  comparison.rows_set_aside = 39;
  EXPECT_EQ(comparison.obstacle(), "the loss is not finite");
  comparison.rows_set_aside = 40;
  EXPECT_EQ(comparison.obstacle(), "all 40 rows are near a kink");
  EXPECT_EQ(comparison.verdict(), "nothing to compare: all 40 rows are near a kink");
  EXPECT_EQ(comparison.to_string(), "nothing to compare: all 40 rows are near a kink\n");
}

TEST(ComparisonOfAll, TheWorstGradientIsTheFirstThatDiffersOrTheLargest) {
  const auto worst = [](const std::vector<TensorComparison>& rows) {
    const Comparison comparison = comparison_of(rows);
    return comparison.worst_gradient() == nullptr ? "none" : comparison.worst_gradient()->name;
  };
  TensorComparison loss = agreeing("loss", 0.9), bad = agreeing("bad", 0.1);
  loss.part = Part::forward;
  bad.verdict = Verdict::differs;
  bad.part = Part::optimizer;
  EXPECT_EQ(worst({loss}), "none") << "not a gradient";
  EXPECT_EQ(worst({loss, agreeing("a", 0.1), agreeing("b", 0.2), agreeing("c", 0.15)}), "b");
  EXPECT_EQ(worst({agreeing("a", 0.2), agreeing("b", 0.2)}), "a") << "the first of equal ones";
  EXPECT_EQ(worst({agreeing("a", 0.1), agreeing("tiny", 0.5, 0.2)}), "a") << "tiny is all rounding";
  EXPECT_EQ(worst({agreeing("tiny", 0.5, 0.2), agreeing("a", 0.1)}), "a");
  EXPECT_EQ(worst({agreeing("tiny", 0.5, 0.2), agreeing("tinier", 0.6, 0.1)}), "tinier");
  EXPECT_EQ(worst({agreeing("a", 0.1), agreeing("at the bound", 0.5, 0.25)}), "a");
  TensorComparison second = bad;
  second.name = "second";
  EXPECT_EQ(worst({agreeing("a", 0.9), bad, second}), "bad") << "whatever its part";
}

TEST(ComparisonOfAll, TheRelativeBoundAllowsBothErrors) {
  EXPECT_EQ(agreeing("a", 0, 2).relative_bound(), (0.25 + 0.0625) / 2);
  EXPECT_EQ(agreeing("a", 0, 0).relative_bound(), kInf);
}

TEST(ComparisonOfAll, ListsWhatDiffersAndWhatFollows) {
  std::vector<TensorComparison> rows = {agreeing("a", 0), agreeing("b", 0), agreeing("c", 0)};
  EXPECT_EQ(comparison_of(rows).to_string(), "");
  rows[1].verdict = Verdict::differs;
  rows[1].cause = "sign";
  rows[2].verdict = Verdict::follows;
  Comparison comparison = comparison_of(rows);
  comparison.at_fault = "layer 1, relu";
  EXPECT_EQ(comparison.to_string(),
            "b differs: error 0.12, at most 0.25 expected, largest entry 1: sign\n"
            "c follows: error 0.12, at most 0.25 expected, largest entry 1\n"
            "at fault: layer 1, relu\n");
}

TEST(ComparisonOfAll, IsWrittenAsJson) {
  TensorComparison row = agreeing("0.weight.grad", 0.5, 2);
  Comparison comparison = comparison_of({row});
  EXPECT_EQ(to_json(comparison).dump(),
            R"({"passed":true,"dtype":"float64","reference":"autograd","rows":40,"rows_set_aside":2,)"
            R"("at_fault":null,"tensors":[{"name":"0.weight.grad","shape":[2,3],"largest":2.0,"max_abs":1.0,)"
            R"("max_rel":0.5,"max_ulp":3.0,"identical":5,"entries":6,"manual_error":0.125,)"
            R"("autograd_error":0.0625,"bound":0.25,"verdict":"same to rounding","cause":null}]})");
  comparison.dtype = at::kFloat;
  comparison.has_reference = true;
  comparison.at_fault = "loss";
  comparison.tensors[0].verdict = Verdict::differs;
  comparison.tensors[0].cause = "sign";
  const nlohmann::ordered_json json = to_json(comparison);
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["dtype"], "float32");
  EXPECT_EQ(json["reference"], "float64");
  EXPECT_EQ(json["at_fault"], "loss");
  EXPECT_EQ(json["tensors"][0]["cause"], "sign");
  EXPECT_EQ(json["tensors"][0]["verdict"], "differs");
}

TEST(ComparisonOfAll, NamesItsVerdicts) {
  EXPECT_STREQ(to_string(Verdict::identical), "identical");
  EXPECT_STREQ(to_string(Verdict::same_to_rounding), "same to rounding");
  EXPECT_STREQ(to_string(Verdict::differs), "differs");
  EXPECT_STREQ(to_string(Verdict::follows), "follows");
}

// ---- Names ------------------------------------------------------------------------------------------------

TEST(LayerNames, BelongToLayers) {
  const std::vector<std::string> results = {"0.output", "1.output", "logits", "1.0.output", "1.1.output"};
  EXPECT_EQ(layer_of("0.output", results), "0");
  EXPECT_EQ(layer_of("12.weight", results), "12");
  EXPECT_EQ(layer_of("1.10.bias", results), "1.10");
  EXPECT_EQ(layer_of("logits", results), "2");
  EXPECT_TRUE(is_result("logits") && is_result("1.0.output"));
  EXPECT_FALSE(is_result("0.weight") || is_result("output") || is_result("0.output.grad"));
  EXPECT_EQ(path_of("7"), (std::vector<int>{7}));
  EXPECT_EQ(path_of("12.3"), (std::vector<int>{12, 3}));
  EXPECT_EQ(path_of("12.3.45"), (std::vector<int>{12, 3, 45}));
  EXPECT_EQ(path_of(""), std::vector<int>());
}

TEST(LayerNames, AreSortedAsTheBackwardPassReachesThem) {
  const std::vector<std::string> results = {"0.output", "1.output",   "2.output",
                                            "logits",   "1.0.output", "1.1.output"};
  const std::vector<std::string> expected = {
      "logits",     "3.weight",   "3.bias",     "2.output", "2.weight", "1.output", "1.1.output",
      "1.1.weight", "1.0.output", "1.0.weight", "1.0.bias", "0.output", "0.weight", "0.bias"};
  std::vector<std::string> names = {"0.weight", "0.bias",   "1.0.weight", "1.0.bias",  "1.1.weight",
                                    "2.weight", "3.weight", "3.bias",     "0.output",  "1.output",
                                    "2.output", "logits",   "1.0.output", "1.1.output"};
  EXPECT_EQ(in_backward_order(names, results), expected);
  std::vector<std::string> ten = {"9.weight", "10.weight", "2.weight"};
  EXPECT_EQ(in_backward_order(ten, {}), (std::vector<std::string>{"10.weight", "9.weight", "2.weight"}));
}

}  // namespace twingrad::comparison_values_test
