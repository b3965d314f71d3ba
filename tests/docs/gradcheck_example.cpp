#include <torch/torch.h>
#include <twingrad/gradcheck/gradcheck.h>

#include <iostream>

class Linear : public torch::autograd::Function<Linear> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, torch::Tensor x,
                               torch::Tensor weight, torch::Tensor bias) {
    context->save_for_backward({x, weight});
    return torch::matmul(x, weight.t()) + bias;
  }
  static std::vector<torch::Tensor> backward(torch::autograd::AutogradContext* context,
                                             std::vector<torch::Tensor> grad_y) {
    const auto saved = context->get_saved_variables();
    return {grad_y[0].matmul(saved[1]), grad_y[0].t().matmul(saved[0]),
            grad_y[0][-1]};  // wrong: should be .sum(0)
  }
};

int main() {
  torch::manual_seed(1);
  const auto random = [](at::IntArrayRef shape) {
    return torch::randn(shape, torch::kDouble).requires_grad_();
  };
  const twingrad::GradcheckResult result = twingrad::gradcheck(
      [](const std::vector<torch::Tensor>& in) -> std::vector<torch::Tensor> {
        return {Linear::apply(in[0], in[1], in[2])};
      },
      {random({4, 3}), random({2, 3}), random({2})},
      {.input_names = {"x", "weight", "bias"}, .output_names = {"y"}});
  std::cout << result.to_string(4);
  return result ? 0 : 1;
}
