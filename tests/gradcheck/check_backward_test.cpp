#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>

#include "functions.h"
#include "twingrad/gradcheck/gradcheck.h"

namespace twingrad {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::only_comparison;
using testing::Tensor;
using testing::Tensors;

Tensor plain(at::IntArrayRef shape) { return torch::randn(shape, torch::kDouble); }

class CheckBackwardTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(5); }
};

/// y = x W, with its gradients. The forward keeps what backward needs, and both return the layer's own buffers.
struct Linear {
  Tensor x, w, y, grad_x, grad_w;

  Tensors forward(const Tensors& in) {
    x = in[0];
    w = in[1];
    y = y.defined() && y.scalar_type() == x.scalar_type() ? y : x.new_empty({x.size(0), w.size(1)});
    return {torch::mm_out(y, x, w)};
  }
  Tensors backward(const Tensors& grad_outputs) {
    grad_x = grad_x.defined() ? grad_x : torch::empty_like(x);
    grad_w = grad_w.defined() ? grad_w : torch::empty_like(w);
    return {torch::mm_out(grad_x, grad_outputs[0], w.t()), torch::mm_out(grad_w, x.t(), grad_outputs[0])};
  }
};

TEST_F(CheckBackwardTest, ALayerWithStateAndItsOwnBuffersPasses) {
  Linear layer;
  const Function forward = [&](const Tensors& in) { return layer.forward(in); };
  const Backward backward = [&](const Tensors&, const Tensors&, const Tensors& g) {
    return layer.backward(g);
  };
  for (const Mode mode : {Mode::full, Mode::fast}) {
    const Verdict verdict = check_backward(forward, backward, {plain({4, 3}), plain({3, 2})}, {.mode = mode});
    EXPECT_TRUE(verdict) << verdict.to_string();
    EXPECT_EQ(verdict.check, "check_backward");
    EXPECT_EQ(verdict.comparisons.size(), 2u) << "inputs need not require a gradient";
  }
}

TEST_F(CheckBackwardTest, Float32IsHeldAgainstItsFloat64Twin) {
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0].exp()}; };
  const Backward right = [](const Tensors&, const Tensors& y, const Tensors& g) -> Tensors {
    return {g[0] * y[0]};
  };
  const Backward wrong = [](const Tensors&, const Tensors& y, const Tensors& g) -> Tensors {
    return {g[0] * y[0] * 1.01};
  };
  EXPECT_TRUE(check_backward(forward, right, {torch::randn({3})}));
  EXPECT_FALSE(check_backward(forward, wrong, {torch::randn({3})}));
}

TEST_F(CheckBackwardTest, OnlyInputsThatRequireAGradientAreCheckedIfAnyDoes) {
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0] * in[1]}; };
  const Backward first_only = [](const Tensors& in, const Tensors&, const Tensors& g) -> Tensors {
    return {g[0] * in[1], Tensor()};
  };
  EXPECT_TRUE(check_backward(forward, first_only, {plain({3}).requires_grad_(), plain({3})}));
  const Verdict both = check_backward(forward, first_only, {plain({3}), plain({3})});
  EXPECT_FALSE(both) << "an undefined gradient is a gradient of zero";
  EXPECT_EQ(both.comparisons[1].cause, Cause::not_filled);
}

TEST_F(CheckBackwardTest, AWrongNumberOrShapeOfGradientsFails) {
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0].exp()}; };
  const Backward none = [](const Tensors&, const Tensors&, const Tensors&) -> Tensors { return {}; };
  const Backward reversed = [](const Tensors&, const Tensors& y, const Tensors& g) -> Tensors {
    return {(g[0] * y[0]).t()};
  };
  const Backward summed = [](const Tensors&, const Tensors& y, const Tensors& g) -> Tensors {
    return {(g[0] * y[0]).sum(0)};
  };
  EXPECT_THAT(check_backward(forward, none, {plain({3, 2})}).failures,
              ElementsAre(HasSubstr("returned 0 gradients for 1 inputs")));
  EXPECT_THAT(check_backward(forward, reversed, {plain({3, 2})}).failures,
              ElementsAre(HasSubstr("expected [3, 2], found [2, 3]; it looks transposed")));
  EXPECT_THAT(check_backward(forward, summed, {plain({3, 2})}).failures,
              ElementsAre(HasSubstr("expected [3, 2], found [2]")));
}

