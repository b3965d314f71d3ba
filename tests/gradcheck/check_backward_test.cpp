#include <c10/core/GradMode.h>

#include <utility>

#include "functions.h"

namespace twingrad::gradcheck_tests {
namespace {

class CheckBackwardTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(5); }
};

/// y = x W and its gradients. The forward saves what the backward needs, and both return the layer's own
/// buffers.
struct LinearLayer {
  Tensor x, w, y, grad_x, grad_w;

  Tensors forward(T in) {
    x = in[0];
    w = in[1];
    y = y.defined() && y.scalar_type() == x.scalar_type() ? y
                                                          : at::empty({x.size(0), w.size(1)}, x.options());
    return {at::mm_out(y, x, w)};
  }
  Tensors backward(T grad_outputs) {
    grad_x = grad_x.defined() ? grad_x : at::empty_like(x);
    grad_w = grad_w.defined() ? grad_w : at::empty_like(w);
    return {at::mm_out(grad_x, grad_outputs[0], w.t()), at::mm_out(grad_w, x.t(), grad_outputs[0])};
  }
};

const GradcheckBackward kExpBackward = backward_of([](auto&, auto& y, auto& g) { return g * y; });

TEST_F(CheckBackwardTest, ALayerWithStateAndItsOwnBuffersPasses) {
  LinearLayer layer;
  const GradcheckFunction forward = [&](T in) { return layer.forward(in); };
  const GradcheckBackward backward = [&](T, T, T g) { return layer.backward(g); };
  for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
    const GradcheckResult result =
        check_backward(forward, backward, {constant({4, 3}), constant({3, 2})}, options);
    EXPECT_TRUE(result) << result.to_string();
    EXPECT_EQ(result.check, GradcheckResult::Check::check_backward);
    EXPECT_EQ(result.comparisons.size(), 2u) << "inputs need not require a gradient";
  }
}

TEST_F(CheckBackwardTest, EachBackwardFollowsAForwardAtTheUnperturbedInputs) {
  const Tensor x = constant({2}), z = at::randn({2}, at::kComplexDouble), indices = at::tensor({1, 0});
  const Tensors originals = {x.clone(), z.clone(), indices.clone()};
  const auto unchanged = [&](T in) {
    return in[0].equal(originals[0]) && in[1].equal(originals[1]) && in[2].equal(originals[2]);
  };
  bool ready = false;  // the last call was forward, at the unperturbed inputs
  int backwards = 0, zero_upstreams = 0;
  const GradcheckFunction forward = [&](T in) -> Tensors {
    EXPECT_FALSE(at::GradMode::is_enabled());
    ready = unchanged(in);
    return {in[0].exp(), in[2] * 2, in[1] * 3};
  };
  const GradcheckBackward backward = [&](T in, T out, T g) -> Tensors {
    EXPECT_TRUE(std::exchange(ready, false) && unchanged(in));
    EXPECT_TRUE(out[0].equal(x.exp()) && out[2].equal(z * 3));
    EXPECT_FALSE(g[1].defined()) << "integers have no gradient";
    const std::int64_t nonzero =
        at::count_nonzero(g[0]).item<std::int64_t>() + at::count_nonzero(g[2]).item<std::int64_t>();
    EXPECT_LE(nonzero, 1);
    zero_upstreams += nonzero == 0;
    ++backwards;
    return {g[0] * out[0], g[2] * 3, Tensor()};
  };
  const GradcheckResult result = check_backward(forward, backward, {x, z, indices}, without_contract());
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_EQ(result.comparisons.size(), 2u * 3u) << "two inputs, one real and one complex output";
  EXPECT_EQ(backwards, 2 * (2 + 4) + 1) << "all rows twice, and one for a zero upstream gradient";
  EXPECT_EQ(zero_upstreams, 1);
}

TEST_F(CheckBackwardTest, Float32IsCheckedInFloat64) {
  const auto wrong = backward_of([](auto&, auto& y, auto& g) { return g * y * 1.01; });
  EXPECT_TRUE(check_backward(exp_of, kExpBackward, {at::randn({3})}));
  EXPECT_FALSE(check_backward(exp_of, wrong, {at::randn({3})}));
}

TEST_F(CheckBackwardTest, ChecksOnlyInputsThatRequireAGradientIfAnyDoes) {
  const GradcheckFunction forward = [](T in) -> Tensors { return {in[0] * in[1]}; };
  const GradcheckBackward first_only = [](T in, T, T g) -> Tensors { return {g[0] * in[1], Tensor()}; };
  EXPECT_TRUE(check_backward(forward, first_only, {variable({3}), constant({3})}));
  const GradcheckBackward second_only = [](T in, T, T g) -> Tensors { return {Tensor(), g[0] * in[0]}; };
  EXPECT_TRUE(check_backward(forward, second_only, {constant({3}), variable({3})}));
  EXPECT_FALSE(check_backward(forward, first_only, {constant({3}), variable({3})}));
  const GradcheckResult both = check_backward(forward, first_only, {constant({3}), constant({3})});
  EXPECT_FALSE(both) << "an undefined gradient counts as zero";
  EXPECT_EQ(both.comparisons[1].cause, Cause::not_filled);
}

