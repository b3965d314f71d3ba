#include <algorithm>
#include <cmath>
#include <limits>

#include "functions.h"

// How entries are judged: tolerances, numbers that are not finite, large inputs.
namespace twingrad::gradcheck_tests {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class GradcheckJudgingTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

GradcheckOptions in_mode(GradcheckMode mode, GradcheckOptions options = {}) {
  options.mode = mode;
  return options;
}

/// s x, with the gradient `claimed`.
GradcheckFunction scaled_claiming(double s, double claimed) {
  return with_gradient([s](T in) -> Tensors { return {in[0] * s}; },
                       [claimed](const Tensor&, const Tensor& g) { return g * claimed; });
}

TEST_F(GradcheckJudgingTest, ExactlyAtTheToleranceIsWithinIt) {
  const double off = 0x1p-10;  // both slopes are exact: 1 and 1 + off
  const auto passes = [&](double atol, double rtol) {
    const Tensors z = {at::ones({}, at::kComplexDouble).requires_grad_()};
    const bool complex =
        static_cast<bool>(gradcheck(scaled_claiming(1, 1 + off), z, {.atol = atol, .rtol = rtol}));
    const bool real = static_cast<bool>(
        gradcheck(scaled_claiming(1, 1 + off), {variable_of({1})}, {.atol = atol, .rtol = rtol}));
    EXPECT_EQ(complex, real);
    return real;
  };
  for (const auto& [atol, rtol] :
       {std::pair{off, 0.0}, {0.0, off}, {off / 2, off / 2}, {off / 4, 0.75 * off}}) {
    SCOPED_TRACE(c10::str(atol, " ", rtol));
    EXPECT_TRUE(passes(atol, rtol));
    EXPECT_FALSE(passes(atol * (1 - 1e-15), rtol * (1 - 1e-15)));
  }
}

TEST_F(GradcheckJudgingTest, TheToleranceIsRelativeToTheNumericalGradient) {
  // 1 instead of 2 is off by half of 2, 2 instead of 1 by all of 1; so are −1 instead of 1 by 2.
  EXPECT_TRUE(gradcheck(scaled_claiming(2, 1), {variable({3})}, {.atol = 0, .rtol = 0.51}));
  EXPECT_FALSE(gradcheck(scaled_claiming(1, 2), {variable({3})}, {.atol = 0, .rtol = 0.99}));
  EXPECT_TRUE(gradcheck(scaled_claiming(-1, 1), {variable({3})}, {.atol = 0, .rtol = 2.01}));
}

/// The function c x of numbers, whose gradient is claimed to be `claimed`.
GradcheckFunction diagonal_claiming(const Tensor& c, const Tensor& claimed) {
  return with_gradient(
      [c](T in) -> Tensors { return {in[0] * c}; },
      [claimed](const Tensor&, const Tensor& g) { return at::where(g == 0, g, g * claimed); });
}

TEST_F(GradcheckJudgingTest, TheWorstEntriesAreFoundByEachMeasure) {
  const Tensor right = at::tensor({1000.0, 1.0, 10.0}, at::kDouble),
               x = at::ones({3}, at::kDouble).requires_grad_();
  const auto check = [&](const std::vector<double>& errors) {
    return only_comparison(gradcheck(diagonal_claiming(right, right + at::tensor(errors, at::kDouble)), {x}));
  };
  // Absolute errors, in multiples of the tolerance: 5 and 500 at the first two.
  GradcheckComparison comparison = check({5, 0.5, 1e-3});
  EXPECT_THAT(comparison.worst_absolute.input_index, ElementsAre(0));
  EXPECT_NEAR(comparison.worst_absolute.absolute, 5, 1e-6);
  EXPECT_THAT(comparison.worst_relative.input_index, ElementsAre(1));
  EXPECT_NEAR(comparison.worst_relative.relative, 1.0 / 3, 1e-6);
  ASSERT_EQ(comparison.bad_entries.size(), 2u);
  EXPECT_THAT(comparison.bad_entries[0].input_index, ElementsAre(1));
  // The worst absolute error is within its tolerance, another one is not.
  comparison = check({0.5, 0.1, 0});
  EXPECT_FALSE(comparison.passed);
  EXPECT_TRUE(comparison.worst_absolute.passed);
  EXPECT_FALSE(comparison.worst_relative.passed);
  // Listed in the order of the errors over their tolerances, which follow the numerical gradients.
  EXPECT_THAT(check({-999, 2, 0}).bad_entries.at(0).input_index, ElementsAre(1));
  // Of equal errors, the first.
  const Tensor none = at::zeros({3}, at::kDouble);
  comparison = only_comparison(gradcheck(diagonal_claiming(none, none + 0.5), {x}));
  EXPECT_THAT(comparison.worst_absolute.input_index, ElementsAre(0));
  EXPECT_THAT(comparison.worst_relative.input_index, ElementsAre(0));
  // NaN is worse than any number.
  comparison = check({500, 0.5, kNaN});
  for (const GradcheckEntry& entry :
       {comparison.worst_absolute, comparison.worst_relative, comparison.bad_entries.at(0)}) {
    EXPECT_THAT(entry.input_index, ElementsAre(2));
  }
}

TEST_F(GradcheckJudgingTest, OnlyAnExactZeroOnBothSidesIsNoted) {
  const auto explanation = [](double right, double claimed) {
    return only_comparison(gradcheck(scaled_claiming(right, claimed), {variable({2})})).explanation;
  };
  EXPECT_EQ(explanation(0, 0), "all zero: the output does not depend on the input here");
  EXPECT_EQ(explanation(1e-7, 0), "");
  EXPECT_EQ(explanation(0, 1e-7), "");
}

TEST_F(GradcheckJudgingTest, TheToleranceOfAProjectionIsThatOfAllItsEntries) {
  // y_i = c Σ_j x_j, and every entry of the claimed Jacobian is off by the same amount. With u and v
  // positive, the projection is off by this amount times Σu Σv, and so is its tolerance.
  for (const double c : {0.0, 2.0, -2.0}) {
    for (const at::ScalarType dtype : {at::kDouble, at::kComplexDouble}) {
      SCOPED_TRACE(c10::str(c, " ", dtype));
      const double imaginary = dtype == at::kDouble ? 0 : 1;
      const auto passes = [&](double off) {
        const auto all = [=](double slope) {
          const c10::complex<double> factor(slope, imaginary * slope);
          return dtype == at::kDouble ? at::full({4, 3}, slope, at::kDouble)
                                      : at::full({4, 3}, factor, at::kComplexDouble);
        };
        const auto planted =
            with_gradient([=](T in) -> Tensors { return {all(c).matmul(in[0])}; },
                          [=](const Tensor&, const Tensor& g) { return all(c + off).conj().t().matmul(g); });
        return static_cast<bool>(
            gradcheck(planted, {at::randn({3}, dtype).requires_grad_()}, in_mode(GradcheckMode::fast)));
      };
      EXPECT_TRUE(passes(0.0));
      const double tolerance = 1e-5 + 1e-3 * std::abs(c);
      if (dtype == at::kDouble) {  // for a complex map, some entries cancel in the sum
        EXPECT_TRUE(passes(0.98 * tolerance));
        EXPECT_FALSE(passes(1.02 * tolerance));
        EXPECT_FALSE(passes(-1.02 * tolerance));
      } else {
        EXPECT_FALSE(passes(100 * tolerance));
      }
    }
  }
}

struct Dtype {
  at::ScalarType dtype;
  double epsilon;                         // the distance from 1 to the next number
  double value_absolute, value_relative;  // of torch.testing.assert_close
};

constexpr Dtype kDtypes[] = {
    {at::kDouble, 0x1p-52, 1e-7, 1e-7},        {at::kFloat, 0x1p-23, 1e-5, 1.3e-6},
    {at::kHalf, 0x1p-10, 1e-5, 1e-3},          {at::kBFloat16, 0x1p-7, 1e-5, 1.6e-2},
    {at::kComplexDouble, 0x1p-52, 1e-7, 1e-7}, {at::kComplexFloat, 0x1p-23, 1e-5, 1.3e-6},
};

TEST_F(GradcheckJudgingTest, GradientsOfLowPrecisionHaveABoundFromTheMachineEpsilon) {
  for (const Dtype& type : kDtypes) {
    for (const double slope : {0.5, 8.0}) {
      for (const GradcheckOptions& options : {GradcheckOptions{}, {.atol = 1e-9, .rtol = 1e-9}}) {
        SCOPED_TRACE(c10::str(type.dtype, ", slope ", slope, ", atol ", options.atol));
        const bool low = type.epsilon > 1e-10;
        const double atol =
            low ? std::max(options.atol, 16 * type.epsilon) * std::max(1.0, slope) : options.atol;
        const double tolerance =
            atol + (low ? std::max(options.rtol, 16 * type.epsilon) : options.rtol) * slope;
        const Tensor x = at::full({}, 2, type.dtype).requires_grad_();
        const auto check = [&](double off, GradcheckMode mode) {
          return gradcheck(scaled_claiming(slope, slope + off * tolerance), {x}, in_mode(mode, options));
        };
        const GradcheckResult inside = check(0.8, GradcheckMode::full);
        EXPECT_TRUE(inside) << inside.to_string();
        EXPECT_NEAR(inside.comparisons[0].worst_absolute.tolerance, tolerance, 1e-6 * tolerance);
        EXPECT_FALSE(check(1.2, GradcheckMode::full));
        EXPECT_FALSE(check(-1.2, GradcheckMode::full));
        if (!c10::isComplexType(type.dtype)) {
          EXPECT_TRUE(check(0.8, GradcheckMode::fast));
          EXPECT_FALSE(check(1.2, GradcheckMode::fast));
        }
      }
    }
  }
}

TEST_F(GradcheckJudgingTest, TheLowerPrecisionOfInputAndOutputCounts) {
  const GradcheckOptions tight = {.atol = 1e-9, .rtol = 1e-9};
  const Tensor single = at::ones({2}).requires_grad_(), exact = variable_of({1, 2});
  const GradcheckFunction function = [](T in) -> Tensors {
    return {in[0] * 2, in[1] * 2, in[0].to(at::kDouble) * 2};
  };
  const GradcheckResult result = gradcheck(function, {single, exact}, tight);
  EXPECT_TRUE(result) << result.to_string();
  const double low = 2 * 0x1p-19 + 2 * 0x1p-19, high = 3e-9;
  const auto tolerance = [&](std::size_t i) { return result.comparisons[i].worst_absolute.tolerance; };
  EXPECT_NEAR(tolerance(0), low, 1e-12) << "float32 by float32";
  EXPECT_NEAR(tolerance(2), low, 1e-12) << "float64 by float32";
  EXPECT_NEAR(tolerance(3), 0x1p-19, 1e-12) << "float32 by float64, all zero";
  EXPECT_NEAR(tolerance(4), high, 1e-12) << "float64 by float64";
  EXPECT_THAT(result.warnings,
              ElementsAre(HasSubstr("input 0 is Float"), HasSubstr("input 0 is 1 everywhere")));
}

TEST_F(GradcheckJudgingTest, ValuesAreComparedToTheTolerancesOfTorchTesting) {
  for (const Dtype& type : kDtypes) {
    for (const double value : {0.0, 64.0, -64.0}) {
      SCOPED_TRACE(c10::str(type.dtype, " ", value));
      const Tensor x = at::full({2}, value, type.dtype).requires_grad_();
      // |value − reference| = off · (absolute + relative |reference|), in float64.
      const auto passes = [&](double off) {
        const double size = (std::abs(value) - off * type.value_absolute) / (1 + off * type.value_relative);
        const double reference = value < 0 ? -size : size;
        const GradcheckFunction constant_reference = [&](T in) -> Tensors {
          return {at::full({2}, reference, in[0].is_complex() ? at::kComplexDouble : at::kDouble)};
        };
        return static_cast<bool>(gradcheck(identity, {x}, {.reference = constant_reference}));
      };
      EXPECT_TRUE(passes(0.95));
      EXPECT_FALSE(passes(1.05));
    }
  }
}

TEST_F(GradcheckJudgingTest, ReferencesOfAnotherShapeOrKindAreRefused) {
  const GradcheckFunction two = [](T in) -> Tensors { return {in[0].argmax(), in[0] * 2, in[0] * 3}; };
  const Tensors x = {variable({3})};
  const auto compared_with = [&](const GradcheckFunction& reference) {
    return gradcheck(two, x, {.reference = reference});
  };
  const auto replaced = [&](const Tensor& last) {
    return compared_with([&](T in) -> Tensors { return {{}, in[0] * 2, last}; });
  };
  EXPECT_TRUE(compared_with(two));
  EXPECT_TRUE(replaced(x[0].detach() * 3)) << "the integers are not compared";
  const GradcheckResult wrong = replaced(x[0].detach() * 4);
  EXPECT_FALSE(wrong);
  EXPECT_TRUE(wrong.comparisons[0].passed);
  EXPECT_FALSE(wrong.comparisons[1].passed);
  expect_failure(replaced({}), "the reference's output 2 is undefined, the function's is [3] Double");
  expect_failure(replaced(constant({1, 3})), "the reference's output 2 is [1, 3] Double");
  expect_failure(replaced(at::zeros({3}, at::kComplexDouble)),
                 "the reference's output 2 is [3] ComplexDouble");
  const GradcheckFunction broken = [](T) -> Tensors { throw std::runtime_error("broken"); };
  expect_failure(compared_with(broken), "the reference function threw: broken");
  expect_failure(compared_with([](T in) -> Tensors {
                   return {in[0], in[0], in[0], in[0]};
                 }),
                 "the reference returned 4 tensors, the function 3");
  const GradcheckResult zeros = gradcheck([](T in) -> Tensors { return {in[0] * 0}; }, x,
                                          {.reference = [](T in) -> Tensors { return {in[0] * 0}; }});
  EXPECT_EQ(zeros.comparisons[0].explanation, "");
  EXPECT_THAT(zeros.comparisons[1].explanation, HasSubstr("all zero"));
}

/// Whether the two agree: equal numbers, equal infinities, or two NaNs that may be equal.
bool agree(double a, double b, bool equal_nan) { return a == b || (equal_nan && a != a && b != b); }

TEST_F(GradcheckJudgingTest, NanAndInfinityPassOnlyOnBothSides) {
  const double special[] = {0, kInfinity, -kInfinity, kNaN};
  for (const double analytical : special) {
    for (const double numerical : special) {
      for (const bool equal_nan : {false, true}) {
        SCOPED_TRACE(c10::str(analytical, " ", numerical, " ", equal_nan));
        const bool same = agree(analytical, numerical, equal_nan);
        const Tensor x = variable_of({0, 1, -1});
        // The difference quotient at 0 is `numerical`. The other entries are right.
        const GradcheckFunction step = [=](T in) -> Tensors {
          return {choose((in[0] > 0) & (in[0] < 0.1), numerical, 0)};
        };
        const auto function = with_gradient(step, [=](const Tensor&, const Tensor& g) {
          return choose(g * at::tensor({1.0, 0.0, 0.0}, at::kDouble) != 0, analytical, 0);
        });
        const GradcheckResult result = gradcheck(function, {x}, {.equal_nan = equal_nan});
        EXPECT_EQ(result.passed, same) << result.to_string();
        const GradcheckComparison& comparison = only_comparison(result);
        EXPECT_EQ(comparison.bad, same ? 0 : 1);
        EXPECT_EQ(comparison.worst_absolute.passed, same);
        EXPECT_EQ(comparison.worst_relative.passed, same);
        EXPECT_EQ(comparison.worst_absolute.absolute == 0, same);
        if (!same) {
          const auto count = [](double value) { return std::isfinite(value) ? 0 : 1; };
          EXPECT_EQ(comparison.cause, Cause::non_finite);
          EXPECT_EQ(comparison.explanation, c10::str("not finite: analytical at ", count(analytical),
                                                     ", numerical at ", count(numerical), " of 9 entries"));
        }
        const GradcheckFunction reference = [=](T) -> Tensors {
          return {at::full({1}, numerical, at::kDouble)};
        };
        const GradcheckFunction value = [=](T in) -> Tensors { return {in[0] * 0 + analytical}; };
        const GradcheckResult values =
            gradcheck(value, {variable({1})}, {.equal_nan = true, .reference = reference});
        EXPECT_EQ(values.comparisons[0].passed, agree(analytical, numerical, true));
        EXPECT_EQ(gradcheck(value, {variable({1})}, {.reference = reference}).comparisons[0].passed,
                  agree(analytical, numerical, false));
      }
    }
  }
}

TEST_F(GradcheckJudgingTest, EqualInfinitiesAreNotTheCauseOfAnotherError) {
  // The entry at the jump is infinite on both sides. The other one has the wrong sign.
  const GradcheckFunction function = [](T in) -> Tensors {
    return {in[0] + choose(in[0] == 1e-6, kInfinity, 0)};
  };
  const auto claiming = [&](double other) {
    return with_gradient(function, [other](const Tensor&, const Tensor& g) {
      return at::where(g == 0, g, at::tensor({kInfinity, other}, at::kDouble));
    });
  };
  const Tensors x = {variable_of({0, 1})};
  EXPECT_TRUE(gradcheck(claiming(1), x, without_contract())) << "it is not linear in g";
  const GradcheckResult result = gradcheck(claiming(-1), x);
  EXPECT_EQ(only_comparison(result).bad, 1);
  EXPECT_EQ(only_comparison(result).cause, Cause::unknown) << result.to_string();
  const auto both_nan =
      with_gradient([](T in) -> Tensors { return {in[0] * NAN}; },
                    [](const Tensor&, const Tensor& g) { return at::where(g == 0, g, g * NAN); });
  for (const Tensor& input : {variable({}), at::ones({}).requires_grad_()}) {
    EXPECT_FALSE(gradcheck(both_nan, {input}));
    EXPECT_TRUE(gradcheck(both_nan, {input}, {.equal_nan = true})) << input.scalar_type();
  }
}

TEST_F(GradcheckJudgingTest, NanInAnInputFailsOnlyThere) {
  const auto careful_sin = with_gradient(sin_of, [](const Tensor& x, const Tensor& g) {
    return g * at::where(x.isfinite(), x.cos(), at::zeros_like(x));
  });
  for (const double value : {kNaN, kInfinity}) {
    const Tensor x = variable_of({0.5, value, 2});
    const GradcheckResult result = gradcheck(careful_sin, {x});
    EXPECT_FALSE(result);
    EXPECT_EQ(only_comparison(result).bad, 5) << "one row and one column";
    EXPECT_EQ(only_comparison(result).cause, Cause::non_finite);
    EXPECT_THAT(result.failures, ::testing::IsEmpty()) << "it is deterministic and does not change its input";
    EXPECT_FALSE(gradcheck(careful_sin, {x}, kFast));
    EXPECT_TRUE(x.detach().allclose(at::tensor({0.5, value, 2.0}, at::kDouble), 0, 0, /*equal_nan=*/true));
  }
}

TEST_F(GradcheckJudgingTest, AnOverflowOfTheDifferenceFails) {
  const GradcheckFunction overflows = [](T in) -> Tensors { return {in[0] * 1e308}; };
  const GradcheckResult result = gradcheck(overflows, {variable_of({1.7976931348623157})}, {.eps = 1e-2});
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).cause, Cause::non_finite);
}

