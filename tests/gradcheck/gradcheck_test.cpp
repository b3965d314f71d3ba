#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>

#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::only_comparison;
using testing::positive_tensor;
using testing::random_tensor;
using testing::Tensor;
using testing::Tensors;
using testing::with_gradient;

class GradcheckTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(3); }
};

struct Case {
  const char* name;
  Function function;
  Tensors inputs;
};

Tensor complex_tensor(at::IntArrayRef shape) {
  return torch::randn(shape, torch::kComplexDouble).requires_grad_();
}

std::vector<Case> right_functions() {
  const auto square =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0] * in[0]}; },
                    [](const Tensors& in, const Tensors& g) -> Tensors { return {2 * in[0] * g[0]}; });
  return {
      {"elementwise",
       [](const Tensors& in) -> Tensors { return {in[0].sin() * in[0].exp()}; },
       {random_tensor({3, 4})}},
      {"scalar", [](const Tensors& in) -> Tensors { return {in[0].pow(3)}; }, {random_tensor({})}},
      {"matmul",
       [](const Tensors& in) -> Tensors { return {in[0].matmul(in[1])}; },
       {random_tensor({3, 4}), random_tensor({4, 2})}},
      {"broadcast",
       [](const Tensors& in) -> Tensors { return {in[0] / in[1]}; },
       {random_tensor({3, 4}), positive_tensor({4})}},
      {"reductions",
       [](const Tensors& in) -> Tensors {
         return {in[0].sum(), in[0].mean(0), in[0].var(1), in[0].logsumexp(1)};
       },
       {random_tensor({3, 4})}},
      {"softmax", [](const Tensors& in) -> Tensors { return {in[0].softmax(1)}; }, {random_tensor({3, 4})}},
      {"several inputs and outputs",
       [](const Tensors& in) -> Tensors {
         return {in[0] * in[1], in[1].sum() + in[2].sum(), in[0] + in[2]};
       },
       {random_tensor({2, 3}), random_tensor({2, 3}), random_tensor({2, 3})}},
      {"the same input twice", [](const Tensors& in) -> Tensors { return {in[0] * in[1]}; },
       [] {
         const Tensor x = random_tensor({3});
         return Tensors{x, x};
       }()},
      {"an input that is returned as it is",
       [](const Tensors& in) -> Tensors {
         return {in[0], in[0] * 2};
       },
       {random_tensor({3})}},
      {"views",
       [](const Tensors& in) -> Tensors {
         return {in[0].t().slice(0, 0, 4, 2), in[0].unsqueeze(0)};
       },
       {random_tensor({3, 4})}},
      {"indexing with repeats",
       [](const Tensors& in) -> Tensors {
         return {in[0].index_select(0, torch::tensor({0, 2, 0}))};
       },
       {random_tensor({3, 2})}},
      {"transposed input",
       [](const Tensors& in) -> Tensors { return {in[0].cos().cumsum(0)}; },
       {torch::randn({4, 3}, torch::kDouble).t().requires_grad_()}},
      {"strided input",
       [](const Tensors& in) -> Tensors { return {in[0].pow(2)}; },
       {torch::randn({4, 6}, torch::kDouble).slice(1, 1, 6, 2).requires_grad_()}},
      {"an input that is no leaf",
       [](const Tensors& in) -> Tensors { return {in[0].tanh()}; },
       {random_tensor({4}).mul(2)}},
      {"an input without gradient, of integers",
       [](const Tensors& in) -> Tensors { return {in[0].gather(1, in[1])}; },
       {random_tensor({3, 4}), torch::tensor({{1}, {0}, {3}})}},
      {"a further output of integers",
       [](const Tensors& in) -> Tensors {
         return {in[0].exp(), in[0].argmax(1)};
       },
       {random_tensor({3, 4})}},
      {"an input that is not used",
       [](const Tensors& in) -> Tensors { return {in[0].sin()}; },
       {random_tensor({3}), random_tensor({2})}},
      {"no elements", [](const Tensors& in) -> Tensors { return {in[0] * 2}; }, {random_tensor({0, 3})}},
      {"a sum over no elements",
       [](const Tensors& in) -> Tensors { return {in[0].sum()}; },
       {random_tensor({0})}},
      {"a user's Function", square, {random_tensor({3, 2})}},
      {"complex to complex",
       [](const Tensors& in) -> Tensors { return {in[0] * in[1].exp()}; },
       {complex_tensor({2, 3}), complex_tensor({3})}},
      {"complex to real",
       [](const Tensors& in) -> Tensors {
         return {in[0].abs(), torch::real(in[0]) * 3};
       },
       {complex_tensor({4})}},
      {"real to complex",
       [](const Tensors& in) -> Tensors {
         return {torch::complex(in[0], in[0].sin()).conj(), in[0] * 2};
       },
       {random_tensor({4})}},
      {"complex matmul",
       [](const Tensors& in) -> Tensors { return {in[0].matmul(in[1])}; },
       {complex_tensor({2, 3}), complex_tensor({3, 2})}},
      {"imaginary part of a conjugate",
       [](const Tensors& in) -> Tensors { return {torch::imag(in[0].conj())}; },
       {complex_tensor({3})}},
      {"large values",
       [](const Tensors& in) -> Tensors { return {in[0] * in[0]}; },
       {(torch::randn({3}, torch::kDouble) * 1e5).requires_grad_()}},
  };
}

