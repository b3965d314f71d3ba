#pragma once

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/gradcheck/gradcheck.h"

/// Inputs, functions and functions with a wrong derivative for the tests of the gradient checker.
namespace twingrad::gradcheck_tests {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using at::Tensor;
using Tensors = std::vector<Tensor>;
using T = const Tensors&;
using Cause = GradcheckCause;

inline const GradcheckOptions kFast = {.mode = GradcheckMode::fast};
inline const GradcheckOptions kReportKinks = {.kinks = GradcheckKinks::report};
inline const GradcheckOptions kBatched = {.batched_inputs = {0}};

/// The options without the checks that call the function in other ways.
inline GradcheckOptions without_contract(GradcheckOptions options = {}) {
  options.check_strides = options.check_subsets = options.check_accumulation = options.check_batch_sizes =
      false;
  return options;
}

/// Standard normal, float64, requires no gradient.
inline Tensor constant(at::IntArrayRef shape) { return at::randn(shape, at::kDouble); }
/// Standard normal, float64, requires a gradient.
inline Tensor variable(at::IntArrayRef shape) { return constant(shape).requires_grad_(); }
/// The values, float64, requires a gradient.
inline Tensor variable_of(std::initializer_list<double> values) {
  return at::tensor(values, at::kDouble).requires_grad_();
}

inline Tensors identity(T in) { return in; }
inline Tensors exp_of(T in) { return {in[0].exp()}; }
inline Tensors sin_of(T in) { return {in[0].sin()}; }
inline Tensors relu_of(T in) { return {in[0].relu()}; }
inline Tensors square_of(T in) { return {in[0].pow(2)}; }
inline Tensors sum_of(T in) { return {in[0].sum()}; }
inline Tensors product_of(T in) { return {in[0].matmul(in[1])}; }
inline Tensors ones_of(T) { return {at::ones({2}, at::kDouble)}; }

using Gradient = std::function<Tensor(const Tensor& x, const Tensor& grad_y)>;

/// A torch::autograd::Function of one input with a forward and backward passed in.
class PlantedFunction : public torch::autograd::Function<PlantedFunction> {
 public:
  static Tensors forward(torch::autograd::AutogradContext* context, const Tensor& x,
                         const GradcheckFunction* function, const Gradient* gradient) {
    context->save_for_backward({x});
    context->saved_data["gradient"] = reinterpret_cast<std::int64_t>(gradient);
    return (*function)({x});
  }

  static Tensors backward(torch::autograd::AutogradContext* context, Tensors grad_outputs) {
    const auto* gradient = reinterpret_cast<const Gradient*>(context->saved_data["gradient"].toInt());
    return {(*gradient)(context->get_saved_variables()[0], grad_outputs[0]), Tensor(), Tensor()};
  }
};

/// `function` of one input and output, for which autograd computes `gradient`. It must outlive its outputs.
inline GradcheckFunction with_gradient(GradcheckFunction function, Gradient gradient) {
  return [function = std::make_shared<const GradcheckFunction>(std::move(function)),
          gradient = std::make_shared<const Gradient>(std::move(gradient))](T in) {
    return PlantedFunction::apply(in[0], function.get(), gradient.get());
  };
}

/// x² with the wrong gradient −2x.
inline GradcheckFunction wrong_square() {
  return with_gradient(square_of, [](const Tensor& x, const Tensor& g) { return -2 * x * g; });
}

/// a where the mask is true, otherwise b, in float64.
inline Tensor choose(const Tensor& mask, double a, double b) {
  return at::where(mask, at::scalar_tensor(a, at::kDouble), at::scalar_tensor(b, at::kDouble));
}

inline const GradcheckComparison& only_comparison(const GradcheckResult& result) {
  if (result.comparisons.size() != 1) {
    throw std::runtime_error("expected one comparison:\n" + result.to_string());
  }
  return result.comparisons[0];
}

/// Expects a single failure, whose message contains `message`.
inline void expect_failure(const GradcheckResult& result, const std::string& message) {
  EXPECT_FALSE(result);
  EXPECT_THAT(result.failures, ElementsAre(HasSubstr(message)));
}

/// The backward pass of a function of one input and output.
template <typename Gradient>
GradcheckBackward backward_of(Gradient gradient) {
  return [gradient](T in, T y, T g) -> Tensors { return {gradient(in[0], y[0], g[0])}; };
}

}  // namespace twingrad::gradcheck_tests
