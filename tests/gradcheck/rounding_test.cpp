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
  const Tensors x = {variable({5})};
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