TEST_F(GradcheckTest, RightFunctionsPassInFullAndInFastMode) {
  for (const Case& right : right_functions()) {
    SCOPED_TRACE(right.name);
    EXPECT_GRADIENTS_MATCH(right.function, right.inputs);
    EXPECT_GRADIENTS_MATCH(right.function, right.inputs, {.mode = Mode::fast});
  }
}

TEST_F(GradcheckTest, InputsAreAsBeforeToTheBit) {
  const Tensor x = random_tensor({3, 4});
  const Tensor before = x.detach().clone();
  EXPECT_TRUE(gradcheck([](const Tensors& in) -> Tensors { return {in[0].exp()}; }, {x}));
  EXPECT_TRUE(x.equal(before));
  EXPECT_FALSE(x.grad().defined());
}

TEST_F(GradcheckTest, InputsAreRestoredWhenTheFunctionThrows) {
  const Tensor x = random_tensor({3});
  const Tensor before = x.detach().clone();
  int calls = 0;
  const Verdict verdict = gradcheck(
      [&](const Tensors& in) -> Tensors {
        TORCH_CHECK(++calls < 6, "the sixth call");
        return {in[0].exp()};
      },
      {x});
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, ElementsAre(HasSubstr("the sixth call")));
  EXPECT_TRUE(x.equal(before));
}

TEST_F(GradcheckTest, WeightsOfAModuleCanBePassedAlthoughTheFunctionCapturesThem) {
  torch::nn::Linear linear(torch::nn::LinearOptions(3, 2));
  linear->to(torch::kDouble);
  const Function function = [&](const Tensors& in) -> Tensors { return {linear(in[0])}; };
  const Verdict verdict = gradcheck(function, {random_tensor({4, 3}), linear->weight, linear->bias});
  EXPECT_TRUE(verdict) << verdict.to_string();
  EXPECT_THAT(verdict.comparisons[1].explanation, IsEmpty()) << "not all zero: the weights were really moved";
}

TEST_F(GradcheckTest, FunctionsThatNeedAutogradInsidePass) {
  const Function gradient_penalty = [](const Tensors& in) -> Tensors {
    const Tensor x = in[0].requires_grad() ? in[0] : in[0].detach().requires_grad_();
    return {torch::autograd::grad({x.pow(3).sum()}, {x}, {}, true, true)[0].pow(2).sum()};
  };
  EXPECT_GRADIENTS_MATCH(gradient_penalty, {random_tensor({3})});
}

TEST_F(GradcheckTest, AWrongGradientFailsInFullAndInFastMode) {
  const Function wrong = with_gradient(
      [](const Tensors& in) -> Tensors { return {in[0].exp()}; },
      [](const Tensors& in, const Tensors& g) -> Tensors { return {g[0] * (in[0].exp() + 0.1)}; });
  EXPECT_FALSE(gradcheck(wrong, {random_tensor({3, 4})}));
  const Verdict fast = gradcheck(wrong, {random_tensor({3, 4})}, {.mode = Mode::fast});
  EXPECT_FALSE(fast);
  EXPECT_THAT(fast.failures, ElementsAre(HasSubstr("fast mode")));
  EXPECT_EQ(fast.comparisons[0].bad, 12) << "a fast failure is explained by the full Jacobian";
}

