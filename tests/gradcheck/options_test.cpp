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
