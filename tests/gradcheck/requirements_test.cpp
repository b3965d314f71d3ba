#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <functional>
#include <string>

#include "functions.h"

// What a function and its backward must fulfill beyond right gradients, and what is refused.
namespace twingrad::gradcheck_tests {
namespace {

class GradcheckRequirementsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

TEST_F(GradcheckRequirementsTest, ABackwardOfTheWrongShapeFails) {
  const auto wrong = with_gradient(exp_of, [](const Tensor&, const Tensor& g) { return g.t(); });
  expect_failure(gradcheck(wrong, {variable({3, 4})}), "the backward threw");
}

TEST_F(GradcheckRequirementsTest, ABackwardThatIsNotReentrantFails) {
  int runs = 0;
  const auto stateful = with_gradient(
      exp_of, [&](const Tensor& x, const Tensor& g) { return g * x.exp() * (1 + 1e-7 * ++runs); });
  const Tensor x = variable({2});
  const GradcheckResult result = gradcheck(stateful, {x});
  expect_failure(result, "not reentrant");
  EXPECT_TRUE(only_comparison(result).passed) << "the values themselves are within tolerance";
  EXPECT_TRUE(gradcheck(stateful, {x}, {.nondet_tol = 1e-3}));
  EXPECT_FALSE(gradcheck(stateful, {x}, kFast));
  const auto change =
      [&](std::initializer_list<double> changes) {  // in the second run, of a gradient of ones
        runs = 0;
        const auto summed =
            with_gradient(sum_of, [&, steps = at::tensor(changes, at::kDouble)](const Tensor&, auto& g) {
              return g * (1 + steps * (++runs == 2 ? 1 : 0));
            });
        return gradcheck(summed, {variable({3})});
      };
  expect_failure(change({1e-7, 1e-5, 1e-9}), "of output 0 by input 0 is 1.00001 instead of 1;");
  expect_failure(change({0, 1e-15, 0}),
                 "is 1 instead of 1 (a difference of 1.1e-15); the backward is not deterministic");
  EXPECT_TRUE(change({0, 0, 0}));
}

TEST_F(GradcheckRequirementsTest, ABackwardThatChangesItsUpstreamGradientFails) {
  const auto in_place =
      with_gradient(exp_of, [](const Tensor& x, const Tensor& g) { return g.mul_(x.exp()); });
  for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
    expect_failure(gradcheck(in_place, {variable({3})}, options),
                   "the backward changed the upstream gradient of output 0 in place");
  }
}

TEST_F(GradcheckRequirementsTest, AForwardThatIsNotDeterministicFails) {
  // A change of 2 · eps · atol between two calls changes an entry of a Jacobian by atol.
  const auto check = [](double change, const GradcheckOptions& options) {
    int calls = 0;
    const GradcheckFunction drifting = [&](T in) -> Tensors {
      return {in[0].sin(), in[0] * 0 + change * ++calls};
    };
    return gradcheck(drifting, {variable({2})}, options);
  };
  const std::string message = "the forward is not deterministic: two calls with the same inputs differ by ";
  EXPECT_TRUE(check(1.8e-11, {}));
  EXPECT_THAT(check(2.2e-11, {}).failures, ElementsAre(message + "2.2e-11"));
  EXPECT_TRUE(check(1.8e-9, {.eps = 1e-5, .atol = 1e-4}));
  EXPECT_THAT(check(2.2e-9, {.eps = 1e-5, .atol = 1e-4}).failures, ElementsAre(message + "2.2e-09"));
  EXPECT_THAT(check(NAN, {}).failures, ::testing::Not(Contains(HasSubstr("deterministic")))) << "always NaN";
  int calls = 0;
  const GradcheckFunction once = [&](T in) -> Tensors { return {in[0] * (++calls == 3 ? NAN : 1.0)}; };
  EXPECT_THAT(gradcheck(once, {variable({2})}).failures, ElementsAre(message + "inf"));
}

TEST_F(GradcheckRequirementsTest, ABackwardThatIgnoresItsUpstreamGradientFails) {
  const auto ignores =
      [](std::initializer_list<double> without) {  // its gradient for an upstream gradient of 0
        const Tensor other = at::tensor(without, at::kDouble);
        return with_gradient(sum_of, [=](const Tensor& x, const Tensor& g) {
          return g.item<double>() == 0 ? other : g * at::ones_like(x);
        });
      };
  EXPECT_TRUE(gradcheck(ignores({0, 0, 0}), {variable({3})}));
  for (const auto& function : {ignores({1, 1, 1}), ignores({0, 0, 1e-9}), ignores({0, NAN, 0})}) {
    const GradcheckResult result = gradcheck(function, {variable({3})}, {.check_undefined_grad = false});
    EXPECT_TRUE(only_comparison(result).passed) << "it is right for an upstream gradient of 1";
    expect_failure(result, "the gradient of input 0 is not zero for a zero upstream gradient");
  }
}

/// x ↦ (x, 2x) with a backward that receives undefined upstream gradients.
class TwoOutputs : public torch::autograd::Function<TwoOutputs> {
 public:
  using Backward = std::function<Tensor(const Tensors& grad_outputs)>;
  static Tensors forward(torch::autograd::AutogradContext* context, const Tensor& x,
                         const Backward* backward) {
    context->set_materialize_grads(false);
    context->saved_data["backward"] = reinterpret_cast<std::int64_t>(backward);
    return {x * 1, x * 2};
  }
  static Tensors backward(torch::autograd::AutogradContext* context, const Tensors& g) {
    return {(*reinterpret_cast<const Backward*>(context->saved_data["backward"].toInt()))(g), Tensor()};
  }
};

TEST_F(GradcheckRequirementsTest, UndefinedUpstreamGradientsMustBeSupported) {
  // Which upstream gradients must be undefined, and the others zero, for the backward to go wrong.
  struct Liar {
    bool first, second;
    const char* named;
  };
  for (const Liar& liar : {Liar{false, false, ""},
                           {true, false, "output 0"},
                           {false, true, "output 1"},
                           {true, true, "all outputs"}}) {
    for (const bool throws : {false, true}) {
      SCOPED_TRACE(c10::str(liar.named, throws));
      const TwoOutputs::Backward backward = [&](const Tensors& g) {
        const bool defined[] = {g[0].defined(), g[1].defined()};
        const bool zero =
            !(defined[0] && g[0].any().item<bool>()) && !(defined[1] && g[1].any().item<bool>());
        if (zero && (liar.first || liar.second) && defined[0] != liar.first && defined[1] != liar.second) {
          TORCH_CHECK(!throws, "not defined");
          return at::ones({3}, at::kDouble);
        }
        return !defined[0] && !defined[1] ? Tensor()
               : !defined[0]              ? 2 * g[1]
               : !defined[1]              ? g[0]
                                          : g[0] + 2 * g[1];
      };
      const GradcheckFunction function = [&](T in) -> Tensors {
        const Tensors two = TwoOutputs::apply(in[0], &backward);
        return {two[0], two[1], in[0].detach() * 0};
      };
      const GradcheckResult result = gradcheck(function, {variable({3})});
      if (*liar.named == '\0') {
        EXPECT_TRUE(result) << result.to_string();
      } else {
        expect_failure(result,
                       throws ? c10::str("undefined upstream gradient, here of ", liar.named,
                                         "; test it with defined(): not defined")
                              : c10::str("the gradient of input 0 is not zero when the upstream gradient of ",
                                         liar.named, " is undefined"));
        EXPECT_TRUE(gradcheck(function, {variable({3})}, {.check_undefined_grad = false}));
      }
    }
  }
}

TEST_F(GradcheckRequirementsTest, IfNoOutputRequiresAGradientAllMustBeConstant) {
  EXPECT_TRUE(gradcheck(ones_of, {variable({2})}));
  EXPECT_TRUE(gradcheck(ones_of, {at::randn({2}, at::kComplexDouble).requires_grad_()}));
  const GradcheckFunction detached = [](T in) -> Tensors {
    return {in[0].detach() * 0 + 1, at::complex(in[1].detach() * 0, in[1].detach() * 1e-9)};
  };
  for (const GradcheckOptions& options : {GradcheckOptions{}, kFast, kBatched}) {
    const GradcheckResult result = gradcheck(detached, {variable({2}), variable({2})}, options);
    EXPECT_FALSE(result);
    EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("no output requires a gradient")));
    ASSERT_EQ(result.comparisons.size(), 6u);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(result.comparisons[i].passed, i != 5) << "only the imaginary part, by input 1";
    }
    const GradcheckComparison& wrong = result.comparisons[5];
    EXPECT_EQ(wrong.bad, 2);
    EXPECT_EQ(wrong.cause, Cause::not_filled);
    EXPECT_EQ(wrong.explanation, "not filled: the output requires no gradient, but depends on the input");
  }
}

