#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad::gradcheck_tests {
namespace {

class GradcheckTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

struct RightFunction {
  const char* name;
  Tensors inputs;
  GradcheckFunction function;
};

Tensor complex_variable(at::IntArrayRef shape) {
  return at::randn(shape, at::kComplexDouble).requires_grad_();
}

/// Uniform in [1, 2]: far from the kinks and poles at 0.
Tensor positive_variable(at::IntArrayRef shape) {
  return (at::rand(shape, at::kDouble) + 1).requires_grad_();
}

// clang-format off
std::vector<RightFunction> right_functions() {
  const auto square = with_gradient(square_of, [](const Tensor& x, const Tensor& g) { return 2 * x * g; });
  const Tensor x = variable({3});
  const Tensor transposed = constant({4, 3}).t().requires_grad_();
  const Tensor strided = constant({4, 6}).slice(1, 1, 6, 2).requires_grad_();
  const Tensor rows = at::tensor({0, 2, 0}, at::kLong);
  const Tensor columns = at::tensor({1, 0, 3}, at::kLong).view({3, 1});
  return {
      {"elementwise", {variable({3, 4})}, [](T in) -> Tensors { return {in[0].sin() * in[0].exp()}; }},
      {"scalar", {variable({})}, [](T in) -> Tensors { return {in[0].pow(3)}; }},
      {"matmul", {variable({3, 4}), variable({4, 2})}, product_of},
      {"broadcast", {variable({3, 4}), positive_variable({4})},
       [](T in) -> Tensors { return {in[0] / in[1]}; }},
      {"reductions", {variable({3, 4})},
       [](T in) -> Tensors { return {in[0].sum(), in[0].mean(0), in[0].var(1), in[0].logsumexp(1)}; }},
      {"softmax", {variable({3, 4})}, [](T in) -> Tensors { return {in[0].softmax(1)}; }},
      {"several inputs and outputs", {variable({2, 3}), variable({2, 3}), variable({2, 3})},
       [](T in) -> Tensors { return {in[0] * in[1], in[1].sum() + in[2].sum(), in[0] + in[2]}; }},
      {"the same input twice", {x, x}, [](T in) -> Tensors { return {in[0] * in[1]}; }},
      {"an input returned unchanged", {variable({3})}, [](T in) -> Tensors { return {in[0], in[0] * 2}; }},
      {"views", {variable({3, 4})},
       [](T in) -> Tensors { return {in[0].t().slice(0, 0, 4, 2), in[0].unsqueeze(0)}; }},
      {"repeated indices", {variable({3, 2})},
       [rows](T in) -> Tensors { return {in[0].index_select(0, rows)}; }},
      {"transposed input", {transposed}, [](T in) -> Tensors { return {in[0].cos().cumsum(0)}; }},
      {"strided input", {strided}, square_of},
      {"an input that is not a leaf", {variable({4}).mul(2)}, [](T in) -> Tensors { return {in[0].tanh()}; }},
      {"an integer input", {variable({3, 4}), columns},
       [](T in) -> Tensors { return {in[0].gather(1, in[1])}; }},
      {"an additional integer output", {variable({3, 4})},
       [](T in) -> Tensors { return {in[0].exp(), in[0].argmax(1)}; }},
      {"an unused input", {variable({3}), variable({2})}, sin_of},
      {"no elements", {variable({0, 3})}, square_of},
      {"a sum over no elements", {variable({0})}, sum_of},
      {"a custom autograd function", {variable({3, 2})}, square},
      {"complex to complex", {complex_variable({2, 3}), complex_variable({3})},
       [](T in) -> Tensors { return {in[0] * in[1].exp()}; }},
      {"complex to real", {complex_variable({4})},
       [](T in) -> Tensors { return {in[0].abs(), at::real(in[0]) * 3}; }},
      {"real to complex", {variable({4})},
       [](T in) -> Tensors { return {at::complex(in[0], in[0].sin()).conj(), in[0] * 2}; }},
      {"complex matmul", {complex_variable({2, 3}), complex_variable({3, 2})}, product_of},
      {"imaginary part of a conjugate", {complex_variable({3})},
       [](T in) -> Tensors { return {at::imag(in[0].conj())}; }},
      {"large values", {(constant({3}) * 1e5).requires_grad_()}, square_of},
  };
}
// clang-format on

TEST_F(GradcheckTest, RightFunctionsPassInFullAndFastMode) {
  for (const RightFunction& right : right_functions()) {
    SCOPED_TRACE(right.name);
    EXPECT_GRADIENTS_MATCH(right.function, right.inputs);
    EXPECT_GRADIENTS_MATCH(right.function, right.inputs, kFast);
  }
}

TEST_F(GradcheckTest, InputsAreRestoredBitForBit) {
  const Tensor x = variable({3, 4});
  const Tensor before = x.detach().clone();
  EXPECT_TRUE(gradcheck(exp_of, {x}));
  EXPECT_TRUE(x.equal(before));
  EXPECT_FALSE(x.grad().defined());
}

TEST_F(GradcheckTest, InputsAreRestoredWhenTheFunctionThrows) {
  const Tensor x = variable({3});
  const Tensor before = x.detach().clone();
  int calls = 0;
  const GradcheckFunction throws = [&](T in) {
    TORCH_CHECK(++calls < 6, "the sixth call");
    return exp_of(in);
  };
  expect_failure(gradcheck(throws, {x}), "the sixth call");
  EXPECT_TRUE(x.equal(before));
}

TEST_F(GradcheckTest, CapturedWeightsCanBePassedAsInputs) {
  const Tensor weight = variable({2, 3}), bias = variable({2});
  const GradcheckFunction linear = [&](T in) -> Tensors { return {at::linear(in[0], weight, bias)}; };
  const GradcheckResult result = gradcheck(linear, {variable({4, 3}), weight, bias});
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_EQ(result.comparisons[1].explanation, "") << "not all zero: the weights were really perturbed";
}

TEST_F(GradcheckTest, FunctionsThatCallAutogradPass) {
  const GradcheckFunction gradient_penalty = [](T in) -> Tensors {
    const Tensor x = in[0].requires_grad() ? in[0] : in[0].detach().requires_grad_();
    return {torch::autograd::grad({x.pow(3).sum()}, {x}, {}, true, true)[0].pow(2).sum()};
  };
  EXPECT_GRADIENTS_MATCH(gradient_penalty, {variable({3})});
}

TEST_F(GradcheckTest, AWrongGradientFailsInFullAndFastMode) {
  const auto wrong =
      with_gradient(exp_of, [](const Tensor& x, const Tensor& g) { return g * (x.exp() + 0.1); });
  EXPECT_FALSE(gradcheck(wrong, {variable({3, 4})}));
  const GradcheckResult fast = gradcheck(wrong, {variable({3, 4})}, kFast);
  expect_failure(fast, "fast mode");
  EXPECT_EQ(fast.comparisons[0].bad, 12) << "a failure in fast mode is explained by the full Jacobian";
}

TEST_F(GradcheckTest, OneWrongEntryOfManyFails) {
  const auto wrong = with_gradient(exp_of, [](const Tensor& x, const Tensor& g) {
    Tensor gradient = g * x.exp();
    gradient[2][1] *= 1.01;
    return gradient;
  });
  const Tensor x = variable({3, 4});
  const GradcheckResult result = gradcheck(wrong, {x});
  EXPECT_FALSE(result);
  const GradcheckComparison& comparison = only_comparison(result);
  EXPECT_EQ(comparison.bad, 1);
  EXPECT_EQ(comparison.entries, 144);
  EXPECT_THAT(comparison.worst_absolute.output_index, ElementsAre(2, 1));
  EXPECT_THAT(comparison.worst_absolute.input_index, ElementsAre(2, 1));
  const double exact = std::exp(x[2][1].item<double>());
  EXPECT_NEAR(comparison.worst_absolute.analytical.real(), 1.01 * exact, 1e-12);
  EXPECT_NEAR(comparison.worst_absolute.numerical.real(), exact, 1e-8);
  EXPECT_NEAR(comparison.worst_absolute.tolerance, 1e-5 + 1e-3 * exact, 1e-10);
  EXPECT_NEAR(comparison.worst_relative.relative, 0.01 / 1.01, 1e-6);
  EXPECT_FALSE(comparison.worst_relative.passed);
}

TEST_F(GradcheckTest, NothingToCompareNeverPasses) {
  const GradcheckFunction none = [](T) -> Tensors { return {}; };
  const GradcheckFunction integers = [](T in) -> Tensors { return {in[0].argmax()}; };
  expect_failure(gradcheck(none, {variable({2})}), "nothing to compare");
  expect_failure(gradcheck(integers, {variable({2})}), "nothing to compare");
  expect_failure(gradcheck(identity, {}), "no input requires a gradient");
  expect_failure(gradcheck(identity, {constant({2})}), "no input requires a gradient");
}

TEST_F(GradcheckTest, AnEmptyTensorPassesWithANote) {
  const GradcheckResult result = gradcheck(identity, {variable({0, 2})});
  EXPECT_TRUE(result);
  EXPECT_THAT(only_comparison(result).explanation, HasSubstr("nothing to compare"));
}

TEST_F(GradcheckTest, NanPassesOnlyOnBothSidesWithEqualNan) {
  const GradcheckOptions equal_nan = {.equal_nan = true};
  const GradcheckFunction nan_forward = [](T in) -> Tensors { return {in[0].sqrt()}; };
  const Tensor x = variable_of({-1, 1});
  const GradcheckResult result = gradcheck(nan_forward, {x});
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).cause, Cause::non_finite);
  const auto nan_backward =
      with_gradient(exp_of, [](const Tensor&, const Tensor& g) { return at::full_like(g, NAN); });
  EXPECT_FALSE(gradcheck(nan_backward, {x}));
  EXPECT_FALSE(gradcheck(nan_backward, {x}, equal_nan));
  const auto nan_both = with_gradient(
      [](T in) -> Tensors { return {in[0] * NAN}; },
      [](const Tensor&, const Tensor& g) { return g.eq(0).all().item<bool>() ? g : at::full_like(g, NAN); });
  EXPECT_FALSE(gradcheck(nan_both, {variable({1})}));
  EXPECT_TRUE(gradcheck(nan_both, {variable({1})}, equal_nan));
}

