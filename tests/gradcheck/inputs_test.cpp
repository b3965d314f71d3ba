#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <fstream>

#include "functions.h"

// Inputs at which a check cannot be right, or says little.
namespace twingrad::gradcheck_tests {
namespace {

class GradcheckInputsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(3); }
};

const GradcheckFunction kProduct = [](T in) -> Tensors { return {in[0].sum() * in[1].sum()}; };
const GradcheckBackward kProductBackward = [](T in, T, T g) -> Tensors {
  return {(g[0] * in[1].sum()).expand_as(in[0]), (g[0] * in[0].sum()).expand_as(in[1])};
};

TEST_F(GradcheckInputsTest, InputsThatShareMemoryAreRefused) {
  const Tensor x = variable({6}), z = at::randn({3}, at::kComplexDouble).requires_grad_();
  const Tensor flat = x.detach(), wide = constant({6, 2});
  struct Pair {
    const char* name;
    Tensor first, second;
    bool shared;
  };
  const Pair pairs[] = {
      {"another shape", x, flat.view({2, 3}).requires_grad_(), true},
      {"a view that autograd knows", x, x.view({2, 3}), true},
      {"an input that is not checked", x, flat, true},
      {"an input that is not checked, first", flat, x, true},
      {"a part", x, flat.slice(0, 5, 6), true},
      {"the last element", flat.slice(0, 0, 3).requires_grad_(), flat.slice(0, 2, 3), true},
      {"a single element", flat.slice(0, 2, 3).requires_grad_(), flat.slice(0, 0, 3), true},
      {"imaginary parts", z, at::view_as_real(z.detach()).select(1, 1), true},
      {"a conjugate", z, z.detach().conj(), true},
      {"memory that is not theirs", x, at::from_blob(flat.data_ptr<double>() + 1, {2}, at::kDouble), true},
      {"interleaved", wide.select(1, 0).requires_grad_(), wide.select(1, 1).requires_grad_(), false},
      {"halves", flat.slice(0, 0, 3).requires_grad_(), flat.slice(0, 3, 6).requires_grad_(), false},
      {"the real and the imaginary parts", at::real(z.detach()).requires_grad_(), at::imag(z.detach()),
       false},
      {"no elements", x, flat.slice(0, 2, 2), false},
      {"a copy", x, flat.clone().requires_grad_(), false},
      {"a repeated copy", x, constant({1}).expand({3}), false},
  };
  for (const Pair& pair : pairs) {
    SCOPED_TRACE(pair.name);
    const Tensors inputs = {pair.first, pair.second};
    const GradcheckFunction real_product = [](T in) -> Tensors {
      return {at::real(in[0]).sum() * at::real(in[1]).sum()};
    };
    for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
      const GradcheckResult result = gradcheck(real_product, inputs, options);
      EXPECT_EQ(result.passed, !pair.shared) << result.to_string();
      if (pair.shared) {
        expect_failure(result, "input 0 and input 1 share memory: perturbing one changes the other");
      }
    }
    if (!pair.first.is_complex()) {
      EXPECT_EQ(check_backward(kProduct, kProductBackward, inputs).passed, !pair.shared);
    }
  }
  EXPECT_TRUE(gradcheck(kProduct, {x, x})) << "autograd gives the gradient of both";
  EXPECT_TRUE(gradgradcheck(kProduct, {x, x}));
  const Tensor single = at::randn({3}).requires_grad_();
  EXPECT_TRUE(gradcheck(kProduct, {single, single})) << "so must the float64 copy be the same";
  expect_failure(check_backward(kProduct, kProductBackward, {x, x}), "input 0 and input 1 share memory");
  const GradcheckFunction third = [](T in) -> Tensors { return {in[2] * 2}; };
  EXPECT_TRUE(gradcheck(third, {flat, flat.view({2, 3}), variable({2})})) << "neither is perturbed";
}