TEST_F(GradcheckTest, OneWrongEntryOfManyFails) {
  const Function wrong = with_gradient([](const Tensors& in) -> Tensors { return {in[0].exp()}; },
                                       [](const Tensors& in, const Tensors& g) -> Tensors {
                                         Tensor gradient = g[0] * in[0].exp();
                                         gradient[2][1] *= 1.01;
                                         return {gradient};
                                       });
  const Tensor x = random_tensor({3, 4});
  const Verdict verdict = gradcheck(wrong, {x});
  EXPECT_FALSE(verdict);
  const Comparison& comparison = only_comparison(verdict);
  EXPECT_EQ(comparison.bad, 1);
  EXPECT_EQ(comparison.entries, 144);
  EXPECT_THAT(comparison.worst_absolute.output_index, ElementsAre(2, 1));
  EXPECT_THAT(comparison.worst_absolute.input_index, ElementsAre(2, 1));
  const double exact = std::exp(x[2][1].item<double>());
  EXPECT_NEAR(comparison.worst_absolute.ours.real(), 1.01 * exact, 1e-12);
  EXPECT_NEAR(comparison.worst_absolute.numeric.real(), exact, 1e-8);
  EXPECT_NEAR(comparison.worst_absolute.tolerance, 1e-5 + 1e-3 * exact, 1e-10);
  EXPECT_NEAR(comparison.worst_relative.relative, 0.01 / 1.01, 1e-6);
}

TEST_F(GradcheckTest, ToleranceIsTheOneThatIsSet) {
  const Function slightly_wrong =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0] * 1.0}; },
                    [](const Tensors&, const Tensors& g) -> Tensors { return {g[0] * (1 + 5e-4)}; });
  EXPECT_TRUE(gradcheck(slightly_wrong, {random_tensor({2})}));
  EXPECT_FALSE(gradcheck(slightly_wrong, {random_tensor({2})}, {.rtol = 1e-4}));
  EXPECT_TRUE(gradcheck(slightly_wrong, {random_tensor({2})}, {.atol = 1e-3, .rtol = 0}));
}

TEST_F(GradcheckTest, DefaultsArePythons) {
  const Options options;
  EXPECT_EQ(options.eps, 1e-6);
  EXPECT_EQ(options.atol, 1e-5);
  EXPECT_EQ(options.rtol, 1e-3);
  EXPECT_EQ(options.nondet_tol, 0);
  EXPECT_EQ(options.mode, Mode::full);
  EXPECT_TRUE(options.check_undefined_grad);
  EXPECT_FALSE(options.check_grad_dtypes);
}

TEST_F(GradcheckTest, NothingToCompareNeverPasses) {
  const Function none = [](const Tensors&) -> Tensors { return {}; };
  const Function integers = [](const Tensors& in) -> Tensors { return {in[0].argmax()}; };
  const Function identity = [](const Tensors& in) { return in; };
  EXPECT_THAT(gradcheck(none, {random_tensor({2})}).failures, ElementsAre(HasSubstr("nothing to compare")));
  EXPECT_THAT(gradcheck(integers, {random_tensor({2})}).failures,
              ElementsAre(HasSubstr("nothing to compare")));
  EXPECT_THAT(gradcheck(identity, {}).failures, ElementsAre(HasSubstr("no input requires a gradient")));
  EXPECT_THAT(gradcheck(identity, {torch::ones({2}, torch::kDouble)}).failures,
              ElementsAre(HasSubstr("no input requires a gradient")));
  EXPECT_FALSE(gradcheck(none, {random_tensor({2})}));
}

TEST_F(GradcheckTest, AnEmptyTensorPassesAndSaysSo) {
  const Verdict verdict = gradcheck([](const Tensors& in) { return in; }, {random_tensor({0, 2})});
  EXPECT_TRUE(verdict);
  EXPECT_THAT(only_comparison(verdict).explanation, HasSubstr("nothing to compare"));
}

