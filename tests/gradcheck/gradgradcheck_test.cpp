#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "functions.h"

namespace twingrad::gradcheck_tests {
namespace {

class GradgradcheckTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

TEST_F(GradgradcheckTest, SecondDerivativesOfRightFunctionsPass) {
  const GradcheckFunction smooth = [](T in) -> Tensors { return {in[0].pow(3) * in[1].exp(), in[0].sin()}; };
  const Tensors inputs = {variable({2, 3}), variable({3})};
  const GradcheckResult result = gradgradcheck(smooth, inputs);
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_EQ(result.check, GradcheckResult::Check::gradgradcheck);
  EXPECT_EQ(result.comparisons.size(), 2u * 4u) << "two gradients by two inputs and two upstream gradients";
  EXPECT_TRUE(gradgradcheck(smooth, inputs, {variable({2, 3}), variable({2, 3})}));
  EXPECT_TRUE(gradgradcheck(smooth, inputs, {}, kFast));
  EXPECT_TRUE(gradgradcheck(product_of, {variable({2, 3}), variable({3, 2})}));
  EXPECT_TRUE(gradgradcheck(square_of, {at::randn({2}, at::kComplexDouble).requires_grad_()}));
}

TEST_F(GradgradcheckTest, AWrongSecondDerivativeFailsAlthoughTheFirstIsRight) {
  for (const bool by_input : {true, false}) {  // the derivative that is lost
    const auto detached = with_gradient(square_of, [=](const Tensor& x, const Tensor& g) {
      return by_input ? 2 * x.detach() * g : 2 * x * g.detach();
    });
    EXPECT_TRUE(gradcheck(detached, {variable({3})}));
    const GradcheckResult result = gradgradcheck(detached, {variable({3})});
    EXPECT_FALSE(result);
    ASSERT_EQ(result.comparisons.size(), 2u);
    EXPECT_EQ(result.comparisons[by_input ? 0 : 1].cause, Cause::not_filled);
    EXPECT_TRUE(result.comparisons[by_input ? 1 : 0].passed) << result.to_string();
  }
}

/// a ⊙ b with the gradients (g b, factor g a). They can be differentiated, but for a factor other than 1 they
/// are not the gradients of any function.
class ScaledProduct : public torch::autograd::Function<ScaledProduct> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& a, const Tensor& b,
                        double factor) {
    context->save_for_backward({a, b});
    context->saved_data["factor"] = factor;
    return a * b;
  }
  static Tensors backward(torch::autograd::AutogradContext* context, Tensors g) {
    const Tensors saved = context->get_saved_variables();
    return {g[0] * saved[1].conj(), g[0] * saved[0].conj() * context->saved_data["factor"].toDouble(),
            Tensor()};
  }
};

TEST_F(GradgradcheckTest, SecondDerivativesDoNotDependOnTheirOrder) {
  const Tensors inputs = {variable({2}), variable({2, 3}), variable({2, 3})};
  const auto product = [](double factor) -> GradcheckFunction {
    return [factor](T in) -> Tensors {
      return {in[0].sum() * 3, ScaledProduct::apply(in[1], in[2], factor)};
    };
  };
  EXPECT_TRUE(gradgradcheck(product(1), inputs)) << "input 0 has no second derivative";
  const GradcheckOptions off = {.check_symmetry = false};
  for (const double factor : {2.0, -1.0, 0.5, 1.00001}) {
    for (const GradcheckMode mode : {GradcheckMode::full, GradcheckMode::fast}) {
      const GradcheckResult result = gradgradcheck(product(factor), inputs, {}, {.mode = mode});
      expect_failure(result,
                     "second derivatives depend on their order: along input 1 and then input 2 it is ");
      EXPECT_THAT(result.failures, ElementsAre(HasSubstr("is not the gradient of any function")));
    }
    EXPECT_TRUE(gradgradcheck(product(factor), inputs, {}, off)) << "the differences see nothing wrong";
  }
  // Complex numbers, of the inputs or only of the output.
  const Tensors complex = {variable({2}), at::randn({2}, at::kComplexDouble).requires_grad_(),
                           at::randn({2}, at::kComplexDouble).requires_grad_()};
  EXPECT_TRUE(gradgradcheck(product(1), complex));
  expect_failure(gradgradcheck(product(2), complex), "along input 1 and then input 2");
  const GradcheckFunction mixed = [](T in) -> Tensors {
    return {at::complex(ScaledProduct::apply(in[0], in[1], 3), in[0].sin())};
  };
  expect_failure(gradgradcheck(mixed, {variable({2}), variable({2})}), "along input 0 and then input 1");
  // Second derivatives that are 0 but for rounding: b cancels.
  const GradcheckFunction shifted = [](T in) -> Tensors {
    const Tensor y = in[0] + in[1], centered = y - y.mean(1, true);
    return {centered / (centered.square().mean(1, true) + 0.1).sqrt()};
  };
  const auto floats = [](at::IntArrayRef shape) { return at::randn(shape, at::kFloat).requires_grad_(); };
  GradcheckOptions fast = without_contract(kFast);
  fast.check_symmetry = true;
  const Tensors shifts = {floats({8, 16}), floats({8, 1})};
  const GradcheckResult shift = gradgradcheck(shifted, shifts, {}, fast);
  EXPECT_TRUE(shift) << shift.to_string();
  // Within one input.
  const auto rolled =
      with_gradient(square_of, [](const Tensor& x, const Tensor& g) { return g * x.roll(1, 0); });
  expect_failure(gradgradcheck(rolled, {variable({3})}), "along input 0 and then input 0");
  EXPECT_TRUE(gradgradcheck(rolled, {variable({3})}, {}, off));
}

