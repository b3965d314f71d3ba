#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <twingrad/gradcheck/gradcheck.h>

#include <iostream>

class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& bias) {
    context->save_for_backward({x, weight});
    return at::matmul(x, weight.t()) + bias;
  }
  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          std::vector<at::Tensor> grad_y) {
    const auto saved = context->get_saved_variables();
    return {grad_y[0].matmul(saved[1]), grad_y[0].t().matmul(saved[0]),
            grad_y[0][-1]};  // wrong: should be .sum(0)
  }
};

int main() {
  at::manual_seed(1);
  const auto random = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble).requires_grad_(); };
  const twingrad::GradcheckResult result = twingrad::gradcheck(
      [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
        return {Linear::apply(in[0], in[1], in[2])};
      },
      {random({4, 3}), random({2, 3}), random({2})},
      {.input_names = {"x", "weight", "bias"}, .output_names = {"y"}});
  std::cout << result.to_string(4);
  return result ? 0 : 1;
}
