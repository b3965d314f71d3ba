#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad::gradcheck_tests {
namespace {

class GradcheckTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

struct RightFunction {
  const char* name;
  Tensors inputs;
  GradcheckFunction function;
};

Tensor complex_variable(at::IntArrayRef shape) {
  return at::randn(shape, at::kComplexDouble).requires_grad_();
}

/// Uniform in [1, 2]: far from the kinks and poles at 0.
Tensor positive_variable(at::IntArrayRef shape) {
  return (at::rand(shape, at::kDouble) + 1).requires_grad_();
}

// clang-format off
std::vector<RightFunction> right_functions() {
  const auto square = with_gradient(square_of, [](const Tensor& x, const Tensor& g) { return 2 * x * g; });
  const Tensor x = variable({3});
  const Tensor transposed = constant({4, 3}).t().requires_grad_();
  const Tensor strided = constant({4, 6}).slice(1, 1, 6, 2).requires_grad_();
  const Tensor rows = at::tensor({0, 2, 0}, at::kLong);
  const Tensor columns = at::tensor({1, 0, 3}, at::kLong).view({3, 1});
  return {
      {"elementwise", {variable({3, 4})}, [](T in) -> Tensors { return {in[0].sin() * in[0].exp()}; }},
      {"scalar", {variable({})}, [](T in) -> Tensors { return {in[0].pow(3)}; }},
      {"matmul", {variable({3, 4}), variable({4, 2})}, product_of},
      {"broadcast", {variable({3, 4}), positive_variable({4})},
       [](T in) -> Tensors { return {in[0] / in[1]}; }},
      {"reductions", {variable({3, 4})},
       [](T in) -> Tensors { return {in[0].sum(), in[0].mean(0), in[0].var(1), in[0].logsumexp(1)}; }},
      {"softmax", {variable({3, 4})}, [](T in) -> Tensors { return {in[0].softmax(1)}; }},
      {"several inputs and outputs", {variable({2, 3}), variable({2, 3}), variable({2, 3})},
       [](T in) -> Tensors { return {in[0] * in[1], in[1].sum() + in[2].sum(), in[0] + in[2]}; }},
      {"the same input twice", {x, x}, [](T in) -> Tensors { return {in[0] * in[1]}; }},
      {"an input returned unchanged", {variable({3})}, [](T in) -> Tensors { return {in[0], in[0] * 2}; }},
      {"views", {variable({3, 4})},
       [](T in) -> Tensors { return {in[0].t().slice(0, 0, 4, 2), in[0].unsqueeze(0)}; }},
      {"repeated indices", {variable({3, 2})},
       [rows](T in) -> Tensors { return {in[0].index_select(0, rows)}; }},
      {"transposed input", {transposed}, [](T in) -> Tensors { return {in[0].cos().cumsum(0)}; }},
      {"strided input", {strided}, square_of},
      {"an input that is not a leaf", {variable({4}).mul(2)}, [](T in) -> Tensors { return {in[0].tanh()}; }},
      {"an integer input", {variable({3, 4}), columns},
       [](T in) -> Tensors { return {in[0].gather(1, in[1])}; }},
      {"an additional integer output", {variable({3, 4})},
       [](T in) -> Tensors { return {in[0].exp(), in[0].argmax(1)}; }},
      {"an unused input", {variable({3}), variable({2})}, sin_of},
      {"no elements", {variable({0, 3})}, square_of},
      {"a sum over no elements", {variable({0})}, sum_of},
      {"a custom autograd function", {variable({3, 2})}, square},
      {"complex to complex", {complex_variable({2, 3}), complex_variable({3})},
       [](T in) -> Tensors { return {in[0] * in[1].exp()}; }},
      {"complex to real", {complex_variable({4})},
       [](T in) -> Tensors { return {in[0].abs(), at::real(in[0]) * 3}; }},
      {"real to complex", {variable({4})},
       [](T in) -> Tensors { return {at::complex(in[0], in[0].sin()).conj(), in[0] * 2}; }},
      {"complex matmul", {complex_variable({2, 3}), complex_variable({3, 2})}, product_of},
      {"imaginary part of a conjugate", {complex_variable({3})},
       [](T in) -> Tensors { return {at::imag(in[0].conj())}; }},
      {"large values", {(constant({3}) * 1e5).requires_grad_()}, square_of},
  };
}
// clang-format on

TEST_F(GradcheckTest, RightFunctionsPassInFullAndFastMode) {
  for (const RightFunction& right : right_functions()) {
    SCOPED_TRACE(right.name);
    EXPECT_GRADIENTS_MATCH(right.function, right.inputs);
    EXPECT_GRADIENTS_MATCH(right.function, right.inputs, kFast);
  }
}

TEST_F(GradcheckTest, InputsAreRestoredBitForBit) {
  const Tensor x = variable({3, 4});
  const Tensor before = x.detach().clone();
  EXPECT_TRUE(gradcheck(exp_of, {x}));
  EXPECT_TRUE(x.equal(before));
  EXPECT_FALSE(x.grad().defined());
}

TEST_F(GradcheckTest, InputsAreRestoredWhenTheFunctionThrows) {
  const Tensor x = variable({3});
  const Tensor before = x.detach().clone();
  int calls = 0;
  const GradcheckFunction throws = [&](T in) {
    TORCH_CHECK(++calls < 6, "the sixth call");
    return exp_of(in);
  };
  expect_failure(gradcheck(throws, {x}), "the sixth call");
  EXPECT_TRUE(x.equal(before));
}

TEST_F(GradcheckTest, CapturedWeightsCanBePassedAsInputs) {
  const Tensor weight = variable({2, 3}), bias = variable({2});
  const GradcheckFunction linear = [&](T in) -> Tensors { return {at::linear(in[0], weight, bias)}; };
  const GradcheckResult result = gradcheck(linear, {variable({4, 3}), weight, bias});
  EXPECT_TRUE(result) << result.to_string();
  EXPECT_EQ(result.comparisons[1].explanation, "") << "not all zero: the weights were really perturbed";
}

TEST_F(GradcheckTest, FunctionsThatNeedAutogradPass) {
  const GradcheckFunction gradient_penalty = [](T in) -> Tensors {
    const Tensor x = in[0].requires_grad() ? in[0] : in[0].detach().requires_grad_();
    return {torch::autograd::grad({x.pow(3).sum()}, {x}, {}, true, true)[0].pow(2).sum()};
  };
  const GradcheckFunction depends_on_the_mode = [](T in) -> Tensors {
    return {in[0] * (at::GradMode::is_enabled() ? 2 : 3)};
  };
  for (const GradcheckFunction& function : {gradient_penalty, depends_on_the_mode}) {
    EXPECT_GRADIENTS_MATCH(function, {variable({3})});
    EXPECT_TRUE(gradgradcheck(function, {variable({3})}));
    const c10::NoGradGuard no_grad;
    EXPECT_GRADIENTS_MATCH(function, {variable({3})});
  }
}

TEST_F(GradcheckTest, AFailureInFastModeIsExplainedByTheFullJacobian) {
  const GradcheckResult result = gradcheck(wrong_square(), {variable_of({1, 2})}, kFast);
  EXPECT_FALSE(result);
  ASSERT_EQ(result.failures.size(), 1u);
  // v^T J u of diag(2, 4) is positive, and the claimed one is its negative.
  EXPECT_THAT(result.failures[0],
              ::testing::MatchesRegex("fast mode: v.T J u of output 0 by input 0 is -[0-9.]+ analytically, "
                                      "[0-9.]+ numerically; in full mode:"));
  EXPECT_EQ(only_comparison(result).kind, GradcheckComparison::Kind::jacobian);
  EXPECT_EQ(only_comparison(result).bad, 2);
  const auto thirds = with_gradient([](T in) -> Tensors { return {in[0] / 3}; },
                                    [](const Tensor&, const Tensor& g) { return g * 2 / 3; });
  EXPECT_THAT(
      gradcheck(thirds, {variable_of({0})}, kFast).failures,
      ElementsAre("fast mode: v^T J u of output 0 by input 0 is 0.666666667 analytically, 0.333333333 "
                  "numerically; in full mode:"));
  const auto projection = [](std::uint64_t seed, const Tensor& x) {
    const GradcheckResult passed = gradcheck(square_of, {x}, {.mode = GradcheckMode::fast, .seed = seed});
    EXPECT_TRUE(passed);
    EXPECT_EQ(only_comparison(passed).kind, GradcheckComparison::Kind::projection);
    EXPECT_EQ(only_comparison(passed).entries, x.numel() == 0 ? 0 : 1);
    return only_comparison(passed).worst_absolute.analytical.real();
  };
  const Tensor x = variable({3});
  EXPECT_EQ(projection(0, x), projection(0, x));
  EXPECT_NE(projection(0, x), projection(1, x));
  EXPECT_NEAR(projection(5, variable_of({3})), 6, 1e-6) << "of one element: the derivative";
  projection(0, variable({0}));
  EXPECT_EQ(only_comparison(gradcheck(sum_of, {variable({0})}, kFast)).entries, 0);
}

TEST_F(GradcheckTest, NothingToCompareNeverPasses) {
  const GradcheckFunction none = [](T) -> Tensors { return {}; };
  const GradcheckFunction integers = [](T in) -> Tensors { return {in[0].argmax()}; };
  expect_failure(gradcheck(none, {variable({2})}), "nothing to compare");
  expect_failure(gradcheck(integers, {variable({2})}), "nothing to compare");
  expect_failure(gradcheck(identity, {}), "no input requires a gradient");
  expect_failure(gradcheck(identity, {constant({2})}), "no input requires a gradient");
}

TEST_F(GradcheckTest, AnEmptyTensorPassesWithANote) {
  const GradcheckResult result = gradcheck(identity, {variable({0, 2})});
  EXPECT_TRUE(result);
  EXPECT_THAT(only_comparison(result).explanation, HasSubstr("nothing to compare"));
}

TEST_F(GradcheckTest, InvalidOptionsFail) {
  const Tensors x = {variable({2})};
  for (const double eps : {0.0, -1e-6, double{NAN}, double{INFINITY}}) {
    expect_failure(gradcheck(sin_of, x, {.eps = eps}), "options: eps must be positive");
  }
  const std::string not_negative = "options: atol, rtol and nondet_tol must be zero or positive";
  for (const double bad : {-1e-12, double{NAN}}) {
    expect_failure(gradcheck(sin_of, x, {.atol = bad}), not_negative);
    expect_failure(gradcheck(sin_of, x, {.rtol = bad}), not_negative);
    expect_failure(gradcheck(sin_of, x, {.nondet_tol = bad}), not_negative);
  }
  EXPECT_TRUE(gradcheck(identity, {variable_of({1})}, {.atol = 0, .rtol = 0, .nondet_tol = 0}));
  const Tensors inputs = {variable({2}), variable({}), variable({2})};
  const GradcheckFunction first = [](T in) -> Tensors { return {in[0] * in[2]}; };
  for (const std::size_t input : {1, 3}) {
    expect_failure(
        gradcheck(first, inputs, {.batched_inputs = {0, input}}),
        c10::str("options: batched_inputs names input ", input, ", which does not exist or has no rows"));
  }
  EXPECT_TRUE(gradcheck(first, inputs, {.batched_inputs = {0, 2}}));
  expect_failure(gradcheck(sin_of, {Tensor()}, kBatched), "batched_inputs names input 0");
}

TEST_F(GradcheckTest, InvalidInputsAndOutputsFail) {
  const Tensor z = at::randn({3}, at::kComplexDouble);
  expect_failure(gradcheck(sin_of, {variable({1}), Tensor()}), "input 1 is undefined");
  expect_failure(gradcheck(sin_of, {variable({1}).expand({3})}), "input 0 overlaps itself");
  expect_failure(gradcheck(sin_of, {variable({4}).as_strided({3, 2}, {1, 1})}), "overlaps itself");
  EXPECT_TRUE(gradcheck(sin_of, {variable({1}).expand({1, 1})})) << "stride 0 is harmless for size 1";
  EXPECT_TRUE(gradcheck(product_of, {variable({2, 3}), constant({1}).expand({3, 2})})) << "it is not checked";
  const std::string lazy = "input 0 is a lazy conjugate or negative";
  expect_failure(gradcheck(square_of, {z.conj().requires_grad_()}), lazy);
  expect_failure(gradcheck(square_of, {at::imag(z.conj()).requires_grad_()}), lazy);
  const GradcheckFunction times = [](T in) -> Tensors { return {in[0] * in[1]}; };
  EXPECT_TRUE(gradcheck(times, {z.clone().requires_grad_(), z.conj()})) << "it is not checked";
  const Tensor sparse = at::eye(3, at::kDouble).to_sparse();
  expect_failure(gradcheck(sum_of, {sparse.clone().requires_grad_()}), "input 0 is not strided");
  const GradcheckFunction sparse_times = [](T in) -> Tensors { return {at::mm(in[1], in[0])}; };
  EXPECT_TRUE(gradcheck(sparse_times, {variable({3, 2}), sparse})) << "it is not checked";
  const GradcheckFunction to_sparse = [](T in) -> Tensors { return {in[0] * 2, in[0].to_sparse()}; };
  expect_failure(gradcheck(to_sparse, {variable({3})}), "output 1 is not strided: call to_dense() on it");
}

TEST_F(GradcheckTest, SparseGradientsAreCompared) {
  const Tensor indices = at::tensor({0, 2, 0}, at::kLong), offsets = at::tensor({0, 1}, at::kLong);
  const GradcheckFunction functions[] = {
      [&](T in) -> Tensors { return {at::embedding(in[0], indices, -1, false, /*sparse=*/true)}; },
      [&](T in) -> Tensors {
        return {std::get<0>(at::embedding_bag(in[0], indices, offsets, false, 0, /*sparse=*/true))};
      },
      [&](T in) -> Tensors { return {at::gather(in[0], 0, indices.unsqueeze(1), /*sparse_grad=*/true)}; }};
  using Convert = Tensor (*)(const Tensor&);
  const std::pair<const char*, Convert> layouts[] = {
      {"COO", [](const Tensor& g) { return g.to_sparse(); }},
      {"hybrid", [](const Tensor& g) { return g.to_sparse(1); }},
      {"not coalesced",
       [](const Tensor& g) {
         return at::sparse_coo_tensor(at::tensor({0, 1, 2, 0}, at::kLong).view({1, 4}),
                                      at::cat({g * 0.5, g.slice(0, 0, 1) * 0.5}), g.sizes()) +
                at::cat({g.slice(0, 0, 1) * 0, g.slice(0, 1, 3) * 0.5}).to_sparse(1);
       }},
      {"CSR", [](const Tensor& g) { return g.to_sparse_csr(); }}};
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const Tensors x = {at::randn({3, 2}, dtype).requires_grad_()};
    for (const GradcheckMode mode : {GradcheckMode::full, GradcheckMode::fast}) {
      const GradcheckOptions options = {.mode = mode};
      for (const GradcheckFunction& function : functions) {
        EXPECT_GRADIENTS_MATCH(function, x, options);
        const bool twice_differentiable = &function != &functions[1];  // LibTorch 2.6 lacks this derivative
        const GradcheckResult second = gradgradcheck(function, x, {}, options);
        EXPECT_TRUE(second || !twice_differentiable) << second.to_string();
      }
      for (const auto& [name, convert] : layouts) {
        for (const double factor : {1, 2}) {
          SCOPED_TRACE(c10::str(name, " ", dtype, " times ", factor));
          const auto by_hand =
              backward_of([&](auto&, auto& y, auto& g) -> Tensor { return convert(g * y * factor); });
          const GradcheckResult result = check_backward(exp_of, by_hand, x, options);
          EXPECT_EQ(result.passed, factor == 1) << result.to_string();
          EXPECT_EQ(only_comparison(result).cause, factor == 1 ? Cause::none : Cause::factor);
        }
      }
    }
  }
  const GradcheckFunction sparse_reference = [](T in) -> Tensors { return {in[0].exp().to_sparse()}; };
  EXPECT_TRUE(gradcheck(exp_of, {variable({3})}, {.reference = sparse_reference}));
}