TEST_F(CheckBackwardTest, AWrongDtypeIsWarnedOfAndFailsOnRequest) {
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0].exp()}; };
  const Backward single = [](const Tensors&, const Tensors& y, const Tensors& g) -> Tensors {
    return {(g[0] * y[0]).to(torch::kFloat)};
  };
  const Verdict lenient = check_backward(forward, single, {plain({3})});
  EXPECT_TRUE(lenient);
  EXPECT_THAT(lenient.warnings, ElementsAre(HasSubstr("expected Double on cpu, found Float on cpu")));
  const Verdict strict = check_backward(forward, single, {plain({3})}, {.check_grad_dtypes = true});
  EXPECT_FALSE(strict);
  EXPECT_THAT(strict.failures, ElementsAre(HasSubstr("wrong dtype")));
}

TEST_F(CheckBackwardTest, AGradientThatIsAddedToWhatWasThereIsNamed) {
  Tensor buffer = torch::zeros({3}, torch::kDouble);
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0].sum()}; };
  const Backward accumulates = [&](const Tensors&, const Tensors&, const Tensors& g) -> Tensors {
    return {buffer.add_(g[0])};
  };
  const Verdict verdict = check_backward(forward, accumulates, {plain({3})});
  EXPECT_FALSE(verdict);
  EXPECT_THAT(verdict.failures, Contains(HasSubstr("accumulated instead of written")));
}

TEST_F(CheckBackwardTest, ABackwardThatChangesItsUpstreamGradientFails) {
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0].exp()}; };
  const Backward in_place = [](const Tensors&, const Tensors& y, const Tensors& g) -> Tensors {
    return {g[0].mul_(y[0])};
  };
  EXPECT_THAT(check_backward(forward, in_place, {plain({3})}).failures,
              ElementsAre(HasSubstr("changed the upstream gradient of output 0 in place")));
}

TEST_F(CheckBackwardTest, ExceptionsAreInTheVerdict) {
  const Function forward = [](const Tensors& in) -> Tensors { return {in[0].exp()}; };
  const Backward throws = [](const Tensors&, const Tensors&, const Tensors&) -> Tensors {
    throw std::runtime_error("not written yet");
  };
  EXPECT_THAT(check_backward(forward, throws, {plain({3})}).failures,
              ElementsAre("the backward threw: not written yet"));
}

TEST_F(CheckBackwardTest, NothingToCompareNeverPasses) {
  const Function forward = [](const Tensors& in) { return in; };
  const Backward backward = [](const Tensors&, const Tensors&, const Tensors& g) { return g; };
  EXPECT_FALSE(check_backward(forward, backward, {}));
  EXPECT_FALSE(check_backward(forward, backward, {torch::tensor({1, 2})}));
}

// Planted bugs, and the cause that the verdict names. Most are classics of hand-written backward passes.

struct Planted {
  const char* bug;
  Cause cause;
  Function forward;
  Backward backward;
  Tensors inputs;
};

Tensor ones_of(const Tensor& x) { return torch::ones_like(x); }