TEST_F(GradcheckTest, AnInfiniteDifferenceFails) {
  const GradcheckFunction overflows = [](T in) -> Tensors { return {in[0] * 1e308}; };
  const GradcheckResult result = gradcheck(overflows, {variable_of({1.7976931348623157})}, {.eps = 1e-2});
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).cause, Cause::non_finite);
}

TEST_F(GradcheckTest, InvalidOptionsAndInputsFail) {
  const Tensors x = {variable({2})};
  expect_failure(gradcheck(sin_of, x, {.eps = 0}), "eps");
  expect_failure(gradcheck(sin_of, x, {.eps = NAN}), "eps");
  expect_failure(gradcheck(sin_of, x, {.atol = NAN}), "atol");
  expect_failure(gradcheck(sin_of, {Tensor()}), "input 0 is undefined");
  expect_failure(gradcheck(sin_of, {variable({1}).expand({3})}), "input 0 overlaps itself");
  expect_failure(gradcheck(sin_of, {variable({4}).as_strided({3, 2}, {1, 1})}), "overlaps itself");
  EXPECT_TRUE(gradcheck(sin_of, {variable({1}).expand({1, 1})})) << "stride 0 is harmless for size 1";
}

TEST_F(GradcheckTest, ABackwardOfTheWrongShapeFails) {
  const auto wrong = with_gradient(exp_of, [](const Tensor&, const Tensor& g) { return g.t(); });
  expect_failure(gradcheck(wrong, {variable({3, 4})}), "the backward threw");
}