TEST_F(GradcheckInputsTest, InputsOfEqualElementsGetAWarning) {
  const auto warnings = [](const Tensor& x) {
    const GradcheckResult result = gradcheck(sin_of, {variable({2}), x});
    EXPECT_TRUE(result) << result.to_string();
    return result.warnings;
  };
  const auto full = [](at::IntArrayRef shape, c10::complex<double> value) {
    return value.imag() == 0 ? at::full(shape, value.real(), at::kDouble)
                             : at::full(shape, value, at::kComplexDouble);
  };
  const std::string end = " everywhere: many wrong gradients are right there; use random values";
  for (const auto& [value, text] : {std::pair<c10::complex<double>, const char*>{0, "0"},
                                    {1, "1"},
                                    {-1, "-1"},
                                    {0.25, "0.25"},
                                    {{0, 1}, "0+1i"},
                                    {{1, -2}, "1-2i"}}) {
    for (const bool checked : {false, true}) {
      EXPECT_THAT(warnings(full({2, 3}, value).requires_grad_(checked)),
                  ElementsAre("input 1 is " + std::string(text) + end));
    }
  }
  EXPECT_THAT(warnings(full({}, 0)), ElementsAre("input 1 is 0" + end));
  EXPECT_THAT(warnings(full({1}, 1)), ElementsAre("input 1 is 1" + end));
  EXPECT_THAT(warnings(full({1}, 2)), ElementsAre()) << "one number is always equal to itself";
  EXPECT_THAT(warnings(at::zeros({0}, at::kDouble)), ElementsAre());
  EXPECT_THAT(warnings(at::zeros({3}, at::kLong)), ElementsAre());
  EXPECT_THAT(warnings(at::zeros({3, 3}, at::kDouble).to_sparse()), ElementsAre());
  EXPECT_THAT(warnings(full({2}, NAN)), ElementsAre());
  Tensor almost = at::ones({4}, at::kDouble);
  almost[3] = 1 + 1e-15;
  EXPECT_THAT(warnings(almost), ElementsAre());
  const auto right_at_ones = backward_of([](auto&, auto&, auto& g) { return 3 * g; });
  const GradcheckFunction cube = [](T in) -> Tensors { return {in[0].pow(3)}; };
  EXPECT_THAT(check_backward(cube, right_at_ones, {at::ones({3}, at::kDouble)}).warnings,
              ElementsAre("input 0 is 1" + end));
  EXPECT_THAT(gradgradcheck(sin_of, {variable({2})}, {at::ones({2}, at::kDouble)}).warnings,
              ElementsAre("upstream gradient of output 0 is 1" + end));
}

TEST_F(GradcheckInputsTest, AComparisonThatABackwardOfZerosPassesGetsAWarning) {
  const auto scaled = [](double slope, const GradcheckOptions& options, const Tensor& x) {
    const GradcheckFunction function = [=](T in) -> Tensors { return {in[0] * slope}; };
    const auto zeros = backward_of([](auto& input, auto&, auto&) { return at::zeros_like(input); });
    const GradcheckResult right = gradcheck(function, {x}, options);
    EXPECT_TRUE(right) << right.to_string();
    EXPECT_EQ(check_backward(function, zeros, {x}, options).passed,
              !right.warnings.empty() || slope == 0 || x.numel() == 0);
    return right.warnings;
  };
  const std::string warning =
      "all gradients of output 0 by input 0 are within the tolerance of 0: a backward of zeros would pass, "
      "too; decrease atol or scale the output";
  const Tensor x = variable({3}), z = at::randn({2}, at::kComplexDouble).requires_grad_();
  for (const GradcheckMode mode : {GradcheckMode::full, GradcheckMode::fast}) {
    EXPECT_THAT(scaled(1e-7, {.mode = mode}, x), ElementsAre(warning));
    EXPECT_THAT(scaled(-0.99e-5, {.mode = mode}, x), ElementsAre(warning));
    EXPECT_THAT(scaled(1e-7, {.mode = mode, .atol = 1e-9}, x), ElementsAre());
    EXPECT_THAT(scaled(5, {.mode = mode, .atol = 10}, x), ElementsAre(warning));
    EXPECT_THAT(scaled(5, {.mode = mode, .atol = 0, .rtol = 1}, x), ElementsAre(warning));
    EXPECT_THAT(scaled(0, {.mode = mode}, x), ElementsAre()) << "the table has a note";
    EXPECT_THAT(scaled(1e-7, {.mode = mode}, z), ElementsAre(warning)) << "once, although it has two parts";
    EXPECT_THAT(scaled(1, {.mode = mode}, variable({0})), ElementsAre());
  }
  EXPECT_THAT(scaled(1.05e-5, {}, x), ElementsAre());
  const GradcheckFunction one_large = [](T in) -> Tensors {
    return {in[0] * at::tensor({1e-7, 1e-7, 1e-4}, at::kDouble)};
  };
  EXPECT_THAT(gradcheck(one_large, {x}).warnings, ElementsAre());
  const GradcheckFunction second_small = [](T in) -> Tensors { return {in[0].sin(), in[1] * 1e-7}; };
  EXPECT_THAT(gradcheck(second_small, {x, variable({2})}).warnings,
              ElementsAre(HasSubstr("all gradients of output 1 by input 1 are")));
}

TEST_F(GradcheckInputsTest, AnOutputWithoutGradientMayChangeByAtol) {
  // Powers of two: the differences are exact.
  const GradcheckOptions options = {.eps = std::exp2(-20), .atol = std::exp2(-17)};
  const Tensor x = at::tensor({0.5, 0.25}, at::kDouble).requires_grad_();
  for (const auto& [slope, count] : {std::pair(std::exp2(-17), 0), {std::exp2(-16), 1}}) {
    const GradcheckFunction function = [&](T in) -> Tensors { return {in[0] * 2, in[0].detach() * slope}; };
    EXPECT_EQ(gradcheck(function, {x}, options).warnings.size(), count) << slope;
  }
}