TEST_F(GradcheckTest, AnExceptionNamesTheStep) {
  struct Step {
    int call;  // the call of the function that throws
    GradcheckOptions options;
    const char* message;
  };
  const GradcheckOptions with_reference = {.reference = [](T in) -> Tensors { return {in[0].sin()}; }};
  const Step steps[] = {
      {1, {}, "the forward threw: now"},
      {2, {}, "the second forward call threw: now"},
      {3, {}, "the second forward call threw: now"},
      {4, {}, nullptr},  // a call without autograd, which may fail
      {5, {}, "the forward with input 0 perturbed threw: now"},
      {6, {}, "the forward with input 0 perturbed threw: now"},
      {7, {}, "the forward for undefined upstream gradients threw: now"},
      {8, without_contract(), nullptr},  // there is no such call
      {8, {}, "the function at copies of its inputs threw: now"},
      {12, {}, "an upstream gradient that is expanded (all strides are 0): now"},
      {5, kFast, "the forward with input 0 perturbed threw: now"},
      {5, kBatched, "the forward with input 0 perturbed threw: now"},
      {5, with_reference, "the reference function threw: now"},
  };
  for (const Step& step : steps) {
    SCOPED_TRACE(c10::str("call ", step.call));
    int calls = 0;
    const GradcheckFunction throws = [&](T in) {
      TORCH_CHECK(++calls != step.call, "now");
      return sin_of(in);
    };
    const GradcheckResult result = gradcheck(throws, {variable({1})}, step.options);
    if (step.message == nullptr) {
      EXPECT_TRUE(result) << result.to_string();
    } else {
      EXPECT_FALSE(result);
      EXPECT_THAT(result.failures, ElementsAre(step.message));
    }
  }
  int calls = 0;
  const auto wrong = wrong_square();
  const GradcheckFunction throws = [&](T in) {
    TORCH_CHECK(++calls != 7, "now");
    return wrong(in);
  };
  expect_failure(gradcheck(throws, {variable({1})}),
                 "the forward, perturbed to one side to find kinks, threw: now");
  const auto throws_for_zero = with_gradient(sin_of, [](const Tensor& x, const Tensor& g) {
    TORCH_CHECK(g.any().item<bool>(), "zero");
    return g * x.cos();
  });
  EXPECT_THAT(gradcheck(throws_for_zero, {variable({1})}).failures,
              ElementsAre(HasSubstr("the backward for a zero upstream gradient threw: zero")));
}

