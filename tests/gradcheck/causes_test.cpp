#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "functions.h"

// The cause that the result names for a wrong Jacobian, above all where two causes are near each other.
namespace twingrad::gradcheck_tests {
namespace {

struct WrongJacobian {
  const char* name;
  Cause cause;
  std::string explanation;
  Tensor right, claimed;  // [M, N]
  std::vector<std::int64_t> x_shape, y_shape;
  double factor = 1;
  at::ScalarType x_dtype = at::kDouble;  // complex: the columns are real and imaginary parts in turn
};

GradcheckResult check(const WrongJacobian& wrong) {
  const GradcheckFunction forward = [&](T in) -> Tensors {
    const Tensor x = in[0].is_complex() ? at::view_as_real(in[0]) : in[0];
    return {wrong.right.matmul(x.reshape({-1})).view(wrong.y_shape)};
  };
  const GradcheckBackward backward = [&](T in, T, T g) -> Tensors {
    const Tensor gradient = wrong.claimed.t().matmul(g[0].reshape({-1}));
    return {in[0].is_complex() ? at::view_as_complex(gradient.view({-1, 2})).view(wrong.x_shape)
                               : gradient.view(wrong.x_shape)};
  };
  return check_backward(forward, backward, {at::randn(wrong.x_shape, wrong.x_dtype)},
                        {.input_names = {"x"}, .output_names = {"y"}});
}

void expect_causes(const std::vector<WrongJacobian>& wrongs) {
  for (const WrongJacobian& wrong : wrongs) {
    SCOPED_TRACE(wrong.name);
    const GradcheckResult result = check(wrong);
    EXPECT_FALSE(result);
    EXPECT_THAT(result.failures, ::testing::IsEmpty());
    const GradcheckComparison& comparison = only_comparison(result);
    EXPECT_STREQ(to_string(comparison.cause), to_string(wrong.cause)) << result.to_string();
    EXPECT_EQ(comparison.explanation, wrong.explanation);
    EXPECT_NEAR(comparison.factor, wrong.factor, 1e-6);
  }
}

class GradcheckCausesTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(7); }
};

/// A copy with these rows multiplied by a factor.
Tensor scaled_rows(const Tensor& matrix, std::initializer_list<std::int64_t> rows, double factor) {
  Tensor copy = matrix.clone();
  for (const std::int64_t row : rows) {
    copy[row].mul_(factor);
  }
  return copy;
}

Tensor scaled_columns(const Tensor& matrix, std::initializer_list<std::int64_t> columns, double factor) {
  return scaled_rows(matrix.t(), columns, factor).t();
}