TEST_F(GradcheckTest, NanFailsOnEitherSideAndPassesOnlyIfDeclaredOnBoth) {
  const Function nan_forward = [](const Tensors& in) -> Tensors { return {in[0].sqrt()}; };
  const Tensor negative = torch::tensor({-1.0, 1.0}, torch::kDouble).requires_grad_();
  const Verdict verdict = gradcheck(nan_forward, {negative});
  EXPECT_FALSE(verdict);
  EXPECT_EQ(only_comparison(verdict).cause, Cause::non_finite);
  const Function nan_backward = with_gradient(
      [](const Tensors& in) -> Tensors { return {in[0].exp()}; },
      [](const Tensors&, const Tensors& g) -> Tensors { return {torch::full_like(g[0], NAN)}; });
  EXPECT_FALSE(gradcheck(nan_backward, {negative}));
  EXPECT_FALSE(gradcheck(nan_backward, {negative}, {.equal_nan = true}));
  const Function nan_both =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0] * NAN}; },
                    [](const Tensors&, const Tensors& g) -> Tensors {
                      return {g[0].eq(0).all().item<bool>() ? g[0] : torch::full_like(g[0], NAN)};
                    });
  EXPECT_FALSE(gradcheck(nan_both, {random_tensor({1})}));
  EXPECT_TRUE(gradcheck(nan_both, {random_tensor({1})}, {.equal_nan = true}));
}

TEST_F(GradcheckTest, BadOptionsAndInputsFail) {
  const Function sine = [](const Tensors& in) -> Tensors { return {in[0].sin()}; };
  EXPECT_THAT(gradcheck(sine, {random_tensor({2})}, {.eps = 0}).failures, ElementsAre(HasSubstr("eps")));
  EXPECT_THAT(gradcheck(sine, {random_tensor({2})}, {.eps = NAN}).failures, ElementsAre(HasSubstr("eps")));
  EXPECT_THAT(gradcheck(sine, {random_tensor({2})}, {.atol = NAN}).failures, ElementsAre(HasSubstr("atol")));
  EXPECT_THAT(gradcheck(sine, {Tensor()}).failures, ElementsAre(HasSubstr("input 0 is undefined")));
  EXPECT_THAT(gradcheck(sine, {random_tensor({1}).expand({3})}).failures,
              ElementsAre(HasSubstr("input 0 overlaps itself")));
  const Tensor windows = random_tensor({4}).as_strided({3, 2}, {1, 1});
  EXPECT_THAT(gradcheck(sine, {windows}).failures, ElementsAre(HasSubstr("overlaps itself")));
  EXPECT_TRUE(gradcheck(sine, {random_tensor({1}).expand({1, 1})})) << "stride 0 is harmless at size 1";
}

TEST_F(GradcheckTest, ABackwardOfTheWrongShapeFails) {
  const Function wrong =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0].exp()}; },
                    [](const Tensors&, const Tensors& g) -> Tensors { return {g[0].t()}; });
  const Verdict verdict = gradcheck(wrong, {random_tensor({3, 4})});
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, ElementsAre(HasSubstr("the backward threw")));
}

TEST_F(GradcheckTest, ABackwardThatIsNotReentrantFails) {
  int runs = 0;
  const Function stateful = with_gradient([](const Tensors& in) -> Tensors { return {in[0].exp()}; },
                                          [&](const Tensors& in, const Tensors& g) -> Tensors {
                                            return {g[0] * in[0].exp() * (1 + 1e-7 * ++runs)};
                                          });
  const Tensor x = random_tensor({2});
  const Verdict verdict = gradcheck(stateful, {x});
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, ElementsAre(HasSubstr("not reentrant")));
  EXPECT_TRUE(only_comparison(verdict).passed) << "the values themselves are within tolerance";
  EXPECT_TRUE(gradcheck(stateful, {x}, {.nondet_tol = 1e-3}));
  EXPECT_FALSE(gradcheck(stateful, {x}, {.mode = Mode::fast}));
}

TEST_F(GradcheckTest, AForwardThatIsNotDeterministicFails) {
  const Function noisy = [](const Tensors& in) -> Tensors { return {in[0] + torch::randn_like(in[0])}; };
  EXPECT_THAT(gradcheck(noisy, {random_tensor({2})}).failures, Contains(HasSubstr("not deterministic")));
}

