#include "twingrad/gradcheck/detail/opinion.h"

#include <cmath>

#include "functions.h"

// Second opinions: the extrapolated derivative, the order of Taylor's remainder, and who is to blame.
namespace twingrad::gradcheck_tests {
namespace {

using Blame = GradcheckOpinion::Blame;
using gradcheck_detail::Sample;
using gradcheck_detail::second_opinion;

constexpr double kRelative = 1e-3;

/// The opinion on a claim about the derivative of y at x.
template <typename Function>
GradcheckOpinion opinion_on(const Function& y, double x, double claim) {
  return second_opinion(
      [&](double h) {
        return Sample{x + h - x, y(x + h)};
      },
      std::abs(x), 1e-6, claim, kRelative);
}

TEST(SecondOpinion, FindsTheDerivativeAtEveryScale) {
  for (const double scale : {1e-6, 1e-3, 1.0, 1e3, 1e6}) {
    for (const double height : {1e-6, 1.0, 1e6}) {
      SCOPED_TRACE(c10::str("scale ", scale, ", height ", height));
      const auto y = [&](double x) { return height * std::exp(x / scale); };
      const double right = height / scale * std::exp(1.0);
      const GradcheckOpinion opinion = opinion_on(y, scale, right);
      EXPECT_NEAR(opinion.derivative / right, 1, 1e-9);
      EXPECT_LE(std::abs(opinion.derivative - right), 10 * opinion.error);
      EXPECT_NEAR(opinion.order, 2, 0.02);
      EXPECT_EQ(opinion.blame, Blame::step);
      for (const double factor : {-1.0, 0.0, 0.99, 1.01, 2.0}) {
        const GradcheckOpinion wrong = opinion_on(y, scale, factor * right);
        EXPECT_EQ(wrong.blame, Blame::gradient) << factor;
        EXPECT_NEAR(wrong.order, 1, 0.2) << factor;
      }
    }
  }
}

TEST(SecondOpinion, IsRarelyWrongAboutRightGradientsAndNeverAboutWrongOnes) {
  at::manual_seed(2);
  const double log_million = std::log(1e6);
  int alarms = 0, missed = 0, cases = 0;
  for (int i = 0; i < 3000; ++i) {
    const Tensor random = at::rand({4}, at::kDouble).mul_(2).sub_(1);
    const double* r = random.data_ptr<double>();
    const double scale = std::exp(log_million * r[0]), height = std::exp(log_million * r[1]);
    const double at = 0.5 + 0.4 * r[2], shift = r[3];
    const std::function<double(double)> values[] = {
        [](double x) { return std::sin(x); },   [](double x) { return std::exp(-x * x); },
        [](double x) { return std::log(x); },   [](double x) { return std::tanh(3 * x); },
        [](double x) { return x * x * x - x; }, [](double x) { return std::sqrt(x) / (1 + x); }};
    const std::function<double(double)> slopes[] = {
        [](double x) { return std::cos(x); },
        [](double x) { return -2 * x * std::exp(-x * x); },
        [](double x) { return 1 / x; },
        [](double x) { return 3 / std::pow(std::cosh(3 * x), 2); },
        [](double x) { return 3 * x * x - 1; },
        [](double x) { return (1 - x) / (2 * std::sqrt(x) * std::pow(1 + x, 2)); }};
    const auto& value = values[i % 6];
    const double right = height / scale * slopes[i % 6](at);
    const auto y = [&](double x) { return height * (value(x / scale) + shift); };
    ++cases;
    alarms += opinion_on(y, at * scale, right).blame == Blame::gradient;
    missed += opinion_on(y, at * scale, 1.01 * right).blame == Blame::step;
  }
  EXPECT_EQ(alarms, 0) << "of " << cases;
  EXPECT_EQ(missed, 0) << "of " << cases;
}

TEST(SecondOpinion, CannotDecideWhatIsTooRough) {
  const auto noisy = [](double x) { return x + 0.1 * std::fmod(1e5 * std::sin(1e12 * x), 1.0); };
  EXPECT_EQ(opinion_on(noisy, 1.3, 1).blame, Blame::unknown);
  const auto nothing = [](double) { return std::nan(""); };
  const GradcheckOpinion opinion = opinion_on(nothing, 1, 1);
  EXPECT_EQ(opinion.blame, Blame::unknown);
  EXPECT_TRUE(std::isnan(opinion.derivative));
  EXPECT_TRUE(std::isnan(opinion.order));
  const auto domain = [](double x) { return std::log(x - 0.9); };  // large steps leave it
  EXPECT_EQ(opinion_on(domain, 1, 10).blame, Blame::step);
  EXPECT_EQ(opinion_on(domain, 1, 10.1).blame, Blame::gradient);
  EXPECT_NEAR(opinion_on(domain, 1, 10).derivative, 10, 1e-6);
  const auto linear = [](double x) { return 3 * x; };
  EXPECT_TRUE(std::isnan(opinion_on(linear, 1, 3).order)) << "there is no remainder";
  EXPECT_EQ(opinion_on(linear, 1, 3).blame, Blame::step);
  EXPECT_NEAR(opinion_on(linear, 1, 4).order, 1, 1e-6);
}

class SecondOpinionTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(4); }
};