TEST_F(GradcheckCausesTest, SignsAndFactors) {
  const Tensor j = constant({5, 4}), j6 = constant({5, 6}), j1 = constant({1, 1});
  const Tensor j106 = constant({10, 6}), j21 = constant({2, 1});
  Tensor one_doubled = j.clone();
  one_doubled[1][2].mul_(2);
  const std::vector<std::int64_t> x = {4}, y = {5};
  const Cause sign = Cause::sign, factor = Cause::factor;
  expect_causes({
      {"-1", sign, "sign: analytical = -1 x numerical", j, -j, x, y, -1},
      {"almost -1", sign, "sign: analytical = -1 x numerical", j, -1.0015 * j, x, y, -1.0015},
      {"not -1", factor, "factor: analytical = -1.003 x numerical", j, -1.003 * j, x, y, -1.003},
      {"-1 of one number", sign, "sign: analytical = -1 x numerical", j1, -j1, {}, {}, -1},
      {"2", factor, "factor 2: analytical = 2 x numerical; a forgotten 1/2", j, 2 * j, x, y, 2},
      {"2 of one number",
       factor,
       "factor 2: analytical = 2 x numerical; a forgotten 1/2",
       j1,
       2 * j1,
       {},
       {},
       2},
      {"2 = a size",
       factor,
       "factor 2: analytical = 2 x numerical; a forgotten 1/2, or 1/x.size(0)",
       j6,
       2 * j6,
       {2, 3},
       y,
       2},
      {"1/2", factor, "factor 1/2: analytical = 0.5 x numerical; a forgotten 2, or one of two equal terms", j,
       j / 2, x, y, 0.5},
      {"2 = a size of both",
       factor,
       "factor 1/2: analytical = 0.5 x numerical; a forgotten 2, or one of two "
       "equal terms, or a second 1/y.size(1)",
       j106,
       j106 / 2,
       {2, 3},
       {5, 2},
       0.5},
      {"-2", factor, "factor: analytical = -2 x numerical", j, -2 * j, x, y, -2},
      {"another", factor, "factor: analytical = 3.7 x numerical", j, 3.7 * j, x, y, 3.7},
      {"almost 1", factor, "factor: analytical = 1.01 x numerical", j, 1.01 * j, x, y, 1.01},
      {"another of one number", Cause::unknown, "no known pattern", j1, 3.7 * j1, {}, {}},
      {"of one number in one dimension", Cause::unknown, "no known pattern", j1, 3.7 * j1, {1}, {1}},
      {"of two numbers", factor, "factor: analytical = 3.7 x numerical", j21, 3.7 * j21, {1}, {2}, 3.7},
      {"2 at some entries", factor,
       "factor 2: analytical = 2 x numerical at every bad entry; a forgotten 1/2", j,
       scaled_rows(j, {1, 3}, 2), x, y, 2},
      {"-1 at some entries", sign, "sign: analytical = -1 x numerical at every bad entry", j,
       scaled_columns(j, {2}, -1), x, y, -1},
      {"2 at one entry", Cause::unknown, "no known pattern", j, one_doubled, x, y},
      {"two factors", Cause::unknown, "no known pattern", j, scaled_rows(scaled_rows(j, {1}, 2), {3}, 3), x,
       y},
      {"noise", Cause::unknown, "no known pattern", j, constant({5, 4}), x, y},
  });
}

TEST_F(GradcheckCausesTest, FactorsThatAreSizes) {
  const Tensor j = constant({5, 4}), j12 = constant({5, 12}), j55 = constant({5, 5});
  const std::vector<std::int64_t> x = {4}, y = {5}, matrix = {3, 4};
  const auto multiple = [](double factor, const char* text, const char* size, const Tensor& right,
                           auto& x_shape) {
    const bool missing = factor > 1;
    return WrongJacobian{
        size,
        missing ? Cause::missing_mean : Cause::extra_mean,
        c10::str(missing ? "missing" : "extra", " 1/N: analytical = ", text, " x numerical, N = ", size,
                 missing ? "; a sum instead of a mean" : "; a mean instead of a sum"),
        right,
        factor * right,
        x_shape,
        {5},
        factor};
  };
  expect_causes({
      multiple(4, "4", "x.size(0)", j, x),
      multiple(4.007, "4.007", "x.size(0)", j, x),
      multiple(5, "5", "y.size(0)", j, x),
      multiple(5, "5", "y.size(0)", j55, y),
      multiple(3, "3", "x.size(0)", j12, matrix),
      multiple(4, "4", "x.size(1)", j12, matrix),
      multiple(12, "12", "x.numel()", j12, matrix),
      multiple(0.25, "0.25", "x.size(0)", j, x),
      multiple(0.2, "0.2", "y.size(0)", j55, y),
      multiple(1.0 / 12, "0.08333", "x.numel()", j12, matrix),
      {"not quite a size", Cause::factor, "factor: analytical = 4.02 x numerical", j, 4.02 * j, x, y, 4.02},
      {"a negative size", Cause::factor, "factor: analytical = -4 x numerical", j, -4 * j, x, y, -4},
      {"all of x and y", Cause::factor, "factor: analytical = 20 x numerical", j, 20 * j, x, y, 20},
  });
}