TEST_F(GradcheckTest, ABackwardThatIgnoresItsUpstreamGradientFails) {
  const Function constant =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0].sum()}; },
                    [](const Tensors& in, const Tensors&) -> Tensors { return {torch::ones_like(in[0])}; });
  const Verdict verdict = gradcheck(constant, {random_tensor({3})});
  EXPECT_TRUE(only_comparison(verdict).passed) << "for an upstream gradient of 1 it is right";
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, Contains(HasSubstr("a zero upstream gradient")));
}

/// x ↦ (x, 2x), whose backward sees undefined upstream gradients as they are.
class TwoOutputs : public torch::autograd::Function<TwoOutputs> {
 public:
  static Tensors forward(torch::autograd::AutogradContext* context, const Tensor& x) {
    context->set_materialize_grads(false);
    return {x * 1, x * 2};
  }
  static Tensors backward(torch::autograd::AutogradContext*, Tensors g) {
    return {g[0] + 2 * g[1]};  // throws if one is undefined
  }
};

TEST_F(GradcheckTest, ABackwardThatCannotTakeAnUndefinedUpstreamGradientFails) {
  const Function careless = [](const Tensors& in) -> Tensors {
    const Tensors outputs = TwoOutputs::apply(in[0]);
    return {outputs[0] + outputs[1] * 0, outputs[1] + outputs[0] * 0};  // both outputs always flow
  };
  const Verdict verdict = gradcheck(careless, {random_tensor({3})});
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, Contains(HasSubstr("undefined upstream gradient")));
  EXPECT_TRUE(gradcheck(careless, {random_tensor({3})}, {.check_undefined_grad = false}));
}

TEST_F(GradcheckTest, OutputsThatRequireNoGradientMustNotDependOnTheInput) {
  const Function hidden = [](const Tensors& in) -> Tensors { return {in[0].detach() * 2}; };
  const Function constant = [](const Tensors&) -> Tensors { return {torch::ones({2}, torch::kDouble)}; };
  EXPECT_FALSE(gradcheck(hidden, {random_tensor({2})}));
  EXPECT_FALSE(gradcheck(hidden, {random_tensor({2})}, {.mode = Mode::fast}));
  EXPECT_TRUE(gradcheck(constant, {random_tensor({2})}));
}

TEST_F(GradcheckTest, AnOutputWithoutGradientBesideOthersIsWarnedOf) {
  const Function both = [](const Tensors& in) -> Tensors { return {in[0] * 2, in[0].detach() * 2}; };
  const Verdict verdict = gradcheck(both, {random_tensor({2})});
  EXPECT_TRUE(verdict) << "as in Python";
  EXPECT_THAT(verdict.warnings, ElementsAre(HasSubstr("output 1 does not require a gradient")));
}

TEST_F(GradcheckTest, AFunctionThatChangesItsInputFails) {
  const Function in_place = [](const Tensors& in) -> Tensors {
    in[1].add_(1);
    return {in[0] * 2};
  };
  const Tensor y = torch::zeros({2}, torch::kDouble);
  const Verdict verdict = gradcheck(in_place, {random_tensor({2}), y});
  EXPECT_THAT(verdict.failures, ElementsAre(HasSubstr("changed input 1 in place")));
  EXPECT_TRUE(y.eq(0).all().item<bool>()) << "it is put back";
}

TEST_F(GradcheckTest, OutputsThatChangeShapeFail) {
  int calls = 0;
  const Function growing = [&](const Tensors& in) -> Tensors { return {in[0].sin().expand({++calls, 2})}; };
  EXPECT_THAT(gradcheck(growing, {random_tensor({2})}).failures,
              ElementsAre(HasSubstr("output 0 was [1, 2]")));
}