std::vector<Planted> planted_bugs() {
  const Function exp = [](const Tensors& in) -> Tensors { return {in[0].exp()}; };
  const Function square = [](const Tensors& in) -> Tensors { return {in[0].pow(2)}; };
  const Function mean = [](const Tensors& in) -> Tensors { return {in[0].mean()}; };
  const Function sum = [](const Tensors& in) -> Tensors { return {in[0].sum()}; };
  const Function matmul = [](const Tensors& in) -> Tensors { return {in[0].matmul(in[1])}; };
  const Function softmax = [](const Tensors& in) -> Tensors { return {in[0].softmax(1)}; };
  const Function add_bias = [](const Tensors& in) -> Tensors { return {in[0].detach() + in[1]}; };
  const Function relu = [](const Tensors& in) -> Tensors { return {in[0].relu()}; };
  using T = const Tensors&;
  return {
      {"sign: subtracted where it is added",
       Cause::sign,
       exp,
       [](T, T y, T g) -> Tensors { return {-g[0] * y[0]}; },
       {plain({3, 4})}},
      {"factor 2: a forgotten half",
       Cause::factor,
       [](T in) -> Tensors { return {in[0].pow(2) / 2}; },
       [](T in, T, T g) -> Tensors { return {2 * in[0] * g[0]}; },
       {plain({3, 4})}},
      {"factor 1/2: x·x with one of two shares",
       Cause::factor,
       square,
       [](T in, T, T g) -> Tensors { return {in[0] * g[0]}; },
       {plain({3, 4})}},
      {"some other factor",
       Cause::factor,
       exp,
       [](T, T y, T g) -> Tensors { return {3.7 * g[0] * y[0]}; },
       {plain({3, 4})}},
      {"a factor at some entries: a slope used twice",
       Cause::factor,
       [](T in) -> Tensors { return {torch::where(in[0] > 0, in[0], 0.1 * in[0])}; },
       [](T in, T, T g) -> Tensors {
         return {g[0] * torch::where(in[0] > 0, ones_of(in[0]), 0.01 * ones_of(in[0]))};
       },
       {torch::tensor({-1.0, -2.0, 1.0, 3.0}, torch::kDouble)}},
      {"mean with the gradient of a sum",
       Cause::missing_mean,
       mean,
       [](T in, T, T g) -> Tensors { return {g[0] * ones_of(in[0])}; },
       {plain({3, 4})}},
      {"mean over rows without 1/N",
       Cause::missing_mean,
       [](T in) -> Tensors { return {in[0].mean(0)}; },
       [](T in, T, T g) -> Tensors { return {g[0].expand_as(in[0])}; },
       {plain({5, 4})}},
      {"sum with the gradient of a mean",
       Cause::extra_mean,
       sum,
       [](T in, T, T g) -> Tensors { return {g[0] * ones_of(in[0]) / 12}; },
       {plain({3, 4})}},
      {"weights not transposed in grad_x = g Wᵀ",
       Cause::transposed,
       [](T in) -> Tensors { return {in[0].matmul(in[1])}; },
       [](T in, T, T g) -> Tensors {
         return {g[0].matmul(in[1]), Tensor()};
       },
       {plain({4, 3}).requires_grad_(), plain({3, 3})}},
      {"gradient of square weights transposed: gᵀ x",
       Cause::transposed,
       matmul,
       [](T in, T, T g) -> Tensors {
         return {Tensor(), g[0].t().matmul(in[0])};
       },
       {plain({4, 3}), plain({3, 3}).requires_grad_()}},
      {"gradient of oblong weights transposed, then reshaped",
       Cause::transposed,
       matmul,
       [](T in, T, T g) -> Tensors {
         return {Tensor(), g[0].t().matmul(in[0]).reshape({3, 2})};
       },
       {plain({4, 3}), plain({3, 2}).requires_grad_()}},
      {"complex gradient not conjugated",
       Cause::conjugated,
       [](T in) -> Tensors { return {in[0] * in[0]}; },
       [](T in, T, T g) -> Tensors { return {g[0] * 2 * in[0]}; },
       {torch::randn({1}, torch::kComplexDouble)}},
      {"softmax with its diagonal alone",
       Cause::unknown,
       softmax,
       [](T, T y, T g) -> Tensors { return {g[0] * y[0]}; },
       {plain({3, 4})}},
      {"softmax with y(1 − y) alone",
       Cause::diagonal_only,
       softmax,
       [](T, T y, T g) -> Tensors { return {g[0] * y[0] * (1 - y[0])}; },
       {plain({3, 4})}},
      {"gradient never written: zeros",
       Cause::not_filled,
       exp,
       [](T in, T, T) -> Tensors { return {torch::zeros_like(in[0])}; },
       {plain({3, 4})}},
      {"gradient never written: undefined",
       Cause::not_filled,
       exp,
       [](T, T, T) -> Tensors { return {Tensor()}; },
       {plain({3, 4})}},
      {"gradient written for the first rows only",
       Cause::not_filled,
       exp,
       [](T, T y, T g) -> Tensors {
         Tensor gradient = torch::zeros_like(y[0]);
         gradient.slice(0, 0, 2).copy_((g[0] * y[0]).slice(0, 0, 2));
         return {gradient};
       },
       {plain({3, 4})}},
      {"gradient never written: NaN",
       Cause::non_finite,
       exp,
       [](T in, T, T) -> Tensors { return {torch::full_like(in[0], NAN)}; },
       {plain({3, 4})}},
      {"one infinite entry",
       Cause::non_finite,
       exp,
       [](T, T y, T g) -> Tensors {
         Tensor gradient = g[0] * y[0];
         gradient[0][0] = INFINITY;
         return {gradient};
       },
       {plain({3, 4})}},
      {"bias gradient overwritten by each sample",
       Cause::overwritten,
       add_bias,
       [](T, T, T g) -> Tensors {
         return {Tensor(), g[0][-1]};
       },
       {plain({4, 3}), plain({3}).requires_grad_()}},
      {"repeated indices overwritten: put instead of add",
       Cause::overwritten,
       [](T in) -> Tensors {
         return {in[0].index_select(0, torch::tensor({0, 2, 0}))};
       },
       [](T in, T, T g) -> Tensors {
         Tensor gradient = torch::zeros_like(in[0]);
         for (const auto& [row, index] : {std::pair{0, 0}, {1, 2}, {2, 0}}) {
           gradient[index].copy_(g[0][row]);
         }
         return {gradient};
       },
       {plain({3, 2})}},
      {"two outputs, the first one's share overwritten",
       Cause::overwritten,
       [](T in) -> Tensors {
         return {in[0].sin(), in[0].exp()};
       },
       [](T in, T, T g) -> Tensors { return {g[1] * in[0].exp()}; },
       {plain({3})}},
      {"relu with the mask of the upstream gradient",
       Cause::unknown,
       relu,
       [](T, T, T g) -> Tensors { return {g[0] * (g[0] > 0)}; },
       {plain({3, 4})}},
      {"sigmoid's slope y instead of y(1 − y)",
       Cause::unknown,
       [](T in) -> Tensors { return {in[0].sigmoid()}; },
       [](T, T y, T g) -> Tensors { return {g[0] * y[0]}; },
       {plain({3, 4})}},
      {"tanh's slope at x instead of y",
       Cause::unknown,
       [](T in) -> Tensors { return {in[0].tanh()}; },
       [](T in, T, T g) -> Tensors { return {g[0] * (1 - in[0].pow(2))}; },
       {plain({3, 4})}},
      {"centred rows with the mean taken for a constant",
       Cause::unknown,
       [](T in) -> Tensors { return {in[0] - in[0].mean(1, true)}; },
       [](T, T, T g) -> Tensors { return {g[0]}; },
       {plain({3, 4})}},
  };
}