TEST_F(GradcheckCausesTest, TransposedAndConjugated) {
  const Tensor j = constant({3, 3}), j6 = constant({5, 6}), antisymmetric = j - j.t(), small = 1e-4 * j;
  Tensor almost = j.t().clone();
  almost[0][1] += 1e-3 + 2e-3 * almost[0][1].abs();  // small against the largest entry only
  Tensor with_zero = small.clone();
  with_zero[1][0] = 0;
  const auto with_zero_off_by = [&](double part) {  // of the largest entry
    Tensor transposed = with_zero.t().clone();
    transposed[0][1] = part * with_zero.abs().max();
    return transposed;
  };
  const Tensor by_rows = j6.view({5, 2, 3}).transpose(1, 2).reshape({5, 6});
  const Tensor j66 = constant({6, 6}), j24 = constant({4, 24});
  const Tensor last_two = j24.view({4, 2, 3, 4}).transpose(2, 3).reshape({4, 24});
  const Tensor first_two = j24.view({4, 2, 3, 4}).transpose(1, 2).reshape({4, 24});
  const char* const of_x = "transposed: analytical is the transpose of the right gradient";
  const char* const of_j =
      "transposed: analytical is J instead of J^T times the upstream gradient; was a matrix not "
      "transposed in the backward?";
  const char* const no = "no known pattern";
  const Tensor z = constant({3, 4}), conjugated = scaled_columns(z, {1, 3}, -1);
  const Tensor imaginary = scaled_columns(z, {0, 2}, 0), real = scaled_columns(z, {1, 3}, 0);
  const Tensor rotated = at::stack({-z.slice(1, 1, 4, 2), z.slice(1, 0, 4, 2)}, 2).view({3, 4});  // i z
  const at::ScalarType complex = at::kComplexDouble;
  const char* const conjugate = "conjugated: analytical is the complex conjugate of the gradient";
  const char* const sign = "sign: analytical = -1 x numerical";
  expect_causes({
      {"J", Cause::transposed, of_j, j, j.t(), {3}, {3}},
      {"J in two dimensions", Cause::transposed, of_j, j66, j66.t(), {2, 3}, {3, 2}},
      {"x", Cause::transposed, of_x, j6, by_rows, {2, 3}, {5}},
      {"the last two of three dimensions", Cause::transposed, of_x, j24, last_two, {2, 3, 4}, {4}},
      {"the first two of three dimensions", Cause::unknown, no, j24, first_two, {2, 3, 4}, {4}},
      {"J, not square", Cause::unknown, no, j6, constant({5, 6}), {6}, {5}},
      {"antisymmetric", Cause::sign, sign, antisymmetric, antisymmetric.t(), {3}, {3}, -1},
      {"transposed and doubled", Cause::unknown, no, j, 2 * j.t(), {3}, {3}},
      {"transposed and negative", Cause::unknown, no, j, -j.t(), {3}, {3}},
      {"almost transposed", Cause::unknown, no, j, almost, {3}, {3}},
      {"small, transposed", Cause::transposed, of_j, small, small.t(), {3}, {3}},
      {"small, transposed with a small error",
       Cause::transposed,
       of_j,
       with_zero,
       with_zero_off_by(8e-4),
       {3},
       {3}},
      {"small, transposed with an error", Cause::unknown, no, with_zero, with_zero_off_by(1.2e-3), {3}, {3}},
      {"small, almost transposed", Cause::unknown, no, small, small.t() * 1.03, {3}, {3}},
      {"conjugated", Cause::conjugated, conjugate, z, conjugated, {2}, {3}, 1, complex},
      {"conjugated and doubled", Cause::unknown, no, z, 2 * conjugated, {2}, {3}, 1, complex},
      {"conjugated, imaginary", Cause::sign, sign, imaginary, -imaginary, {2}, {3}, -1, complex},
      {"sign of a real one", Cause::sign, sign, real, -real, {2}, {3}, -1, complex},
      {"complex sign", Cause::sign, sign, z, -z, {2}, {3}, -1, complex},
      {"times i", Cause::unknown, no, z, rotated, {2}, {3}, 1, complex},
  });
}