TEST_F(GradcheckTest, KinksFailByDefaultAndAreNamed) {
  const Function relu = [](const Tensors& in) -> Tensors { return {in[0].relu()}; };
  const Tensor x = torch::tensor({-1.0, 0.0, 2.0, 0.0}, torch::kDouble).requires_grad_();
  const Verdict verdict = gradcheck(relu, {x});
  EXPECT_FALSE(verdict) << "as in Python: 0 against 0.5";
  const Comparison& comparison = only_comparison(verdict);
  EXPECT_EQ(comparison.cause, Cause::kink);
  EXPECT_EQ(comparison.kinks, 2);
  EXPECT_EQ(comparison.bad, 2);
  EXPECT_TRUE(comparison.bad_entries[0].kink);
  EXPECT_THAT(verdict.to_string(), HasSubstr("kink"));
}

TEST_F(GradcheckTest, KinksCanBeExcusedButNotWrongSlopesThere) {
  const Tensor x = torch::tensor({-1.0, 0.0, 3e-7, 2.0}, torch::kDouble).requires_grad_();
  const Function relu = [](const Tensors& in) -> Tensors { return {in[0].relu()}; };
  const Verdict excused = gradcheck(relu, {x}, {.kinks = Kinks::report});
  EXPECT_TRUE(excused) << excused.to_string();
  EXPECT_EQ(only_comparison(excused).kinks, 2) << "at 0 and within one step of it";
  EXPECT_THAT(only_comparison(excused).explanation, HasSubstr("excused at 2"));
  EXPECT_TRUE(gradcheck(relu, {x}, {.mode = Mode::fast, .kinks = Kinks::report}));
  const Function steep = with_gradient(relu, [](const Tensors& in, const Tensors& g) -> Tensors {
    return {g[0] * torch::where(in[0] == 0, torch::full_like(in[0], 7), (in[0] > 0).to(torch::kDouble))};
  });
  const Verdict not_between = gradcheck(steep, {x}, {.kinks = Kinks::report});
  EXPECT_FALSE(not_between);
  EXPECT_EQ(only_comparison(not_between).bad, 1);
  EXPECT_THAT(only_comparison(not_between).explanation, HasSubstr("not even between"));
}

TEST_F(GradcheckTest, ExcusingKinksDoesNotExcuseAWrongGradientElsewhere) {
  const Function wrong = with_gradient([](const Tensors& in) -> Tensors { return {in[0].relu()}; },
                                       [](const Tensors& in, const Tensors& g) -> Tensors {
                                         return {-g[0] * (in[0] > 0).to(torch::kDouble)};
                                       });
  const Tensor x = torch::tensor({-1.0, 0.0, 1.0, 2.0}, torch::kDouble).requires_grad_();
  const Verdict verdict = gradcheck(wrong, {x}, {.kinks = Kinks::report});
  EXPECT_FALSE(verdict);
  EXPECT_EQ(only_comparison(verdict).bad, 2);
}

TEST_F(GradcheckTest, AStronglyCurvedFunctionIsNotTakenForAKink) {
  const Function curved = with_gradient(
      [](const Tensors& in) -> Tensors { return {1e6 * in[0].pow(2)}; },
      [](const Tensors& in, const Tensors& g) -> Tensors { return {g[0] * (2e6 * in[0] + 1)}; });
  const Tensor x = torch::tensor({1e-3}, torch::kDouble).requires_grad_();
  const Verdict verdict = gradcheck(curved, {x}, {.rtol = 1e-5, .kinks = Kinks::report});
  EXPECT_FALSE(verdict);
  EXPECT_EQ(only_comparison(verdict).kinks, 0);
}

TEST_F(GradcheckTest, AJumpIsNoKink) {
  const Function step =
      with_gradient([](const Tensors& in) -> Tensors { return {(in[0] >= 0).to(torch::kDouble)}; },
                    [](const Tensors&, const Tensors& g) -> Tensors { return {g[0] * 0}; });
  const Verdict verdict =
      gradcheck(step, {torch::zeros({1}, torch::kDouble).requires_grad_()}, {.kinks = Kinks::report});
  EXPECT_FALSE(verdict);
  EXPECT_EQ(only_comparison(verdict).cause, Cause::discontinuity);
}