TEST_F(GradcheckRequirementsTest, AnOutputThatRequiresNoGradientMayDependOnTheInputWithAWarning) {
  const auto warnings = [](double slope, bool complex) {
    const GradcheckFunction second = [=](T in) -> Tensors {
      const Tensor y = in[1].detach() * slope;
      return {in[0] * 2 + in[1], complex ? at::complex(y, y) : y};
    };
    const GradcheckResult result = gradcheck(second, {variable({2}), variable({2})});
    EXPECT_TRUE(result) << "a warning only, as in Python";
    EXPECT_EQ(result.comparisons.size(), 2u);
    return result.warnings;
  };
  const std::string message = "output 1 requires no gradient, but depends on input 1: not compared";
  EXPECT_THAT(warnings(2e-5, false), ElementsAre(message));
  EXPECT_THAT(warnings(-1, true), ElementsAre(message));
  EXPECT_THAT(warnings(0.5e-5, false), ElementsAre());
  const GradcheckFunction detached = [](T in) -> Tensors { return {in[0] * 2, in[1].detach()}; };
  EXPECT_THAT(gradcheck(detached, {variable({2}), variable({0})}).warnings, ElementsAre());
}

TEST_F(GradcheckRequirementsTest, AFunctionThatChangesItsInputFails) {
  for (const double value : {0.0, double{NAN}}) {
    const Tensor y = at::full({2}, value, at::kDouble);
    const auto adding = [&](double number) {
      const GradcheckFunction in_place = [=](T in) -> Tensors {
        in[1][1] += number;
        return {in[0] * 2};
      };
      return gradcheck(in_place, {variable({2}), y});
    };
    EXPECT_TRUE(adding(0));
    if (value == 0) {
      expect_failure(adding(1), "the function changed input 1 in place");
      EXPECT_TRUE(y.eq(0).all().item<bool>()) << "it is restored";
      expect_failure(adding(NAN), "the function changed input 1 in place");
      EXPECT_TRUE(y.eq(0).all().item<bool>());
    }
  }
}

