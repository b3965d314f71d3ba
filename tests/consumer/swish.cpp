// A user's program: it checks its own torch::autograd::Function with twingrad::gradcheck.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <twingrad/gradcheck/gradcheck.h>

#include <iostream>

/// x sigmoid(x). If kWrong, the backward pass omits the derivative of the sigmoid.
template <bool kWrong>
class Swish : public torch::autograd::Function<Swish<kWrong>> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return x * x.sigmoid();
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          std::vector<at::Tensor> grad_outputs) {
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor sigmoid = x.sigmoid();
    const at::Tensor slope = kWrong ? sigmoid : sigmoid * (1 + x * (1 - sigmoid));
    return {grad_outputs[0] * slope};
  }
};

template <bool kWrong>
twingrad::GradcheckResult check(const at::Tensor& x) {
  return twingrad::gradcheck(
      [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
        return {Swish<kWrong>::apply(in[0])};
      },
      {x}, {.input_names = {"x"}, .output_names = {"swish"}});
}

int main() {
  at::manual_seed(1);
  const at::Tensor x = at::randn({2, 3}, at::kDouble).requires_grad_();
  const twingrad::GradcheckResult right = check<false>(x);
  const twingrad::GradcheckResult wrong = check<true>(x);
  std::cout << right.to_string() << '\n' << wrong.to_string(3);
  return right && !wrong ? 0 : 1;
}
