#include "twingrad/gradcheck/detail/rounding.h"

#include <cmath>

#include "functions.h"

// Forwards whose values are rounded, or random: the numbers say little about the gradient.
namespace twingrad::gradcheck_tests {
namespace {

class GradcheckRoundingTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

struct Rounded {
  const char* name;
  GradcheckFunction function;
  Tensor x;
};

std::vector<Rounded> rounded_functions() {
  const auto in_float32 = [](T in) -> Tensors { return {in[0].to(at::kFloat).sin().to(at::kDouble)}; };
  const Tensor x = constant({3, 4});
  return {
      {"a large constant", [](T in) -> Tensors { return {in[0].sin() + 1e8}; }, x},
      {"a larger one", [](T in) -> Tensors { return {in[0] * 3 + 1e12}; }, x},
      {"cancellation", [](T in) -> Tensors { return {(in[0] + 1e8) - 1e8}; }, x},
      {"cancellation in steps as large as eps", [](T in) -> Tensors { return {(in[0] + 1e10) - 1e10}; }, x},
      {"cancellation in larger steps", [](T in) -> Tensors { return {(in[0] + 2e11) - 2e11}; },
       constant({8, 8})},
      {"a sum of large terms", [](T in) -> Tensors { return {(in[0] * 1e9).cumsum(0) - in[0] * 1e9}; }, x},
      {"float32 inside", in_float32, x},
      {"float32 inside at larger inputs", in_float32, x * 30},
      {"float32 outputs", [](T in) -> Tensors { return {in[0].sin().to(at::kFloat)}; }, x},
      {"a complex output", [](T in) -> Tensors { return {at::complex(in[0] + 1e9, in[0].exp() + 1e9)}; }, x},
      {"complex inputs", [](T in) -> Tensors { return {in[0] * in[0] + 1e9}; },
       at::randn({3}, at::kComplexDouble)},
  };
}

TEST_F(GradcheckRoundingTest, RoundingErrorsOfTheForwardAreNamed) {
  for (const Rounded& rounded : rounded_functions()) {
    SCOPED_TRACE(rounded.name);
    const Tensors x = {rounded.x.clone().requires_grad_()};
    for (const GradcheckOptions& options : {GradcheckOptions{}, kReportKinks, kFast}) {
      const GradcheckResult result = gradcheck(rounded.function, x, options);
      for (const GradcheckComparison& comparison : result.comparisons) {
        if (!comparison.passed) {
          EXPECT_STREQ(to_string(comparison.cause), "rounding") << result.to_string();
        }
        EXPECT_EQ(comparison.kinks, 0);
      }
    }
    EXPECT_FALSE(gradcheck(rounded.function, x)) << "the example is rounded enough";
  }
}

TEST_F(GradcheckRoundingTest, Float32WithoutFloat64CopiesIsRounded) {
  const GradcheckFunction function = [](T in) -> Tensors { return {in[0].matmul(in[1]).tanh()}; };
  const GradcheckResult result =
      gradcheck(function, {at::randn({4, 5}).requires_grad_(), at::randn({5, 3}).requires_grad_()},
                {.numerical_in_float64 = false});
  ASSERT_EQ(result.comparisons.size(), 2u);
  for (const GradcheckComparison& comparison : result.comparisons) {
    EXPECT_EQ(comparison.cause, Cause::rounding) << result.to_string();
    EXPECT_THAT(comparison.explanation,
                HasSubstr("too much for eps 1e-06; increase eps or compute in float64"));
  }
}

TEST_F(GradcheckRoundingTest, TheSizeOfTheErrorsIsNamed) {
  const auto explanation = [](double offset) {
    const GradcheckFunction function = [=](T in) -> Tensors { return {(in[0] + offset) - offset}; };
    return only_comparison(gradcheck(function, {variable({5})})).explanation;
  };
  EXPECT_THAT(explanation(2e10),
              HasSubstr("rounding: the forward is rounded by about 4e-06, too much for eps"));
}

using gradcheck_detail::RoundingErrors;

/// The rounding errors of fn by all elements of x, at the entries marked in `bad`.
RoundingErrors errors_of(const GradcheckFunction& fn, const Tensor& x, const Tensor& bad, double eps = 1e-6) {
  const gradcheck_detail::OutputLayout layout(fn({x}), {});
  const gradcheck_detail::Evaluator evaluate(fn, {x}, layout, /*autograd=*/false);
  gradcheck_detail::Elements elements(x);
  return rounding_errors(evaluate, elements, layout.slots[0], GradcheckComparison::Part::whole, bad, eps);
}

TEST_F(GradcheckRoundingTest, NoiseAndStepsAreMeasured) {
  const Tensor x = (at::arange(8, at::kDouble) + 1) / 7;
  const Tensor all = at::ones({8, 8}, at::kBool), diagonal = at::eye(8, at::kBool);
  const GradcheckFunction smooth = [](T in) -> Tensors { return {in[0].exp()}; };
  EXPECT_LE(errors_of(smooth, x, all).noise, 1e-15);
  EXPECT_EQ(errors_of(smooth, x, all).step, 0);
  // Seven values with the standard deviation 2e-9. The smaller of two estimates is a little less.
  const auto noisy = [](double slope) {
    return
        [=](T in) -> Tensors { return {slope * in[0] + 1e-9 * ((in[0] * 1e12).floor().remainder(7) - 3)}; };
  };
  for (const double slope : {0.0, 3.0}) {
    const RoundingErrors errors = errors_of(noisy(slope), x, diagonal);
    EXPECT_NEAR(errors.noise, 1.262e-9, 1e-12);
    EXPECT_EQ(errors.step, 0);
  }
  EXPECT_LE(errors_of(noisy(3), x, diagonal.logical_not()).noise, 1e-15) << "y_i does not depend on x_j";
  EXPECT_NEAR(errors_of(noisy(3), x, all).noise, 1.262e-9 / std::sqrt(8), 1e-12) << "over all entries";
  const GradcheckFunction huge = [](T in) -> Tensors {
    return {1e200 * (in[0] * 1e12).floor().remainder(7)};
  };
  EXPECT_EQ(errors_of(huge, x, diagonal).noise, 0) << "the variance overflows";
  const GradcheckFunction exact = [](T in) -> Tensors { return {in[0] - 3e8}; };
  EXPECT_LE(errors_of(exact, x + 3e8, diagonal).noise, 1e-15) << "the points are rounded, not the values";
  // Steps of 3e-6 every 3e-6; without one in reach, a constant.
  const GradcheckFunction stepped = [](T in) -> Tensors { return {(in[0] / 3e-6).round() * 3e-6}; };
  EXPECT_NEAR(errors_of(stepped, x, diagonal).step, 3e-6, 1e-12);
  EXPECT_LE(errors_of(stepped, x, diagonal).noise, 1e-6);
  EXPECT_EQ(errors_of(ones_of, constant({2}), at::ones({2, 2}, at::kBool)).step, 0);
  // A step in every second interval, and in every one.
  const auto every = [&](double intervals) {
    const GradcheckFunction function = [=](T in) -> Tensors {
      return {(in[0] / (intervals * 1e-6 / 8) + 0.25).floor() * 1e-6};
    };
    return errors_of(function, at::zeros({1}, at::kDouble), at::ones({1, 1}, at::kBool)).step;
  };
  EXPECT_NEAR(every(2), 1e-6, 1e-12);
  EXPECT_EQ(every(1), 0);
  // Of many elements, 16 are perturbed.
  int calls = 0;
  const GradcheckFunction counted = [&](T in) -> Tensors {
    ++calls;
    return {in[0].sum()};
  };
  for (const std::int64_t size : {1, 16, 17, 100}) {
    calls = 0;
    errors_of(counted, constant({size}), at::ones({1, size}, at::kBool));
    EXPECT_LE(calls, 1 + 17 * 16);
    EXPECT_GE(calls, 1 + 17 * std::min<std::int64_t>(size, 9));
  }
  EXPECT_EQ(errors_of(noisy(1), x * 1e12, diagonal).noise, 0) << "the points cannot be told apart";
}

TEST_F(GradcheckRoundingTest, ErrorsWithinReachOfTheRoundingErrorsAreMarked) {
  // An error of 1 in a slope of `analytical`, eps 1e-3: four times a noise of 2.5e-4 explains it.
  const auto marked = [](double analytical, const RoundingErrors& errors, double last_digit = 0) {
    const auto one = [](double value) { return at::full({1, 1}, value, at::kDouble); };
    const gradcheck_detail::Block block{one(analytical), one(analytical - 1), {}, 0};
    return rounding_mask(block, errors, one(last_digit), 1e-3).item<bool>();
  };
  EXPECT_TRUE(marked(0, {.noise = 2.51e-4}));
  EXPECT_FALSE(marked(0, {.noise = 2.49e-4}));
  EXPECT_TRUE(marked(0, {.noise = 1e-4}, 2.51e-4));
  EXPECT_FALSE(marked(0, {.noise = 1e-4}, 2.49e-4));
  EXPECT_TRUE(marked(5, {.noise = 2.51e-4}));
  // Steps as wide as 0.1 to 1000 eps.
  for (const double slope : {0.5, -2.0}) {
    const double eps = 1e-3, size = std::abs(slope);
    EXPECT_TRUE(marked(slope, {.step = size * 999 * eps}));
    EXPECT_FALSE(marked(slope, {.step = size * 1000.5 * eps}));
  }
  EXPECT_TRUE(marked(2, {.step = 2.01e-4}));
  EXPECT_FALSE(marked(2, {.step = 1.99e-4}));
  // With the slope 0.5, steps higher than 5e-4 give a slope that is off by more than 1.
  EXPECT_TRUE(marked(0.5, {.step = 5.01e-4}));
  EXPECT_FALSE(marked(0.5, {.step = 4.99e-4}));
  EXPECT_FALSE(marked(2, {}));
  EXPECT_FALSE(marked(0, {.step = 1}));
}

TEST_F(GradcheckRoundingTest, WrongGradientsJumpsAndKinksAreNotRounding) {
  struct Wrong {
    const char* name;
    GradcheckFunction function;
    Gradient gradient;
    Cause cause;
  };
  const auto times = [](double factor) {
    return [factor](const Tensor&, const Tensor& g) { return g * factor; };
  };
  const Wrong wrongs[] = {
      {"sign, noisy", [](T in) -> Tensors { return {in[0] * 2 + 1e4}; }, times(-2), Cause::sign},
      {"factor, noisy", [](T in) -> Tensors { return {in[0] * 2 + 1e4}; }, times(4), Cause::factor},
      {"not filled, noisy", [](T in) -> Tensors { return {in[0] * 2 + 1e8}; }, times(0), Cause::not_filled},
      {"factor, a line", [](T in) -> Tensors { return {in[0] * 2}; }, times(4), Cause::factor},
  };
  for (const Wrong& wrong : wrongs) {
    SCOPED_TRACE(wrong.name);
    const GradcheckResult result = gradcheck(with_gradient(wrong.function, wrong.gradient), {variable({4})});
    EXPECT_STREQ(to_string(only_comparison(result).cause), to_string(wrong.cause)) << result.to_string();
  }
  // A step of height 1 at 0, with the slope 1 of a straight-through estimator.
  const auto straight_through =
      with_gradient([](T in) -> Tensors { return {choose(in[0] >= 0, 1, 0)}; }, times(1));
  EXPECT_EQ(only_comparison(gradcheck(straight_through, {variable_of({0})})).cause, Cause::discontinuity);
  const auto rounded_to = [&](double unit) {
    return with_gradient([=](T in) -> Tensors { return {(in[0] / unit).round() * unit}; }, times(1));
  };
  EXPECT_EQ(only_comparison(gradcheck(rounded_to(1.7e-6), {variable_of({0.3, 0.7, 0.11})})).cause,
            Cause::rounding);
  EXPECT_EQ(only_comparison(gradcheck(rounded_to(1), {variable_of({0.5})})).cause, Cause::discontinuity);
}

TEST_F(GradcheckRoundingTest, ARandomForwardHasNoCause) {
  struct Random {
    const char* name;
    std::function<Tensor(const Tensor&)> noise;
  };
  const Random randoms[] = {
      {"dropout", [](const Tensor& y) { return at::dropout(y, 0.5, true); }},
      {"seldom", [](const Tensor& y) { return at::dropout(y, 0.05, true); }},
      {"small", [](const Tensor& y) { return y + 1e-9 * at::randn({}); }},
      {"one element", [](const Tensor& y) { return y + at::randn({}) * (y == y.max()); }},
      {"a sign", [](const Tensor& y) { return at::rand({}).item<double>() < 0.5 ? -y : y; }},
  };
  const Tensors x = {variable({20})};  // so many that a pass by chance is improbable
  for (const Random& random : randoms) {
    for (const bool detached : {false, true}) {
      const GradcheckFunction function = [&](T in) -> Tensors {
        const Tensor y = in[0].exp();
        return {random.noise(detached ? y.detach() : y)};
      };
      const auto exp_backward = backward_of([](auto&, auto& y, auto& g) { return g * y; });
      for (const GradcheckOptions& options :
           {GradcheckOptions{}, kFast, kReportKinks, GradcheckOptions{.reference = exp_of}}) {
        for (const GradcheckResult& result :
             {gradcheck(function, x, options), check_backward(function, exp_backward, x, options)}) {
          SCOPED_TRACE(c10::str(random.name, detached ? ", detached" : ""));
          EXPECT_FALSE(result);
          EXPECT_THAT(result.failures, Contains(HasSubstr("the forward is not deterministic: two calls")));
          for (const GradcheckComparison& comparison : result.comparisons) {
            if (!comparison.passed) {
              EXPECT_EQ(comparison.cause, Cause::unknown) << result.to_string();
              EXPECT_EQ(comparison.explanation, "unknown: the forward is not deterministic");
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