TEST_F(CheckBackwardTest, AWrongNumberOrShapeOfGradientsFails) {
  const GradcheckBackward none = [](T, T, T) -> Tensors { return {}; };
  const auto reversed = backward_of([](auto&, auto& y, auto& g) { return (g * y).t(); });
  const auto summed = backward_of([](auto&, auto& y, auto& g) { return (g * y).sum(0); });
  const Tensors x = {constant({3, 2})};
  expect_failure(check_backward(exp_of, none, x), "returned 0 gradients for 1 inputs");
  expect_failure(check_backward(exp_of, reversed, x), "expected [3, 2], found [2, 3]; it looks transposed");
  expect_failure(check_backward(exp_of, summed, x), "expected [3, 2], found [2]");
}

TEST_F(CheckBackwardTest, AWrongDtypeWarnsOrOnRequestFails) {
  const auto cast_to = [](at::ScalarType dtype) {
    return backward_of([=](auto&, auto& y, auto& g) { return at::real(g * y.conj()).to(dtype); });
  };
  const std::string message = "the gradient of input 0 has the wrong dtype or device: expected ";
  const Tensors x = {constant({3})}, z = {at::complex(constant({3}), at::zeros({3}, at::kDouble))};
  const GradcheckResult lenient = check_backward(exp_of, cast_to(at::kFloat), x);
  EXPECT_TRUE(lenient);
  EXPECT_THAT(lenient.warnings, ElementsAre(message + "Double on cpu, found Float on cpu"));
  expect_failure(check_backward(exp_of, cast_to(at::kFloat), x, {.check_grad_dtypes = true}), message);
  EXPECT_TRUE(check_backward(exp_of, cast_to(at::kDouble), x, {.check_grad_dtypes = true}));
  // A real gradient of a complex input has no imaginary part; a complex gradient of a real one is refused.
  const auto real_part = backward_of([](auto&, auto&, auto& g) { return at::real(g); });
  const GradcheckFunction drop_imaginary = [](T in) -> Tensors { return {at::real(in[0])}; };
  const GradcheckResult real = check_backward(drop_imaginary, real_part, z);
  EXPECT_TRUE(real) << real.to_string();
  EXPECT_THAT(real.warnings, ElementsAre(message + "ComplexDouble on cpu, found Double on cpu"));
  expect_failure(check_backward(exp_of, cast_to(at::kComplexDouble), x),
                 message + "Double on cpu, found ComplexDouble on cpu");
}

TEST_F(CheckBackwardTest, AccumulationIntoTheResultOfThePreviousRunIsNamed) {
  const auto failure = [](double second, double scale = 1) {  // the gradient of the second run over the first
    int runs = 0;
    const GradcheckFunction scaled = [=](T in) -> Tensors { return {in[0] * scale}; };
    const auto changing =
        backward_of([&](auto&, auto&, auto& g) { return g * scale * (++runs == 2 ? second : 1); });
    const GradcheckResult result = check_backward(scaled, changing, {at::zeros({}, at::kDouble)});
    EXPECT_FALSE(result);
    return result.failures.at(0);
  };
  EXPECT_EQ(failure(2),
            "backward is not reentrant: in a second run the gradient of output 0 by input 0 is 2 instead "
            "of 1; it is added to the result of the first run: accumulated instead of overwritten");
  EXPECT_THAT(failure(2, 1.0 / 3), HasSubstr("is 0.666666667 instead of 0.333333333; it is added"));
  for (const double scale : {1.0, 1e-3, 1e3}) {
    EXPECT_THAT(failure(2, scale), HasSubstr("accumulated instead of overwritten"));
    for (const double second : {1.9999, 2.0001, 0.0, -2.0}) {
      EXPECT_THAT(failure(second, scale),
                  HasSubstr("the backward is not deterministic or keeps state between runs"));
    }
  }
}

TEST_F(CheckBackwardTest, OfEqualChangesInTheSecondRunTheFirstIsNamed) {
  const Tensor c = at::tensor({1.0, 4.0}, at::kDouble);
  const GradcheckFunction scaled = [&](T in) -> Tensors { return {in[0] * c}; };
  int runs = 0;
  const auto changing = backward_of([&](auto&, auto&, auto& g) {
    const double change = ++runs % 2 == 0 ? 0x1p-17 : 0;
    return at::where(g == 0, g, g * c + change);
  });
  expect_failure(check_backward(scaled, changing, {constant({2})}), "is 1.00000763 instead of 1;");
}

TEST_F(CheckBackwardTest, ABackwardThatChangesItsUpstreamGradientFails) {
  const auto in_place = backward_of([](auto&, auto& y, auto& g) { return g.mul_(y); });
  expect_failure(check_backward(exp_of, in_place, {constant({3})}),
                 "changed the upstream gradient of output 0 in place");
}

TEST_F(CheckBackwardTest, ExceptionsAreReportedInTheResult) {
  const GradcheckBackward throws = [](T, T, T) -> Tensors { throw std::runtime_error("not implemented"); };
  EXPECT_THAT(check_backward(exp_of, throws, {constant({3})}).failures,
              ElementsAre("the backward threw: not implemented"));
}

TEST_F(CheckBackwardTest, NothingToCompareNeverPasses) {
  const auto backward = backward_of([](auto&, auto&, auto& g) { return g; });
  EXPECT_FALSE(check_backward(identity, backward, {}));
  EXPECT_FALSE(check_backward(identity, backward, {at::tensor({1, 2})}));
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