TEST_F(GradcheckTest, Float32IsHeldAgainstItsFloat64Twin) {
  const Tensor x = torch::randn({4, 5}).requires_grad_();
  const Tensor w = torch::randn({5, 3}).requires_grad_();
  const Function right = [](const Tensors& in) -> Tensors { return {in[0].matmul(in[1]).tanh()}; };
  const Verdict verdict = gradcheck(right, {x, w});
  EXPECT_TRUE(verdict) << verdict.to_string();
  EXPECT_THAT(verdict.warnings,
              Contains(HasSubstr("input 0 is Float: differences are taken at a float64 twin")));
  EXPECT_FALSE(gradcheck(right, {x, w}, {.float64_twin = false})) << "as in Python";
  const Function wrong = with_gradient(
      [](const Tensors& in) -> Tensors { return {in[0].exp()}; },
      [](const Tensors& in, const Tensors& g) -> Tensors { return {g[0] * in[0].exp() * 1.01}; });
  EXPECT_FALSE(gradcheck(wrong, {x}));
  const Function right_pair =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0].exp()}; },
                    [](const Tensors& in, const Tensors& g) -> Tensors { return {g[0] * in[0].exp()}; });
  EXPECT_TRUE(gradcheck(right_pair, {x}));
}

TEST_F(GradcheckTest, AFloat32FunctionThatCapturesFloat32SaysWhyItHasNoTwin) {
  const Tensor captured = torch::randn({3, 2});
  const Function function = [&](const Tensors& in) -> Tensors { return {in[0].matmul(captured)}; };
  const Verdict verdict = gradcheck(function, {torch::randn({4, 3}).requires_grad_()});
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, ElementsAre(HasSubstr("Options::float64_twin")));
}

TEST_F(GradcheckTest, Complex64IsHeldAgainstItsComplex128Twin) {
  const Tensor z = torch::randn({3}, torch::kComplexFloat).requires_grad_();
  EXPECT_GRADIENTS_MATCH([](const Tensors& in) -> Tensors { return {in[0] * in[0]}; }, {z});
}

TEST_F(GradcheckTest, TheValueIsHeldAgainstAReference) {
  const Function function = [](const Tensors& in) -> Tensors { return {in[0].exp().log1p()}; };
  const Options right = {.reference = [](const Tensors& in) -> Tensors { return {torch::softplus(in[0])}; }};
  const Options wrong = {.reference = [](const Tensors& in) -> Tensors { return {in[0].relu()}; }};
  const Options none = {.reference = [](const Tensors&) -> Tensors { return {}; }};
  EXPECT_TRUE(gradcheck(function, {random_tensor({3})}, right));
  const Verdict verdict = gradcheck(function, {random_tensor({3})}, wrong);
  EXPECT_FALSE(verdict);
  EXPECT_EQ(verdict.comparisons[0].kind, Comparison::Kind::value);
  EXPECT_FALSE(verdict.comparisons[0].passed);
  EXPECT_EQ(verdict.comparisons[0].bad, 3);
  EXPECT_TRUE(verdict.comparisons[1].passed) << "the gradient of the wrong value is right";
  EXPECT_FALSE(gradcheck(function, {random_tensor({3})}, none));
}

TEST_F(GradcheckTest, RowsThatAreIndependentCanMoveTogether) {
  const Tensor x = random_tensor({6, 4});
  const Tensor w = random_tensor({4, 3});
  int calls = 0;
  const Function layer = [&](const Tensors& in) -> Tensors {
    ++calls;
    return {in[0].matmul(in[1]).softmax(1), in[0].sum(1)};
  };
  EXPECT_TRUE(gradcheck(layer, {x, w}));
  const int one_by_one = std::exchange(calls, 0);
  const Verdict verdict = gradcheck(layer, {x, w}, {.batched_inputs = {0}});
  EXPECT_TRUE(verdict) << verdict.to_string();
  EXPECT_LT(calls, one_by_one);
}

TEST_F(GradcheckTest, AWrongGradientIsFoundWhenRowsMoveTogether) {
  const Function wrong =
      with_gradient([](const Tensors& in) -> Tensors { return {in[0].exp()}; },
                    [](const Tensors& in, const Tensors& g) -> Tensors {
                      return {g[0] * in[0].exp() + 0.1 * g[0].flip(0)};  // a leak between rows
                    });
  EXPECT_FALSE(gradcheck(wrong, {random_tensor({4, 3})}, {.batched_inputs = {0}}));
}