TEST_F(CheckBackwardTest, PlantedBugsFailAndTheirCauseIsNamed) {
  for (const Planted& planted : planted_bugs()) {
    SCOPED_TRACE(planted.bug);
    const Verdict verdict = check_backward(planted.forward, planted.backward, planted.inputs);
    EXPECT_FALSE(verdict);
    const auto failed = std::find_if(verdict.comparisons.begin(), verdict.comparisons.end(),
                                     [](const Comparison& comparison) { return !comparison.passed; });
    if (failed == verdict.comparisons.end()) {
      ADD_FAILURE() << "no comparison failed\n" << verdict.to_string();
      continue;
    }
    EXPECT_STREQ(name_of(failed->cause), name_of(planted.cause)) << verdict.to_string();
    EXPECT_FALSE(check_backward(planted.forward, planted.backward, planted.inputs, {.mode = Mode::fast}));
  }
}

TEST_F(CheckBackwardTest, TheFactorIsPrinted) {
  const Function mean = [](const Tensors& in) -> Tensors { return {in[0].mean(0)}; };
  const Backward sum = [](const Tensors& in, const Tensors&, const Tensors& g) -> Tensors {
    return {g[0].expand_as(in[0])};
  };
  const Verdict verdict =
      check_backward(mean, sum, {plain({5, 4})}, {.input_names = {"x"}, .output_names = {"mean"}});
  EXPECT_NEAR(only_comparison(verdict).factor, 5, 1e-6);
  EXPECT_THAT(only_comparison(verdict).explanation, HasSubstr("5 x numeric, N = x.size(0)"));
}

}  // namespace
}  // namespace twingrad
