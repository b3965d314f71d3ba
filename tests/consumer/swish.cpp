// A stranger's program: its own torch::autograd::Function, checked by twingrad::gradcheck.
#include <torch/torch.h>
#include <twingrad/gradcheck/gradcheck.h>

#include <iostream>

/// x sigmoid(x). Wrong: with the slope of the sigmoid's factor forgotten.
template <bool kWrong>
class Swish : public torch::autograd::Function<Swish<kWrong>> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x) {
    context->save_for_backward({x});
    return x * x.sigmoid();
  }

  static std::vector<torch::Tensor> backward(torch::autograd::AutogradContext* context,
                                             std::vector<torch::Tensor> grad_outputs) {
    const torch::Tensor x = context->get_saved_variables()[0];
    const torch::Tensor sigmoid = x.sigmoid();
    const torch::Tensor slope = kWrong ? sigmoid : sigmoid * (1 + x * (1 - sigmoid));
    return {grad_outputs[0] * slope};
  }
};

template <bool kWrong>
twingrad::Verdict check(const torch::Tensor& x) {
  return twingrad::gradcheck(
      [](const std::vector<torch::Tensor>& in) -> std::vector<torch::Tensor> {
        return {Swish<kWrong>::apply(in[0])};
      },
      {x}, {.input_names = {"x"}, .output_names = {"swish"}});
}

int main() {
  torch::manual_seed(1);
  const torch::Tensor x = torch::randn({2, 3}, torch::kDouble).requires_grad_();
  const twingrad::Verdict right = check<false>(x);
  const twingrad::Verdict wrong = check<true>(x);
  std::cout << right.to_string() << '\n' << wrong.to_string(3);
  return right && !wrong ? 0 : 1;
}
