#pragma once

#include <torch/torch.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/gradcheck/gradcheck.h"

/// What the tests of the checker are made of: random inputs, and functions whose derivative can be planted.
namespace twingrad::testing {

using torch::Tensor;
using Tensors = std::vector<Tensor>;

/// Standard normal, float64, requires a gradient.
inline Tensor random_tensor(at::IntArrayRef shape) {
  return torch::randn(shape, torch::kDouble).requires_grad_();
}

/// Uniform in [1, 2]: far from the kinks and poles at 0.
inline Tensor positive_tensor(at::IntArrayRef shape) {
  return (torch::rand(shape, torch::kDouble) + 1).requires_grad_();
}

using Gradient = std::function<Tensors(const Tensors& inputs, const Tensors& grad_outputs)>;

/// A torch::autograd::Function as users write them, with forward and backward from outside.
class PlantedFunction : public torch::autograd::Function<PlantedFunction> {
 public:
  static Tensors forward(torch::autograd::AutogradContext* context, const Tensor& x,
                         const twingrad::Function* function, const Gradient* gradient) {
    context->save_for_backward({x});
    context->saved_data["gradient"] = reinterpret_cast<std::int64_t>(gradient);
    return (*function)({x});
  }

  static Tensors backward(torch::autograd::AutogradContext* context, Tensors grad_outputs) {
    const auto* gradient = reinterpret_cast<const Gradient*>(context->saved_data["gradient"].toInt());
    const Tensors gradients = (*gradient)(context->get_saved_variables(), grad_outputs);
    return {gradients[0], Tensor(), Tensor()};  // none for the two pointers
  }
};

/// `function` of one input with `gradient` for its derivative, for autograd. The function must outlive its
/// outputs.
inline Function with_gradient(Function function, Gradient gradient) {
  return [function = std::make_shared<const Function>(std::move(function)),
          gradient = std::make_shared<const Gradient>(std::move(gradient))](const Tensors& inputs) {
    return PlantedFunction::apply(inputs[0], function.get(), gradient.get());
  };
}

inline const Comparison& only_comparison(const Verdict& verdict) {
  if (verdict.comparisons.size() != 1) {
    throw std::runtime_error("expected one comparison:\n" + verdict.to_string());
  }
  return verdict.comparisons[0];
}

}  // namespace twingrad::testing