// Where x is large, x ± h is rounded by up to 6 % of h.
TEST_F(GradcheckJudgingTest, StepsAtLargeInputsAreMeasured) {
  const GradcheckOptions tight = {.atol = 0, .rtol = 1e-9};
  const Tensor x = (constant({3, 2}) * 1e7 + 3e8).requires_grad_();
  const Tensor z = at::complex(x.detach(), x.detach() * 0.7).requires_grad_();
  GradcheckOptions batched = tight;
  batched.batched_inputs = {0};
  for (const Tensor& input : {x, z}) {
    EXPECT_TRUE(gradcheck(identity, {input}, tight));
    EXPECT_TRUE(gradcheck(identity, {input}, batched));
    EXPECT_TRUE(gradcheck(identity, {input}, in_mode(GradcheckMode::fast, tight)));
  }
  const Tensor single = (at::randn({3, 2}) * 1e4 + 3e5).requires_grad_();
  GradcheckOptions direct = {.eps = 0.1, .atol = 0, .rtol = 1e-6, .numerical_in_float64 = false};
  EXPECT_TRUE(gradcheck(identity, {single}, direct));
  EXPECT_TRUE(gradcheck(identity, {single}, in_mode(GradcheckMode::fast, direct)));
  direct.batched_inputs = {0};
  EXPECT_TRUE(gradcheck(identity, {single}, direct));
  const auto shifted_relu = [](double slope) {
    return with_gradient([](T in) -> Tensors { return {(in[0] - 3e8).relu()}; },
                         [slope](const Tensor&, const Tensor& g) { return g * slope; });
  };
  const Tensors kink = {variable_of({3e8})};
  const GradcheckOptions report = {.atol = 0, .rtol = 1e-3, .kinks = GradcheckKinks::report};
  EXPECT_TRUE(gradcheck(shifted_relu(0.9999), kink, report));
  EXPECT_FALSE(gradcheck(shifted_relu(1.008), kink, report));
  EXPECT_FALSE(gradcheck(shifted_relu(-0.008), kink, report));
}

TEST_F(GradcheckJudgingTest, AStepThatVanishesNeverPasses) {
  const GradcheckFunction wrong = scaled_claiming(2, 7), right = scaled_claiming(2, 2);
  const Tensors x = {variable_of({1, 1e12})};
  for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
    EXPECT_FALSE(gradcheck(wrong, x, options));
    EXPECT_FALSE(gradcheck(right, x, options));
  }
  EXPECT_TRUE(gradcheck(right, x, {.eps = 1}));
  EXPECT_FALSE(gradcheck(wrong, x, {.eps = 1}));
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
