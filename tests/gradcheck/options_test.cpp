#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad::gradcheck_tests {
namespace {

class GradcheckOptionsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

TEST_F(GradcheckOptionsTest, DefaultsAreThoseOfPython) {
  const GradcheckOptions options;
  EXPECT_EQ(options.eps, 1e-6);
  EXPECT_EQ(options.atol, 1e-5);
  EXPECT_EQ(options.rtol, 1e-3);
  EXPECT_EQ(options.nondet_tol, 0);
  EXPECT_EQ(options.mode, GradcheckMode::full);
  EXPECT_TRUE(options.check_undefined_grad);
  EXPECT_FALSE(options.check_grad_dtypes);
  EXPECT_EQ(options.kinks, GradcheckKinks::fail);
  EXPECT_FALSE(options.equal_nan);
  EXPECT_TRUE(options.numerical_in_float64) << "not as in Python";
}

TEST_F(GradcheckOptionsTest, TheResultHasTheOptions) {
  const GradcheckResult result = gradcheck(
      sin_of, {variable({2})}, {.mode = GradcheckMode::fast, .eps = 1e-5, .atol = 2e-5, .rtol = 3e-3});
  EXPECT_EQ(result.mode, GradcheckMode::fast);
  EXPECT_EQ(result.eps, 1e-5);
  EXPECT_EQ(result.atol, 2e-5);
  EXPECT_EQ(result.rtol, 3e-3);
}

TEST_F(GradcheckOptionsTest, Float32IsCheckedInFloat64) {
  const Tensor x = at::randn({4, 5}).requires_grad_();
  const Tensor w = at::randn({5, 3}).requires_grad_();
  const GradcheckFunction right = [](T in) -> Tensors { return {in[0].matmul(in[1]).tanh()}; };
  const GradcheckResult result = gradcheck(right, {x, w});
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_THAT(result.warnings,
              Contains(HasSubstr("input 0 is Float: numerical gradients are computed on a float64 copy")));
  const GradcheckResult direct = gradcheck(right, {x, w}, {.numerical_in_float64 = false});
  EXPECT_FALSE(direct) << "as in Python";
  EXPECT_THAT(direct.warnings, Contains("input 1 is Float: numerical gradients in less than double precision "
                                        "are likely to fail"));
  const auto exp_times = [](double factor) {
    return with_gradient(exp_of, [=](const Tensor& in, const Tensor& g) { return g * in.exp() * factor; });
  };
  EXPECT_TRUE(gradcheck(exp_times(1), {x}));
  EXPECT_FALSE(gradcheck(exp_times(1.01), {x}));
}

/// s exp(x / s), whose slopes are about 1 at inputs of scale s. claim: on the gradient of the second element.
GradcheckFunction exponential_of_scale(double scale, double claim) {
  return with_gradient([=](T in) -> Tensors { return {(in[0] / scale).exp() * scale}; },
                       [=](const Tensor& x, const Tensor& g) {
                         Tensor gradient = g * (x / scale).exp();
                         gradient[1] *= claim;
                         return gradient;
                       });
}

TEST_F(GradcheckOptionsTest, StepsCanFollowTheInputs) {
  for (const double scale : {1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12}) {
    const Tensor x = variable_of({0.3 * scale, 1.4 * scale, -0.5 * scale});
    for (GradcheckOptions options : {GradcheckOptions(), kFast, kBatched}) {
      options.scale_eps = true;
      const auto check = [&](double claim) {
        return gradcheck(exponential_of_scale(scale, claim), {x}, options);
      };
      EXPECT_TRUE(check(1)) << scale << "\n" << check(1).to_string();
      for (const double wrong : {1.01, 0.99, -1.0, 0.0}) {
        EXPECT_FALSE(check(wrong)) << scale << " " << wrong;
      }
    }
  }
  // With one step for all, small inputs fail, and large ones by rounding.
  for (const double scale : {1e-6, 1e12}) {
    EXPECT_FALSE(gradcheck(exponential_of_scale(scale, 1), {variable_of({0.7 * scale, scale})}));
  }
  // Each input has its own step.
  const GradcheckFunction two = [](T in) -> Tensors {
    return {(in[0] * 1e6).exp() * 1e-6, in[1].pow(2) * 1e-9};
  };
  const Tensors inputs = {variable_of({1e-6, -2e-6}), variable_of({1e8, 2e8})};
  EXPECT_TRUE(gradcheck(two, inputs, {.scale_eps = true}));
  EXPECT_FALSE(gradcheck(two, inputs, {.eps = 1e-12}));
  EXPECT_FALSE(gradcheck(two, inputs, {.eps = 1e2}));
  EXPECT_TRUE(gradcheck(exp_of, {variable_of({0, 0})}, {.scale_eps = true})) << "as for inputs of 1";
  EXPECT_TRUE(gradcheck(exp_of, {variable({0})}, {.scale_eps = true}));
  const Tensor z = (at::randn({3}, at::kComplexDouble) * 1e-6).requires_grad_();
  const GradcheckFunction complex = [](T in) -> Tensors { return {(in[0] * 1e6).exp() * 1e-6}; };
  EXPECT_TRUE(gradcheck(complex, {z}, {.scale_eps = true}));
  EXPECT_FALSE(gradcheck(complex, {z}));
}

TEST_F(GradcheckOptionsTest, ScaledStepsFollowThePrecision) {
  const Tensor x = at::tensor({0.3f, 0.7f, -0.5f}).requires_grad_();
  GradcheckOptions options = {.numerical_in_float64 = false};
  EXPECT_FALSE(gradcheck(sin_of, {x}, options));
  options.scale_eps = true;
  EXPECT_TRUE(gradcheck(sin_of, {x}, options)) << gradcheck(sin_of, {x}, options).to_string();
  const GradcheckFunction wavy = [](T in) -> Tensors { return {(in[0] * 1e3).sin() * 1e-3}; };
  EXPECT_TRUE(gradcheck(wavy, {x}, {.scale_eps = true})) << "in float64, the step stays small";
}

TEST_F(GradcheckOptionsTest, CausesAreFoundWithScaledSteps) {
  // The kink is one default step away, and a million scaled steps.
  const Tensor x = variable_of({1e-6, -1e-6});
  const GradcheckFunction magnitude = [](T in) -> Tensors { return {in[0].abs()}; };
  const auto doubled =
      with_gradient(magnitude, [](const Tensor& in, const Tensor& g) { return 2 * g * in.sign(); });
  EXPECT_TRUE(gradcheck(magnitude, {x}, {.scale_eps = true}));
  const GradcheckComparison comparison = only_comparison(gradcheck(doubled, {x}, {.scale_eps = true}));
  EXPECT_EQ(comparison.cause, Cause::factor);
  EXPECT_EQ(comparison.kinks, 0);
  // The advice is about eps, not about the step.
  const GradcheckFunction fast_waves = [](T in) -> Tensors { return {(in[0] * 1.5e11).sin() * 1e-11}; };
  const GradcheckComparison waves_missed = only_comparison(gradcheck(fast_waves, {x}, {.scale_eps = true}));
  EXPECT_THAT(waves_missed.explanation,
              HasSubstr("eps 1e-06 (a step of 1e-12) does not fit this function; try eps 6e-06"));
  // A forward that is random by less than a default step would show.
  int calls = 0;
  const GradcheckFunction random = [&](T in) -> Tensors { return {in[0] + 1e-13 * (++calls % 2)}; };
  EXPECT_THAT(gradcheck(random, {x}, {.scale_eps = true}).failures,
              ::testing::Contains(HasSubstr("not deterministic")));
  // Smooth within a scaled step, and as good as noise within a default one.
  const auto waves =
      with_gradient([](T in) -> Tensors { return {(in[0] * 1e8).sin() * 1e-8}; },
                    [](const Tensor& in, const Tensor& g) { return 2 * g * (in * 1e8).cos(); });
  EXPECT_EQ(only_comparison(gradcheck(waves, {x}, {.scale_eps = true})).cause, Cause::factor);
  // Steps of a rounded forward, a few scaled steps wide.
  const GradcheckFunction rounded = [](T in) -> Tensors { return {(in[0] * 1e12).round() * 1e-12}; };
  const auto claimed = with_gradient(rounded, [](const Tensor&, const Tensor& g) { return g; });
  EXPECT_EQ(
      only_comparison(gradcheck(claimed, {variable_of({1.2345e-6, 3.2e-6})}, {.scale_eps = true})).cause,
      Cause::rounding);
}

TEST_F(GradcheckOptionsTest, AFailureInFloat64NamesTheOption) {
  const Tensor captured = at::randn({3, 2});
  const GradcheckFunction function = [&](T in) -> Tensors { return {in[0].matmul(captured)}; };
  expect_failure(gradcheck(function, {at::randn({4, 3}).requires_grad_()}),
                 "GradcheckOptions::numerical_in_float64");
}

TEST_F(GradcheckOptionsTest, ValuesAreComparedWithAReference) {
  const GradcheckFunction softplus = [](T in) -> Tensors { return {in[0].exp().log1p()}; };
  const Tensors x = {variable({3})};
  EXPECT_TRUE(gradcheck(softplus, x, {.reference = [](T in) -> Tensors { return {at::softplus(in[0])}; }}));
  const GradcheckResult result = gradcheck(softplus, x, {.reference = relu_of});
  EXPECT_FALSE(result.comparisons[0].passed);
  EXPECT_EQ(result.comparisons[0].output_name, "output 0");
  EXPECT_TRUE(result.comparisons[1].passed) << "the gradient of the wrong value is right";
  expect_failure(gradcheck(softplus, x, {.reference = [](T) -> Tensors { return {}; }}),
                 "the reference returned 0 tensors, the function 1");
}

TEST_F(GradcheckOptionsTest, AWrongValueFailsInFastModeToo) {
  const GradcheckOptions options = {
      .mode = GradcheckMode::fast, .kinks = GradcheckKinks::report, .reference = sin_of};
  const GradcheckResult smooth = gradcheck(exp_of, {variable({3})}, options);
  EXPECT_FALSE(smooth);
  EXPECT_FALSE(smooth.comparisons[0].passed);
  EXPECT_EQ(smooth.comparisons[0].kind, GradcheckComparison::Kind::value);
  EXPECT_EQ(smooth.comparisons[1].kind, GradcheckComparison::Kind::projection);
  EXPECT_TRUE(smooth.failures.empty()) << "the gradient is right";
  EXPECT_FALSE(gradcheck(relu_of, {variable_of({0, 1})}, options)) << "although the kink is excused";
}

TEST_F(GradcheckOptionsTest, LazyConjugatesAndNegativesAreResolved) {
  const Tensors z = {at::randn({3}, at::kComplexDouble).requires_grad_()}, x = {variable({3})};
  const GradcheckFunction conjugate = [](T in) -> Tensors { return {in[0].conj()}; };
  const GradcheckFunction by_parts = [](T in) -> Tensors {
    return {at::complex(at::real(in[0]), -at::imag(in[0]))};
  };
  const GradcheckFunction negative = [](T in) -> Tensors { return {at::_neg_view(in[0])}; };
  const GradcheckFunction minus = [](T in) -> Tensors { return {-in[0]}; };
  EXPECT_TRUE(gradcheck(conjugate, z, {.reference = by_parts}));
  EXPECT_TRUE(gradcheck(by_parts, z, {.reference = conjugate}));
  EXPECT_FALSE(gradcheck(conjugate, z, {.reference = identity}));
  EXPECT_TRUE(gradcheck(negative, x, {.reference = minus}));
  EXPECT_TRUE(gradcheck(minus, x, {.reference = negative}));
  EXPECT_FALSE(gradcheck(negative, x, {.reference = identity}));
  const GradcheckBackward conjugated = [](T, T, T g) -> Tensors { return {g[0].conj()}; };
  const GradcheckBackward negated = [](T, T, T g) -> Tensors { return {at::_neg_view(g[0])}; };
  EXPECT_TRUE(check_backward(by_parts, conjugated, z));
  EXPECT_TRUE(check_backward(minus, negated, x));
  EXPECT_FALSE(check_backward(identity, conjugated, z));
  EXPECT_FALSE(check_backward(identity, negated, x));
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
