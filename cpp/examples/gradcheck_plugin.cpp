// A library for `twingrad check --plugin`: an activation of your own, checked by the installed program.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <twingrad/gradcheck/plugin.h>

namespace {

/// y = x · sigmoid(x), with ∂y/∂x = s + x s (1 − s), s = sigmoid(x).
class Swish : public torch::autograd::Function<Swish> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return x * x.sigmoid();
  }
  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& grad_outputs) {
    const at::Tensor x = context->get_saved_variables()[0], s = x.sigmoid();
    return {grad_outputs[0] * (s + x * s * (1 - s))};
  }
};

}  // namespace

TWINGRAD_GRADCHECK_PLUGIN {
  const auto swish = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {Swish::apply(in[0])};
  };
  const auto reference = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {at::silu(in[0])};
  };
  const at::Tensor x = at::randn({4, 3}, at::kDouble).requires_grad_();
  return {{.name = "swish", .function = swish, .inputs = {x}, .options = {.reference = reference}}};
}