TEST_F(GradcheckInputsTest, AJacobianTooLargeForTheMemoryIsNamedWithItsSize) {
  const Tensor x = (at::rand({300000}, at::kDouble) + 1).requires_grad_();
  expect_failure(gradcheck(exp_of, {x}),
                 "the Jacobian of 300000 x 300000 numbers takes 720 GB, too much for this machine: use "
                 "GradcheckMode::fast or smaller inputs");
  const auto exp_backward = backward_of([](auto&, auto& y, auto& g) { return g * y; });
  expect_failure(check_backward(exp_of, exp_backward, {x}), "takes 720 GB");
  expect_failure(gradcheck(exp_of, {x.detach().view({300, 1000}).requires_grad_()}, kBatched),
                 "takes 720 GB");
  EXPECT_TRUE(gradcheck(exp_of, {x}, kFast));
  const GradcheckResult wrong = gradcheck(wrong_square(), {x}, {.mode = GradcheckMode::fast, .atol = 1e-9});
  expect_failure(wrong, "fast mode: v^T J u of output 0 by input 0 is -");
  expect_failure(wrong, "; the Jacobian of 300000 x 300000 numbers takes 720 GB, too much for this machine");
  EXPECT_EQ(only_comparison(wrong).kind, GradcheckComparison::Kind::projection);
  EXPECT_EQ(only_comparison(wrong).cause, Cause::unknown);
  const GradcheckFunction constant_ones = [](T in) -> Tensors { return {at::ones_like(in[0])}; };
  expect_failure(gradcheck(constant_ones, {x}), "takes 720 GB");
  EXPECT_TRUE(gradcheck(constant_ones, {x}, kFast));
  const GradcheckFunction detached = [](T in) -> Tensors { return {in[0].detach() * 1e-9}; };
  expect_failure(gradcheck(detached, {x}, kFast), "takes 720 GB");
}

#ifndef __SANITIZE_ADDRESS__  // which reserves terabytes of address space
TEST_F(GradcheckInputsTest, ALimitOfTheAddressSpaceIsRespected) {
  const Tensor x = (at::rand({12000}, at::kDouble) + 1).requires_grad_();
  long pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(pages) * sysconf(_SC_PAGE_SIZE) + (rlim_t{2} << 30);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &low), 0);
  const GradcheckResult result = gradcheck(exp_of, {x});
  setrlimit(RLIMIT_AS, &before);
  expect_failure(result, "the Jacobian of 12000 x 12000 numbers takes 1.152 GB, too much for this machine");
}
#endif

TEST_F(GradcheckInputsTest, TensorsOfAnotherPrecisionThatFunctionsCaptureAreNamed) {
  const std::string advice =
      "; fn uses float32 tensors that do not follow its inputs: convert them, for example with "
      "module->to(torch::kDouble)";
  const GradcheckBackward backward = [](T, T, T) -> Tensors { return {Tensor()}; };
  for (const at::ScalarType weights : {at::kFloat, at::kDouble}) {
    const Tensor w = at::randn({3, 2}, weights), b = at::randn({2}, weights);
    const GradcheckFunction functions[] = {
        [&](T in) -> Tensors { return {in[0].matmul(w)}; },
        [&](T in) -> Tensors { return {at::linear(in[0], w.t(), b)}; },
        [&](T in) -> Tensors { return {at::conv1d(in[0].unsqueeze(0), w.unsqueeze(0))}; }};
    for (const GradcheckFunction& function : functions) {
      for (const at::ScalarType inputs : {at::kFloat, at::kDouble}) {
        SCOPED_TRACE(c10::str(weights, " weights, ", inputs, " inputs"));
        const Tensors x = {at::randn({3, 3}, inputs).requires_grad_()};
        const std::array<GradcheckResult, 3> results = {gradcheck(function, x), gradgradcheck(function, x),
                                                        check_backward(function, backward, x)};
        for (const GradcheckResult& result : results) {
          if (weights == at::kFloat) {
            expect_failure(result, advice);
          } else if (inputs == at::kFloat) {
            expect_failure(result, "; fn uses float64 tensors: pass float64 inputs");
          } else {
            EXPECT_THAT(result.failures, ::testing::IsEmpty());
          }
        }
      }
    }
  }
  const Tensor half = at::randn({2}, at::kBFloat16);
  const GradcheckFunction of_half = [&](T in) -> Tensors { return {at::dot(in[0], half)}; };
  expect_failure(gradcheck(of_half, {at::randn({2}, at::kBFloat16).requires_grad_()}),
                 "; fn uses bfloat16 tensors that do not follow its inputs");
  const GradcheckFunction broken = [](T) -> Tensors { throw std::runtime_error("broken"); };
  EXPECT_THAT(gradcheck(broken, {variable({2})}).failures, ElementsAre("the forward threw: broken"));
  EXPECT_THAT(gradcheck(broken, {at::randn({2}).requires_grad_()}).failures,
              ElementsAre("the forward threw: broken"));
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