TEST_F(GradcheckTest, ABackwardThatIsNotReentrantFails) {
  int runs = 0;
  const auto stateful = with_gradient(
      exp_of, [&](const Tensor& x, const Tensor& g) { return g * x.exp() * (1 + 1e-7 * ++runs); });
  const Tensor x = variable({2});
  const GradcheckResult result = gradcheck(stateful, {x});
  expect_failure(result, "not reentrant");
  EXPECT_TRUE(only_comparison(result).passed) << "the values themselves are within tolerance";
  EXPECT_TRUE(gradcheck(stateful, {x}, {.nondet_tol = 1e-3}));
  EXPECT_FALSE(gradcheck(stateful, {x}, kFast));
}

TEST_F(GradcheckTest, AForwardThatIsNotDeterministicFails) {
  const GradcheckFunction noisy = [](T in) -> Tensors { return {in[0] + at::randn_like(in[0])}; };
  EXPECT_THAT(gradcheck(noisy, {variable({2})}).failures, Contains(HasSubstr("not deterministic")));
}

TEST_F(GradcheckTest, ABackwardThatIgnoresItsUpstreamGradientFails) {
  const auto ignores = with_gradient(sum_of, [](const Tensor& x, const Tensor&) { return at::ones_like(x); });
  const GradcheckResult result = gradcheck(ignores, {variable({3})});
  EXPECT_TRUE(only_comparison(result).passed) << "it is right for an upstream gradient of 1";
  EXPECT_FALSE(result);
  EXPECT_THAT(result.failures, Contains(HasSubstr("zero upstream gradient")));
}

/// x ↦ (x, 2x) with a backward that receives undefined upstream gradients, and throws for them.
class TwoOutputs : public torch::autograd::Function<TwoOutputs> {
 public:
  static Tensors forward(torch::autograd::AutogradContext* context, const Tensor& x) {
    context->set_materialize_grads(false);
    return {x * 1, x * 2};
  }
  static Tensors backward(torch::autograd::AutogradContext*, Tensors g) { return {g[0] + 2 * g[1]}; }
};