TEST_F(SecondOpinionTest, NamesTheStepIfTheGradientIsRight) {
  const Tensor small = (variable({3}).detach().abs() * 1e-6 + 1e-6).requires_grad_();
  const GradcheckFunction logarithm = [](T in) -> Tensors { return {in[0].log()}; };
  const GradcheckResult result = gradcheck(logarithm, {small});
  EXPECT_FALSE(result) << "eps is as large as the inputs";
  const GradcheckComparison& comparison = only_comparison(result);
  EXPECT_EQ(comparison.cause, Cause::step) << result.to_string();
  EXPECT_THAT(comparison.explanation,
              ::testing::StartsWith("step: the gradient is right; eps 1e-06 does not fit"));
  ASSERT_EQ(comparison.opinions.size(), static_cast<std::size_t>(comparison.bad));
  for (const GradcheckOpinion& opinion : comparison.opinions) {
    EXPECT_EQ(opinion.blame, Blame::step);
    EXPECT_NEAR(opinion.derivative / opinion.entry.analytical.real(), 1, 1e-6);
  }
  EXPECT_TRUE(gradcheck(logarithm, {small}, {.eps = 1e-11}));
  EXPECT_THAT(result.to_string(),
              HasSubstr(" by a complex step; the remainder of Taylor's formula falls with h^2.0"));
  EXPECT_THAT(result.to_string(), HasSubstr(": the gradient is right\n"));
  EXPECT_THAT(result.to_json(), HasSubstr("\"blame\":\"step\""));
}

TEST_F(SecondOpinionTest, BlamesTheGradientIfOneOfTheWorstEntriesIsWrong) {
  const Tensor small = (variable({3}).detach().abs() * 1e-6 + 1e-6).requires_grad_();
  const auto wrong = with_gradient([](T in) -> Tensors { return {in[0].log()}; },
                                   [](const Tensor& x, const Tensor& g) {
                                     return g / x * at::tensor({1.0, 1.01, 1.0}, at::kDouble);
                                   });
  const GradcheckComparison comparison = only_comparison(gradcheck(wrong, {small}));
  EXPECT_NE(comparison.cause, Cause::step);
  for (const GradcheckOpinion& opinion : comparison.opinions) {
    EXPECT_EQ(opinion.blame, opinion.entry.input_index[0] == 1 ? Blame::gradient : Blame::step);
  }
  const GradcheckResult squares = gradcheck(wrong_square(), {variable({4, 4})});
  EXPECT_EQ(only_comparison(squares).cause, Cause::sign);
  EXPECT_EQ(only_comparison(squares).opinions.size(), 10u) << "of 16";
  EXPECT_THAT(squares.to_string(), HasSubstr("falls with h^1.00: the gradient is wrong\n"));
  EXPECT_THAT(squares.to_json(), HasSubstr("\"blame\":\"gradient\""));
  EXPECT_TRUE(only_comparison(gradcheck(square_of, {variable({2})})).opinions.empty());
}

