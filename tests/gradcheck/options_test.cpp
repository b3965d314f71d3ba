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
}

TEST_F(GradcheckOptionsTest, TolerancesAreApplied) {
  const auto slightly_wrong = with_gradient([](T in) -> Tensors { return {in[0] * 1.0}; },
                                            [](const Tensor&, const Tensor& g) { return g * (1 + 5e-4); });
  EXPECT_TRUE(gradcheck(slightly_wrong, {variable({2})}));
  EXPECT_FALSE(gradcheck(slightly_wrong, {variable({2})}, {.rtol = 1e-4}));
  EXPECT_TRUE(gradcheck(slightly_wrong, {variable({2})}, {.atol = 1e-3, .rtol = 0}));
}

TEST_F(GradcheckOptionsTest, KinksFailByDefaultAndAreNamed) {
  const GradcheckResult result = gradcheck(relu_of, {variable_of({-1, 0, 2, 0})});
  EXPECT_FALSE(result) << "as in Python: 0 instead of 0.5";
  const GradcheckComparison& comparison = only_comparison(result);
  EXPECT_EQ(comparison.cause, Cause::kink);
  EXPECT_EQ(comparison.kinks, 2);
  EXPECT_EQ(comparison.bad, 2);
  EXPECT_TRUE(comparison.bad_entries[0].kink);
  EXPECT_THAT(result.to_string(), HasSubstr("kink"));
}

TEST_F(GradcheckOptionsTest, KinksAreExcusedOnlyForSlopesBetweenTheOneSidedOnes) {
  const Tensor x = variable_of({-1, 0, 3e-7, 2});
  const GradcheckResult excused = gradcheck(relu_of, {x}, kReportKinks);
  EXPECT_TRUE(excused) << excused.to_string();
  EXPECT_EQ(only_comparison(excused).kinks, 2) << "at 0 and within one step of it";
  EXPECT_THAT(only_comparison(excused).explanation, HasSubstr("excused at 2"));
  EXPECT_TRUE(gradcheck(relu_of, {x}, {.mode = GradcheckMode::fast, .kinks = GradcheckKinks::report}));
  const auto steep = with_gradient(relu_of, [](const Tensor& in, const Tensor& g) {
    return g * at::where(in == 0, at::full_like(in, 7), (in > 0).to(at::kDouble));
  });
  const GradcheckResult not_between = gradcheck(steep, {x}, kReportKinks);
  EXPECT_FALSE(not_between);
  EXPECT_EQ(only_comparison(not_between).bad, 1);
  EXPECT_THAT(only_comparison(not_between).explanation, HasSubstr("not even between"));
}

TEST_F(GradcheckOptionsTest, ExcusingKinksDoesNotExcuseAWrongGradientElsewhere) {
  const auto wrong =
      with_gradient(relu_of, [](const Tensor& x, const Tensor& g) { return -g * (x > 0).to(at::kDouble); });
  const GradcheckResult result = gradcheck(wrong, {variable_of({-1, 0, 1, 2})}, kReportKinks);
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).bad, 2);
}

TEST_F(GradcheckOptionsTest, AStronglyCurvedFunctionIsNotAKink) {
  const auto curved = with_gradient([](T in) -> Tensors { return {1e6 * in[0].pow(2)}; },
                                    [](const Tensor& x, const Tensor& g) { return g * (2e6 * x + 1); });
  const GradcheckResult result =
      gradcheck(curved, {variable_of({1e-3})}, {.rtol = 1e-5, .kinks = GradcheckKinks::report});
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).kinks, 0);
}

TEST_F(GradcheckOptionsTest, AJumpIsNotAKink) {
  const auto step = with_gradient([](T in) -> Tensors { return {(in[0] >= 0).to(at::kDouble)}; },
                                  [](const Tensor&, const Tensor& g) { return g * 0; });
  const GradcheckResult result = gradcheck(step, {variable_of({0})}, kReportKinks);
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).cause, Cause::discontinuity);
}