TEST_F(GradcheckTest, StepsAreNotLargerThanEpsAndInFullModeOfOneElement) {
  const double eps = 1e-3;
  const auto wrong = with_gradient(exp_of, [](const Tensor&, const Tensor& g) { return g * 0; });
  for (GradcheckOptions options :
       {GradcheckOptions{}, kFast, kBatched}) {  // the wrong ones also search for kinks
    options = without_contract(options);
    options.eps = eps;
    options.second_opinions = false;
    for (const GradcheckFunction& function : {GradcheckFunction(exp_of), GradcheckFunction(wrong)}) {
      const Tensor x = variable({3, 2}), original = x.detach().clone();
      double largest = 0;
      std::int64_t moved = 0;
      const GradcheckFunction watched = [&](T in) {
        const Tensor steps = (in[0].detach() - original).abs();
        largest = std::max(largest, steps.max().item<double>());
        moved = std::max(moved, at::count_nonzero(steps).item<std::int64_t>());
        return function(in);
      };
      static_cast<void>(gradcheck(watched, {x}, options));
      EXPECT_LE(largest, eps * (1 + 1e-9));
      EXPECT_GT(largest, eps / 10);
      if (options.mode == GradcheckMode::full && options.batched_inputs.empty()) {
        EXPECT_EQ(moved, 1);
        EXPECT_GT(largest, eps * (1 - 1e-9));
      }
    }
  }
}

TEST_F(GradcheckTest, TheForwardIsCalledTwicePerElementWithoutAutograd) {
  for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
    int with_autograd = 0, without = 0;
    const GradcheckFunction counted = [&](T in) {
      (at::GradMode::is_enabled() ? with_autograd : without) += 1;
      return sin_of(in);
    };
    EXPECT_TRUE(gradcheck(counted, {variable({3, 2})}, without_contract(options)));
    EXPECT_EQ(with_autograd, 4);
    EXPECT_EQ(without, 1 + 2 * (options.mode == GradcheckMode::fast ? 1 : 6));
  }
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