TEST_F(GradcheckCausesTest, MissingContributions) {
  const Tensor j = constant({4, 4}), wide = constant({3, 4}), zeros = at::zeros({4, 4}, at::kDouble);
  const Tensor diagonal = j.diag().diag();
  Tensor scattered = j.clone(), one_more = scaled_rows(j, {1}, 0), with_nan = zeros.clone();
  scattered[0][1] = scattered[2][3] = 0;
  one_more[3][3] += 1;
  with_nan[1][2] = NAN;
  const std::vector<std::int64_t> x = {4};
  const char* const at_bad = "not filled: analytical is zero at every bad entry";
  expect_causes({
      {"nothing", Cause::not_filled, "not filled: analytical is zero everywhere", j, zeros, x, x},
      {"columns", Cause::not_filled, "not filled: zero for 2 of 4 input elements", j,
       scaled_columns(j, {1, 3}, 0), x, x},
      {"one column",
       Cause::not_filled,
       "not filled: zero for 1 of 4 input elements",
       wide,
       scaled_columns(wide, {2}, 0),
       x,
       {3}},
      {"rows", Cause::overwritten,
       "overwritten instead of accumulated: right from 1 of 4 output elements, zero from the others", j,
       scaled_rows(j, {0, 1, 3}, 0), x, x},
      {"all but the diagonal", Cause::diagonal_only,
       "diagonal only: d y_i / d x_j is zero for all i != j; was a "
       "sum, mean or maximum treated as a constant?",
       j, diagonal, x, x},
      {"all but the diagonal, not square",
       Cause::not_filled,
       at_bad,
       wide,
       wide * at::eye(3, 4, at::kDouble),
       x,
       {3}},
      {"all but a part of the diagonal", Cause::not_filled, at_bad, j, scaled_rows(diagonal, {1}, 0), x, x},
      {"the diagonal", Cause::not_filled, at_bad, j, j - diagonal, x, x},
      {"wrong on the diagonal, too", Cause::unknown, "no known pattern", j, 2 * diagonal, x, x},
      {"some", Cause::not_filled, at_bad, j, scattered, x, x},
      {"a row and one more", Cause::unknown, "no known pattern", j, one_more, x, x},
  });
  const GradcheckResult result = check({"NaN", Cause::non_finite, "", j, with_nan, x, x});
  EXPECT_EQ(only_comparison(result).explanation, "not finite: analytical at 4, numerical at 0 of 16 entries")
      << "0 · NaN in the product with the upstream gradient";
  EXPECT_EQ(only_comparison(result).cause, Cause::non_finite);
}

TEST_F(GradcheckCausesTest, AnOverwrittenContributionIsRightFromAnotherOutput) {
  // Two outputs, and the gradient of one of them is lost.
  const auto check_losing = [](std::size_t lost, const GradcheckFunction& forward) {
    const GradcheckBackward backward = [=](T in, T, T g) -> Tensors {
      Tensors kept = g;
      kept[lost] = at::zeros_like(g[lost]);
      const at::AutoGradMode grad_mode(true);
      const Tensors x = {in[0].detach().requires_grad_(), in[1].detach().requires_grad_()};
      const Tensors y = forward(x);
      return torch::autograd::grad({(y[0] * kept[0]).sum() + (y[1] * kept[1]).sum()}, x, {}, false, false,
                                   true);
    };
    return check_backward(forward, backward, {constant({3}), constant({3})});
  };
  const GradcheckFunction both = [](T in) -> Tensors { return {in[0].flip(0), in[0].exp() * in[1]}; };
  const GradcheckResult first = check_losing(0, both), second = check_losing(1, both);
  EXPECT_EQ(first.comparisons[0].cause, Cause::overwritten);
  EXPECT_EQ(first.comparisons[0].explanation,
            "overwritten instead of accumulated: zero, but right from output 1");
  EXPECT_EQ(second.comparisons[1].cause, Cause::overwritten) << second.to_string();
  EXPECT_EQ(second.comparisons[3].cause, Cause::not_filled) << "input 1 has no other contribution";
  const GradcheckFunction separate = [](T in) -> Tensors { return {in[0].sin(), in[1].sin()}; };
  EXPECT_EQ(check_losing(0, separate).comparisons[0].cause, Cause::not_filled);
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