TEST_F(GradcheckOptionsTest, Float32IsCheckedInFloat64) {
  const Tensor x = at::randn({4, 5}).requires_grad_();
  const Tensor w = at::randn({5, 3}).requires_grad_();
  const GradcheckFunction right = [](T in) -> Tensors { return {in[0].matmul(in[1]).tanh()}; };
  const GradcheckResult result = gradcheck(right, {x, w});
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_THAT(result.warnings,
              Contains(HasSubstr("input 0 is Float: numerical gradients are computed on a float64 copy")));
  EXPECT_FALSE(gradcheck(right, {x, w}, {.numerical_in_float64 = false})) << "as in Python";
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

TEST_F(GradcheckOptionsTest, Complex64IsCheckedInComplex128) {
  EXPECT_GRADIENTS_MATCH(square_of, {at::randn({3}, at::kComplexFloat).requires_grad_()});
}

TEST_F(GradcheckOptionsTest, ValuesAreComparedWithAReference) {
  const GradcheckFunction softplus = [](T in) -> Tensors { return {in[0].exp().log1p()}; };
  const Tensors x = {variable({3})};
  EXPECT_TRUE(gradcheck(softplus, x, {.reference = [](T in) -> Tensors { return {at::softplus(in[0])}; }}));
  const GradcheckResult result = gradcheck(softplus, x, {.reference = relu_of});
  EXPECT_FALSE(result);
  EXPECT_EQ(result.comparisons[0].kind, GradcheckComparison::Kind::value);
  EXPECT_FALSE(result.comparisons[0].passed);
  EXPECT_EQ(result.comparisons[0].bad, 3);
  EXPECT_TRUE(result.comparisons[1].passed) << "the gradient of the wrong value is right";
  expect_failure(gradcheck(softplus, x, {.reference = [](T) -> Tensors { return {}; }}),
                 "the reference returned 0 tensors, the function 1");
  expect_failure(gradcheck(softplus, x, {.reference = sum_of}),
                 "the reference's output 0 is [] Double, the function's is [3] Double");
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

TEST_F(GradcheckOptionsTest, LazilyConjugatedValuesAreComparedWithAReference) {
  const Tensor z = at::randn({3}, at::kComplexDouble).requires_grad_();
  const GradcheckFunction conjugate = [](T in) -> Tensors { return {in[0].conj()}; };
  const GradcheckFunction by_parts = [](T in) -> Tensors {
    return {at::complex(at::real(in[0]), -at::imag(in[0]))};
  };
  EXPECT_TRUE(gradcheck(conjugate, {z}, {.reference = by_parts}));
  EXPECT_FALSE(gradcheck(conjugate, {z}, {.reference = identity}));
}

TEST_F(GradcheckOptionsTest, IndependentRowsArePerturbedTogether) {
  const Tensors inputs = {variable({6, 4}), variable({4, 3})};
  int calls = 0;
  const GradcheckFunction layer = [&](T in) -> Tensors {
    ++calls;
    return {in[0].matmul(in[1]).softmax(1), in[0].sum(1)};
  };
  EXPECT_TRUE(gradcheck(layer, inputs));
  const int one_by_one = std::exchange(calls, 0);
  const GradcheckResult result = gradcheck(layer, inputs, kBatched);
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_LT(calls, one_by_one);
}

TEST_F(GradcheckOptionsTest, AWrongGradientIsFoundWhenRowsArePerturbedTogether) {
  const auto leaks_between_rows =
      with_gradient(exp_of, [](const Tensor& x, const Tensor& g) { return g * x.exp() + 0.1 * g.flip(0); });
  EXPECT_FALSE(gradcheck(leaks_between_rows, {variable({4, 3})}, kBatched));
}

TEST_F(GradcheckOptionsTest, DependentRowsFail) {
  const Tensors x = {variable({5, 3})};
  const GradcheckFunction centred = [](T in) -> Tensors { return {in[0] - in[0].mean(0, true)}; };
  const GradcheckFunction neighbours = [](T in) -> Tensors { return {in[0] * in[0].roll(1, 0)}; };
  for (const GradcheckFunction& function : {centred, neighbours}) {
    EXPECT_TRUE(gradcheck(function, x));
    expect_failure(gradcheck(function, x, kBatched), "the rows are not independent");
  }
  const GradcheckFunction sum = [](T in) -> Tensors { return {in[0].sum(0)}; };
  expect_failure(gradcheck(sum, x, kBatched), "declared as batched with 5 rows, but output 0 is [3]");
  expect_failure(gradcheck(sum, x, {.batched_inputs = {1}}), "batched_inputs names input 1");
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