TEST_F(GradcheckTest, ABackwardThatDoesNotSupportUndefinedUpstreamGradientsFails) {
  const GradcheckFunction careless = [](T in) -> Tensors {
    const Tensors outputs = TwoOutputs::apply(in[0]);
    return {outputs[0] + outputs[1] * 0, outputs[1] + outputs[0] * 0};  // both always get a gradient
  };
  const GradcheckResult result = gradcheck(careless, {variable({3})});
  EXPECT_FALSE(result);
  EXPECT_THAT(result.failures, Contains(HasSubstr("undefined upstream gradient")));
  EXPECT_TRUE(gradcheck(careless, {variable({3})}, {.check_undefined_grad = false}));
}

TEST_F(GradcheckTest, OutputsThatRequireNoGradientMustNotDependOnTheInput) {
  const GradcheckFunction detached = [](T in) -> Tensors { return {in[0].detach() * 2}; };
  EXPECT_FALSE(gradcheck(detached, {variable({2})}));
  EXPECT_FALSE(gradcheck(detached, {variable({2})}, kFast));
  EXPECT_TRUE(gradcheck(ones_of, {variable({2})}));
  const GradcheckFunction one_of_two = [](T in) -> Tensors { return {in[0] * 2, in[0].detach() * 2}; };
  const GradcheckResult result = gradcheck(one_of_two, {variable({2})});
  EXPECT_TRUE(result) << "a warning only, as in Python";
  EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("output 1 requires no gradient")));
}

TEST_F(GradcheckTest, AFunctionThatChangesItsInputFails) {
  const GradcheckFunction in_place = [](T in) -> Tensors {
    in[1].add_(1);
    return {in[0] * 2};
  };
  const Tensor y = at::zeros({2}, at::kDouble);
  expect_failure(gradcheck(in_place, {variable({2}), y}), "changed input 1 in place");
  EXPECT_TRUE(y.eq(0).all().item<bool>()) << "it is restored";
}

TEST_F(GradcheckTest, OutputsThatChangeShapeFail) {
  int calls = 0;
  const GradcheckFunction growing = [&](T in) -> Tensors { return {in[0].sin().expand({++calls, 2})}; };
  expect_failure(gradcheck(growing, {variable({2})}), "output 0 was [1, 2]");
}

TEST_F(GradcheckTest, SecondDerivativesOfRightFunctionsPass) {
  const GradcheckFunction smooth = [](T in) -> Tensors { return {in[0].pow(3) * in[1].exp(), in[0].sin()}; };
  const Tensors inputs = {variable({2, 3}), variable({3})};
  const GradcheckResult result = gradgradcheck(smooth, inputs);
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_EQ(result.check, GradcheckResult::Check::gradgradcheck);
  EXPECT_EQ(result.comparisons.size(), 2u * 4u) << "two gradients by two inputs and two upstream gradients";
  EXPECT_TRUE(gradgradcheck(smooth, inputs, {variable({2, 3}), variable({2, 3})}));
  EXPECT_TRUE(gradgradcheck(smooth, inputs, {}, kFast));
  EXPECT_TRUE(gradgradcheck(product_of, {variable({2, 3}), variable({3, 2})}));
  EXPECT_TRUE(gradgradcheck(square_of, {complex_variable({2})}));
}

TEST_F(GradcheckTest, AWrongSecondDerivativeFailsAlthoughTheFirstIsRight) {
  const auto detached =
      with_gradient(square_of, [](const Tensor& x, const Tensor& g) { return 2 * x.detach() * g; });
  EXPECT_TRUE(gradcheck(detached, {variable({3})}));
  const GradcheckResult result = gradgradcheck(detached, {variable({3})});
  EXPECT_FALSE(result);
  EXPECT_EQ(result.comparisons[0].cause, Cause::not_filled);
  EXPECT_TRUE(result.comparisons[1].passed) << "the derivative by the upstream gradient is right";
}

TEST_F(GradcheckTest, SecondDerivativesOfInvalidFunctionsFail) {
  const GradcheckFunction broken = [](T) -> Tensors { throw std::runtime_error("broken"); };
  EXPECT_FALSE(gradgradcheck(ones_of, {variable({2})}));
  EXPECT_FALSE(gradgradcheck(sin_of, {constant({2})}));
  expect_failure(gradgradcheck(sin_of, {variable({2})}, {variable({2}), variable({2})}),
                 "one grad_output for each of the 1 outputs");
  expect_failure(gradgradcheck(broken, {variable({2})}), "broken");
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