TEST_F(GradgradcheckTest, SecondDerivativesAreNamedAfterInputsAndOutputs) {
  // Input 0 is unused, input 1 requires no gradient; output 1 requires none.
  const GradcheckFunction function = [](T in) -> Tensors {
    return {(in[1] * in[2]).sin(), in[1] * 2, in[2].exp() + in[3] * 0};
  };
  const Tensors inputs = {variable({2}), constant({2}), variable({2}), variable({2})};
  const GradcheckResult result =
      gradgradcheck(function, inputs, {},
                    {.reference = sum_of, .input_names = {"unused", "data", "x"}, .output_names = {"y"}});
  EXPECT_TRUE(result) << result.to_string();
  std::vector<std::string> pairs;
  for (const GradcheckComparison& comparison : result.comparisons) {
    EXPECT_EQ(comparison.kind, GradcheckComparison::Kind::jacobian) << "the reference is for the forward";
    if (comparison.explanation.empty()) {
      pairs.push_back(comparison.output_name + " by " + comparison.input_name);
    }
  }
  EXPECT_THAT(pairs, ElementsAre("gradient of x by x", "gradient of x by upstream gradient of y",
                                 "gradient of x by upstream gradient of output 2"));
}

TEST_F(GradgradcheckTest, UpstreamGradientsAreThoseGivenOrRandom) {
  const Tensor x = variable({50});
  const auto derivatives = [&](const Tensors& grad_outputs, std::uint64_t seed) {
    // The second derivative of Σ g x²/2 by x is g.
    const GradcheckFunction half_square = [](T in) -> Tensors {
      return {in[0].pow(2) / 2, at::ones({1}), {}};
    };
    GradcheckOptions options = {.atol = 0, .rtol = 0, .seed = seed};  // so that all entries are listed
    const GradcheckResult result = gradgradcheck(half_square, {x}, grad_outputs, options);
    const bool given_constant = !grad_outputs.empty() && !grad_outputs[0].requires_grad();
    EXPECT_EQ(result.comparisons.size(), given_constant ? 1u : 2u);
    Tensor values = at::zeros({50}, at::kDouble);
    for (const GradcheckEntry& entry : result.comparisons.at(0).bad_entries) {
      values[entry.input_index[0]] = entry.analytical.real();
    }
    return values;
  };
  const Tensor seeded = derivatives({}, 0);
  EXPECT_TRUE(seeded.equal(derivatives({}, 0)));
  EXPECT_FALSE(seeded.allclose(derivatives({}, 1), 0.1, 0.1));
  EXPECT_LE(seeded.abs().max().item<double>(), 1);
  EXPECT_LE(seeded.min().item<double>(), -0.5);
  EXPECT_GE(seeded.max().item<double>(), 0.5);
  const Tensor given = constant({50});
  EXPECT_TRUE(derivatives({given}, 0).allclose(given, 1e-3, 1e-9));
  // For a complex output, both parts are random: |∂²L/∂z²| = |g| for L = Σ g z²/2.
  const GradcheckFunction half_square = [](T in) -> Tensors { return {in[0].pow(2) / 2}; };
  const Tensor z = at::randn({9}, at::kComplexDouble).requires_grad_();
  const GradcheckResult complex = gradgradcheck(half_square, {z}, {}, {.atol = 0, .rtol = 0});
  double real = 0, imaginary = 0;
  for (const GradcheckEntry& entry : complex.comparisons.at(0).bad_entries) {
    real = std::max(real, std::abs(entry.analytical.real()));
    imaginary = std::max(imaginary, std::abs(entry.analytical.imag()));
  }
  EXPECT_GE(std::min(real, imaginary), 0.5);
  EXPECT_LE(std::max(real, imaginary), 1);
  EXPECT_TRUE(gradgradcheck(square_of, {at::randn({3}).requires_grad_()})) << "float32";
  EXPECT_TRUE(gradgradcheck(square_of, {at::randn({3}, at::kComplexFloat).requires_grad_()}));
}

TEST_F(GradgradcheckTest, SecondDerivativesOfInvalidFunctionsFail) {
  const GradcheckFunction broken = [](T) -> Tensors { throw std::runtime_error("broken"); };
  expect_failure(gradgradcheck(sin_of, {constant({2})}), "no output requires a gradient");
  expect_failure(gradgradcheck(sin_of, {variable({2})}, {variable({2}), variable({2})}),
                 "expected one grad_output for each of the 1 outputs");
  expect_failure(gradgradcheck(broken, {variable({2})}), "the forward threw: broken");
  expect_failure(gradgradcheck(ones_of, {variable({2})}), "no output requires a gradient");
  const GradcheckFunction none = [](T) -> Tensors { return {}; };
  expect_failure(gradgradcheck(none, {variable({2})}, {variable({2})}), "nothing was compared");
  expect_failure(gradgradcheck(sin_of, {variable({2})}, {}, {.eps = -1}), "eps");
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