TEST_F(SecondOpinionTest, IsAboutTheRightPartOfTheRightOutput) {
  // The second output is complex; its imaginary part has a wrong gradient.
  const auto function = with_gradient(
      [](T in) -> Tensors { return {at::complex(in[0].sin(), in[0].exp())}; },
      [](const Tensor& x, const Tensor& g) { return at::real(g) * x.cos() + at::imag(g) * x.exp() * 1.5; });
  const GradcheckFunction two = [&](T in) -> Tensors { return {in[0] * 2, function(in)[0]}; };
  const Tensor x = variable({2, 2});
  const GradcheckResult result = gradcheck(two, {x});
  for (const GradcheckComparison& comparison : result.comparisons) {
    EXPECT_EQ(comparison.opinions.empty(), comparison.passed);
    for (const GradcheckOpinion& opinion : comparison.opinions) {
      const double at = x.detach()[opinion.entry.input_index[0]][opinion.entry.input_index[1]].item<double>();
      EXPECT_NEAR(opinion.derivative, std::exp(at), 1e-8);
      EXPECT_EQ(opinion.blame, Blame::gradient);
    }
  }
  EXPECT_EQ(result.comparisons.size(), 3u);
}

TEST_F(SecondOpinionTest, StepsFollowTheOtherInputsOrEpsWhereAnInputIsZero) {
  const auto claiming = [](double factor) {
    return with_gradient(
        [](T in) -> Tensors { return {(in[0] * 1e6).sin()}; },
        [factor](const Tensor& x, const Tensor& g) { return g * 1e6 * (x * 1e6).cos() * factor; });
  };
  for (const Tensor& x : {variable_of({0, 2e-6}), variable_of({0, 0})}) {
    const auto opinions = only_comparison(gradcheck(claiming(2), {x}, {.eps = 1e-10})).opinions;
    EXPECT_EQ(opinions.size(), 2u);
    for (const GradcheckOpinion& opinion : opinions) {
      EXPECT_EQ(opinion.blame, Blame::gradient);
      EXPECT_NEAR(opinion.derivative / opinion.entry.numerical.real(), 1, 1e-6);
    }
  }
  // With eps as large as the function's waves, the right gradient is not called wrong.
  const auto opinions =
      only_comparison(gradcheck(claiming(1), {variable_of({0, 0})}, {.eps = 1e-5})).opinions;
  for (const GradcheckOpinion& opinion : opinions) {
    EXPECT_EQ(opinion.blame, Blame::unknown);
  }
}

TEST(SecondOpinion, TakesAComplexStepThatTheExtrapolationConfirms) {
  const auto sine = [](double h) { return Sample{h, std::sin(1 + h)}; };
  const double right = std::cos(1.0);
  const GradcheckOpinion confirmed = second_opinion(sine, 1, 1e-6, right, kRelative, right);
  EXPECT_TRUE(confirmed.by_complex_step);
  EXPECT_EQ(confirmed.derivative, right);
  EXPECT_LE(confirmed.error, 1e-14);
  EXPECT_EQ(confirmed.blame, Blame::step);
  for (const double other : {right * 1.01, -right, 0.0, std::nan(""), HUGE_VAL}) {
    const GradcheckOpinion opinion = second_opinion(sine, 1, 1e-6, right, kRelative, other);
    EXPECT_FALSE(opinion.by_complex_step) << other;
    EXPECT_NEAR(opinion.derivative, right, 1e-9) << other;
  }
  const auto nothing = [](double h) { return Sample{h, std::nan("")}; };
  EXPECT_FALSE(second_opinion(nothing, 1, 1e-6, 1, kRelative, 1).by_complex_step);
  // The extrapolation must be able to tell: nothing confirms a complex step of 0 here.
  const auto noisy = [](double h) {
    return Sample{h, h + 0.1 * std::fmod(1e5 * std::sin(1e12 * (h + 1)), 1.0)};
  };
  const GradcheckOpinion lost = second_opinion(noisy, 1, 1e-6, 0, kRelative, 0);
  EXPECT_FALSE(lost.by_complex_step);
  EXPECT_NE(lost.blame, Blame::step);
}

