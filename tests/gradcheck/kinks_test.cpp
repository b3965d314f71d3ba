#include <algorithm>
#include <cmath>

#include "functions.h"

// Kinks and jumps, and what they excuse.
namespace twingrad::gradcheck_tests {
namespace {

class GradcheckKinksTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

/// `value`, whose derivative is that of `slope`.
Tensor claiming(const Tensor& value, const Tensor& slope) {
  return value.detach() + (slope - slope.detach());
}

TEST_F(GradcheckKinksTest, EachPartOfAComplexOutputHasItsOwnErrorsAndKinks) {
  struct Case {
    const char* name;
    GradcheckFunction real, imaginary;
    bool real_passes, imaginary_passes;
    std::int64_t real_kinks, imaginary_kinks;
  };
  const GradcheckFunction smooth = sin_of;
  const GradcheckFunction wrong = [](T in) -> Tensors { return {claiming(0.7 * in[0], 0.3 * in[0])}; };
  const Case cases[] = {{"both right", smooth, square_of, true, true, 0, 0},
                        {"real wrong", wrong, smooth, false, true, 0, 0},
                        {"imaginary wrong", smooth, wrong, true, false, 0, 0},
                        {"kink in the real part", relu_of, smooth, true, true, 1, 0},
                        {"kink in the imaginary part", smooth, relu_of, true, true, 0, 1},
                        // The wrong slope is between the slopes of the kink in the other part.
                        {"kink real, imaginary wrong", relu_of, wrong, true, false, 1, 0},
                        {"kink imaginary, real wrong", wrong, relu_of, false, true, 0, 1}};
  const Tensor x = variable_of({-1, 0, 2});
  for (const Case& item : cases) {
    SCOPED_TRACE(item.name);
    const GradcheckFunction complex = [&](T in) -> Tensors {
      return {in[0].exp(), at::complex(item.real(in)[0], item.imaginary(in)[0])};
    };
    const GradcheckFunction two = [&](T in) -> Tensors {
      return {in[0].exp(), item.real(in)[0], item.imaginary(in)[0]};
    };
    for (const GradcheckFunction& function : {complex, two}) {
      const GradcheckResult result = gradcheck(function, {x}, kReportKinks);
      ASSERT_EQ(result.comparisons.size(), 3u);
      EXPECT_EQ(result.passed, item.real_passes && item.imaginary_passes);
      EXPECT_EQ(result.comparisons[1].passed, item.real_passes) << result.to_string();
      EXPECT_EQ(result.comparisons[2].passed, item.imaginary_passes) << result.to_string();
      EXPECT_EQ(result.comparisons[1].kinks, item.real_kinks);
      EXPECT_EQ(result.comparisons[2].kinks, item.imaginary_kinks);
      GradcheckOptions fast = kReportKinks;
      fast.mode = GradcheckMode::fast;
      EXPECT_EQ(gradcheck(function, {x}, fast).passed, result.passed);
    }
  }
}

TEST_F(GradcheckKinksTest, AKinkExcusesOnlyItsOwnPairInFastMode) {
  // The backward of the first output is right for one-hot upstream gradients only.
  const auto one_hot_only = with_gradient(sin_of, [](const Tensor& x, const Tensor& g) {
    return g.count_nonzero().item<std::int64_t>() == 1 ? g * x.cos() : g * 0;
  });
  const GradcheckFunction function = [&](T in) -> Tensors { return {one_hot_only(in)[0], in[0].relu()}; };
  const GradcheckResult result = gradcheck(function, {variable_of({-1, 0, 2})},
                                           {.mode = GradcheckMode::fast, .kinks = GradcheckKinks::report});
  expect_failure(result, "fast mode: v^T J u of output 0 by input 0");
}

TEST_F(GradcheckKinksTest, AnySlopeBetweenTheOneSidedOnesIsExcused) {
  const auto kinked = [](double left, double right, double claimed) {
    return with_gradient([=](T in) -> Tensors { return {at::where(in[0] < 0, left * in[0], right * in[0])}; },
                         [=](const Tensor& x, const Tensor& g) {
                           const Tensor slope = at::where(x == 0, at::scalar_tensor(claimed, at::kDouble),
                                                          choose(x < 0, left, right));
                           return at::where(g == 0, g, g * slope);
                         });
  };
  const Tensors x = {variable_of({-2, 1, 0})};
  for (const auto& [left, right] : {std::pair{-1.0, 3.0}, {3.0, -1.0}, {-3.0, -2.0}}) {
    const double low = std::min(left, right), high = std::max(left, right);
    const double slack = 1e-5 + 1e-3 * std::max(std::abs(low), std::abs(high));
    for (const double claimed : {low, high, 0.8 * low + 0.2 * high, low - 0.9 * slack, high + 0.9 * slack}) {
      const GradcheckResult result = gradcheck(kinked(left, right, claimed), x, kReportKinks);
      EXPECT_TRUE(result) << result.to_string();
      EXPECT_EQ(only_comparison(result).kinks, 1);
      EXPECT_EQ(only_comparison(result).cause, Cause::kink);
      EXPECT_EQ(only_comparison(result).explanation, "kink: excused at 1 entries");
      EXPECT_FALSE(gradcheck(kinked(left, right, claimed), x));
    }
    for (const double claimed : {low - 1.1 * slack, high + 1.1 * slack, double{NAN}, double{INFINITY}}) {
      const GradcheckResult result = gradcheck(kinked(left, right, claimed), x, kReportKinks);
      EXPECT_FALSE(result) << result.to_string();
      EXPECT_EQ(only_comparison(result).bad, 1);
      EXPECT_THAT(only_comparison(result).bad_entries[0].input_index, ElementsAre(2));
    }
  }
}

TEST_F(GradcheckKinksTest, ExcusingKinksDoesNotExcuseAWrongGradientElsewhere) {
  const auto wrong =
      with_gradient(relu_of, [](const Tensor& x, const Tensor& g) { return -g * (x > 0).to(at::kDouble); });
  const GradcheckResult result = gradcheck(wrong, {variable_of({-1, 0, 1, 2})}, kReportKinks);
  EXPECT_FALSE(result);
  EXPECT_EQ(only_comparison(result).bad, 2);
}

struct Point {
  const char* name;
  GradcheckFunction function;  // of one number, at 0
  Cause cause;
  const char* explanation;
};

TEST_F(GradcheckKinksTest, KinksJumpsAndSmoothFunctionsAreToldApart) {
  const auto wrong = [](const GradcheckFunction& function, double slope) {
    return with_gradient(function, [slope](const Tensor&, const Tensor& g) { return g * slope; });
  };
  const GradcheckFunction curved = [](T in) -> Tensors { return {1e4 * in[0].pow(2) + in[0]}; };
  const GradcheckFunction step = [](T in) -> Tensors { return {choose(in[0] >= 0, 1, 0)}; };
  const GradcheckFunction small_step = [](T in) -> Tensors { return {in[0] + choose(in[0] > 0, 1e-7, 0)}; };
  const GradcheckFunction near_kink = [](T in) -> Tensors { return {(in[0] - 3e-7).relu()}; };
  const GradcheckFunction near_step = [](T in) -> Tensors { return {in[0] + choose(in[0] > 5e-7, 1e-7, 0)}; };
  const GradcheckFunction root = [](T in) -> Tensors { return {in[0].abs().sqrt()}; };
  const Point points[] = {
      {"right slope is steep", wrong(relu_of, 7), Cause::kink, "analytical is not even between"},
      {"subgradient", wrong(relu_of, 0.25), Cause::kink, "slopes differ; analytical is between"},
      {"near a kink", wrong(near_kink, 0), Cause::kink, "analytical is between"},
      {"near a jump", wrong(near_step, 1), Cause::kink, "analytical is between"},
      {"wrong, curved", wrong(curved, 3), Cause::unknown, "no known pattern"},
      {"wrong, smooth", wrong(sin_of, 3), Cause::unknown, "no known pattern"},
      {"step", wrong(step, 0), Cause::discontinuity, "discontinuity: the function jumps here"},
      {"small step", wrong(small_step, 1), Cause::discontinuity, "discontinuity"},
      // The one-sided slopes ±1/√h grow by √10 as the step shrinks: no jump.
      {"vertical tangent", wrong(root, 1), Cause::kink, "analytical is between"},
  };
  for (const Point& point : points) {
    SCOPED_TRACE(point.name);
    const GradcheckResult result = gradcheck(point.function, {variable_of({0})});
    EXPECT_FALSE(result);
    EXPECT_STREQ(to_string(only_comparison(result).cause), to_string(point.cause)) << result.to_string();
    EXPECT_THAT(only_comparison(result).explanation, HasSubstr(point.explanation));
    const bool kink = point.cause == Cause::kink;
    EXPECT_EQ(only_comparison(result).kinks, kink ? 1 : 0);
    EXPECT_EQ(only_comparison(result).bad_entries[0].kink, kink);
    EXPECT_EQ(gradcheck(point.function, {variable_of({0})}, kReportKinks).passed,
              std::string(point.explanation).find("is between") != std::string::npos);
  }
}

TEST_F(GradcheckKinksTest, AllSlopesMustBeBetweenTheOneSidedOnes) {
  const auto explanation = [](double at_first_kink, double at_second_kink) {
    const Tensor claimed = at::tensor({at_first_kink, 1.0, at_second_kink}, at::kDouble);
    const auto planted = with_gradient(relu_of, [=](const Tensor&, const Tensor& g) { return g * claimed; });
    return only_comparison(gradcheck(planted, {variable_of({0, 1, 0})})).explanation;
  };
  EXPECT_THAT(explanation(0, 1), HasSubstr("analytical is between them"));
  EXPECT_THAT(explanation(7, 1), HasSubstr("analytical is not even between them"));
  EXPECT_THAT(explanation(0, -7), HasSubstr("analytical is not even between them"));
}

TEST_F(GradcheckKinksTest, TheCauseComesFromTheEntriesThatAreNoKinks) {
  const auto doubled =
      with_gradient([](T in) -> Tensors { return {in[0].relu() + in[0]}; },
                    [](const Tensor& x, const Tensor& g) { return 2 * g * (1 + (x > 0).to(at::kDouble)); });
  for (const GradcheckOptions& options : {GradcheckOptions{}, kReportKinks}) {
    const GradcheckResult result = gradcheck(doubled, {variable_of({-1, 0, 1, 2})}, options);
    EXPECT_FALSE(result);
    const GradcheckComparison& comparison = only_comparison(result);
    EXPECT_EQ(comparison.kinks, 1);
    EXPECT_EQ(comparison.bad, options.kinks == GradcheckKinks::report ? 3 : 4);
    EXPECT_EQ(comparison.cause, Cause::factor) << result.to_string();
    EXPECT_THAT(comparison.explanation, HasSubstr("at every bad entry"));
    for (const GradcheckEntry& entry : comparison.bad_entries) {
      const bool at_kink = entry.input_index[0] == 1;
      EXPECT_EQ(entry.kink, at_kink);
      EXPECT_FALSE(at_kink && options.kinks == GradcheckKinks::report) << "it is excused";
    }
  }
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