TEST_F(GradcheckTest, AFalseClaimOfIndependentRowsFails) {
  const Function mixes_rows = [](const Tensors& in) -> Tensors { return {in[0] - in[0].mean(0, true)}; };
  const Function neighbours = [](const Tensors& in) -> Tensors { return {in[0] * in[0].roll(1, 0)}; };
  const Function sum = [](const Tensors& in) -> Tensors { return {in[0].sum(0)}; };
  const Options batched = {.batched_inputs = {0}};
  for (const Function& function : {mixes_rows, neighbours}) {
    EXPECT_TRUE(gradcheck(function, {random_tensor({5, 3})}));
    EXPECT_THAT(gradcheck(function, {random_tensor({5, 3})}, batched).failures,
                ElementsAre(HasSubstr("the rows are not independent")));
  }
  EXPECT_THAT(gradcheck(sum, {random_tensor({5, 3})}, batched).failures,
              ElementsAre(HasSubstr("declared batched with 5 rows, but output 0 is [3]")));
  EXPECT_THAT(gradcheck(sum, {random_tensor({5, 3})}, {.batched_inputs = {1}}).failures,
              ElementsAre(HasSubstr("batched_inputs names input 1")));
}

TEST_F(GradcheckTest, SecondDerivativesOfRightFunctionsPass) {
  const Function smooth = [](const Tensors& in) -> Tensors {
    return {in[0].pow(3) * in[1].exp(), in[0].sin()};
  };
  const Tensors inputs = {random_tensor({2, 3}), random_tensor({3})};
  const Verdict verdict = gradgradcheck(smooth, inputs);
  EXPECT_TRUE(verdict) << verdict.to_string();
  EXPECT_EQ(verdict.check, "gradgradcheck");
  EXPECT_EQ(verdict.comparisons.size(), 2u * 4u) << "two gradients by two inputs and two upstream gradients";
  EXPECT_TRUE(gradgradcheck(smooth, inputs, {random_tensor({2, 3}), random_tensor({2, 3})}));
  EXPECT_TRUE(gradgradcheck(smooth, inputs, {}, {.mode = Mode::fast}));
  const Function linear = [](const Tensors& in) -> Tensors { return {in[0].matmul(in[1])}; };
  EXPECT_TRUE(gradgradcheck(linear, {random_tensor({2, 3}), random_tensor({3, 2})}));
  const Function complex = [](const Tensors& in) -> Tensors { return {in[0] * in[0]}; };
  EXPECT_TRUE(gradgradcheck(complex, {complex_tensor({2})}));
}

TEST_F(GradcheckTest, AWrongSecondDerivativeFailsAlthoughTheFirstIsRight) {
  const Function detached = with_gradient(
      [](const Tensors& in) -> Tensors { return {in[0].pow(2)}; },
      [](const Tensors& in, const Tensors& g) -> Tensors { return {2 * in[0].detach() * g[0]}; });
  EXPECT_TRUE(gradcheck(detached, {random_tensor({3})}));
  const Verdict verdict = gradgradcheck(detached, {random_tensor({3})});
  EXPECT_FALSE(verdict);
  EXPECT_EQ(verdict.comparisons[0].cause, Cause::not_filled) << "by the input; by the upstream it is right";
  EXPECT_TRUE(verdict.comparisons[1].passed);
}

TEST_F(GradcheckTest, SecondDerivativesOfNothingFail) {
  const Function constant = [](const Tensors&) -> Tensors { return {torch::ones({2}, torch::kDouble)}; };
  const Function sine = [](const Tensors& in) -> Tensors { return {in[0].sin()}; };
  const Function broken = [](const Tensors&) -> Tensors { throw std::runtime_error("broken"); };
  EXPECT_FALSE(gradgradcheck(constant, {random_tensor({2})}));
  EXPECT_FALSE(gradgradcheck(sine, {torch::ones({2}, torch::kDouble)}));
  EXPECT_FALSE(gradgradcheck(sine, {random_tensor({2})}, {random_tensor({2}), random_tensor({2})}));
  EXPECT_THAT(gradgradcheck(broken, {random_tensor({2})}).failures, ElementsAre(HasSubstr("broken")));
}

}  // namespace
}  // namespace twingrad