TEST_F(SecondOpinionTest, IsExactIfTheFunctionTakesComplexNumbers) {
  const Tensor x =
      at::tensor({0.7, -1.3, 2.5, 0.2}, at::kDouble).view({2, 2}).t().requires_grad_();  // not contiguous
  const auto expect_exact = [&](const GradcheckFunction& wrong, const Tensors& inputs, double factor) {
    const GradcheckResult result = gradcheck(wrong, inputs);
    EXPECT_EQ(result.comparisons.at(0).opinions.size(), 4u) << result.to_string();
    for (const GradcheckOpinion& opinion : result.comparisons.at(0).opinions) {
      const double at = x.detach()[opinion.entry.input_index[0]][opinion.entry.input_index[1]].item<double>();
      const double power = factor == 3 ? at * at : at;
      EXPECT_TRUE(opinion.by_complex_step);
      EXPECT_NEAR(opinion.derivative / (factor * power), 1, 1e-14);
      EXPECT_EQ(opinion.blame, Blame::gradient);
    }
    EXPECT_THAT(result.to_string(), HasSubstr(" by a complex step; "));
    EXPECT_THAT(result.to_json(), HasSubstr("\"complex_step\":true"));
  };
  expect_exact(wrong_square(), {x}, 2);
  // One tensor as two inputs, beside integers: both are moved.
  const GradcheckFunction square = wrong_square();
  const GradcheckFunction cube = [&](T in) -> Tensors { return {square({in[0]})[0] * in[1] * in[2]}; };
  expect_exact(cube, {x, x, at::ones({1}, at::kLong)}, 3);
  // |x| is real for a complex x, relu refuses it, and conj is not analytic.
  const GradcheckFunction others[] = {[](T in) -> Tensors { return {in[0].abs()}; }, relu_of,
                                      [](T in) -> Tensors { return {in[0].conj() * in[0].conj() * 3}; }};
  for (const GradcheckFunction& function : others) {
    const auto wrong =
        with_gradient(function, [](const Tensor& in, const Tensor& g) { return g * in * 0.1; });
    const GradcheckResult result = gradcheck(wrong, {x});
    EXPECT_FALSE(result.comparisons.at(0).opinions.empty());
    for (const GradcheckOpinion& opinion : result.comparisons.at(0).opinions) {
      EXPECT_FALSE(opinion.by_complex_step);
      EXPECT_TRUE(std::isfinite(opinion.derivative));
    }
    EXPECT_THAT(result.to_string(), HasSubstr(" by extrapolation"));
    EXPECT_THAT(result.to_json(), HasSubstr("\"complex_step\":false"));
  }
}

TEST_F(SecondOpinionTest, CanBeTurnedOffAndSurviveAFunctionThatRefusesLargeSteps) {
  const Tensor x = variable_of({1, 2});
  const auto wrong = with_gradient(exp_of, [](const Tensor& in, const Tensor& g) { return g * in; });
  EXPECT_TRUE(only_comparison(gradcheck(wrong, {x}, {.second_opinions = false})).opinions.empty());
  const GradcheckFunction narrow = [&](T in) {
    TORCH_CHECK((in[0].detach() - x.detach()).abs().max().item<double>() < 0.01, "too far");
    return wrong(in);
  };
  const GradcheckResult result = gradcheck(narrow, {x});
  EXPECT_THAT(result.failures, ::testing::IsEmpty());
  EXPECT_NEAR(only_comparison(result).opinions.at(0).derivative, std::exp(2.0), 1e-6);
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