TEST_F(GradcheckRequirementsTest, OutputsThatChangeFail) {
  // The outputs of the first call, and of the others.
  const Tensor y = at::ones({1, 2}, at::kDouble), integers = at::ones({2}, at::kLong);
  const auto changing = [](Tensors first, Tensors then) {
    int calls = 0;
    return gradcheck(
        [&](T in) {
          Tensors outputs = calls++ == 0 ? first : then;
          outputs.insert(outputs.begin(), in[0].sin());
          return outputs;
        },
        {variable({2})});
  };
  EXPECT_TRUE(changing({y, integers}, {y, integers.to(at::kInt)}));
  expect_failure(changing({y}, {}), "the function first returned 2 tensors, then 1");
  expect_failure(changing({y}, {y, y}), "the function first returned 2 tensors, then 3");
  const std::string was = "output 1 was [1, 2] Double, but ", after = " after the inputs were perturbed";
  expect_failure(changing({y}, {y.t()}), was + "[2, 1] Double" + after);
  expect_failure(changing({y}, {y.to(at::kFloat)}), was + "[1, 2] Float" + after);
  expect_failure(changing({y}, {Tensor()}), was + "undefined" + after);
  const GradcheckFunction casts = [](T in) -> Tensors { return {in[0].to(at::kFloat)}; };
  expect_failure(gradcheck(casts, {at::ones({2}).requires_grad_()}),
                 "output 0 was [2] Double, but [2] Float");
}

/// A forward that throws in one call, and a backward that throws if told to.
template <typename Exception>
void expect_reported(const Exception& exception, const std::string& message) {
  for (int call = 1; call <= 8; ++call) {
    int calls = 0;
    const GradcheckFunction throws = [&](T in) -> Tensors {
      if (++calls == call) {
        throw exception;
      }
      return {in[0].sin()};
    };
    const GradcheckResult result = gradcheck(throws, {variable({1})}, without_contract());
    EXPECT_EQ(result.passed, call == 4 || call == 8) << "call " << call << "\n" << result.to_string();
    for (const std::string& failure : result.failures) {
      EXPECT_THAT(failure, ::testing::EndsWith(" threw: " + message));
    }
  }
  const auto backward = [&](const Tensor&, const Tensor&) -> Tensor { throw exception; };
  const GradcheckBackward by_hand = [&](T, T, T) -> Tensors { throw exception; };
  const GradcheckFunction always = [&](T) -> Tensors { throw exception; };
  const Tensors x = {variable({2})};
  for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
    expect_failure(gradcheck(with_gradient(sin_of, backward), x, options), "the backward threw: " + message);
    expect_failure(check_backward(sin_of, by_hand, x, options), "the backward threw: " + message);
    expect_failure(gradgradcheck(with_gradient(sin_of, backward), x, {}, options),
                   "the forward threw: " + message);
    expect_failure(gradgradcheck(always, x, {}, options), "the forward threw: " + message);
    EXPECT_TRUE(gradcheck(sin_of, x, options)) << "autograd still works";
  }
  expect_failure(gradcheck(sin_of, x, {.reference = always}), "the reference function threw: " + message);
  const auto for_undefined = with_gradient(sin_of, [&](const Tensor& input, const Tensor& g) -> Tensor {
    if (!g.defined()) {
      throw exception;
    }
    return g * input.cos();
  });
  EXPECT_TRUE(gradcheck(for_undefined, x)) << "PlantedFunction receives zeros";
}

TEST_F(GradcheckRequirementsTest, ExceptionsOfAnyTypeAreReported) {
  struct Own {};
  expect_reported(std::runtime_error("an error"), "an error");
  expect_reported(std::string("a text"), "a text");
  expect_reported(static_cast<const char*>("characters"), "characters");
  expect_reported(7, "an exception of type int");
  int calls = 0;
  const GradcheckFunction own = [&](T in) { return ++calls > 1 ? throw Own{} : sin_of(in); };
  expect_failure(gradcheck(own, {at::randn({2}).requires_grad_()}), "::Own");
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
