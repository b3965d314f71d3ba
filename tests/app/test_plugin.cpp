#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "twingrad/gradcheck/plugin.h"

// A library for `twingrad check --plugin` whose fault is the value of the variable TWINGRAD_TEST_PLUGIN.
namespace {

using Tensors = std::vector<at::Tensor>;

std::string fault() {
  const char* value = std::getenv("TWINGRAD_TEST_PLUGIN");
  return value == nullptr ? "" : value;
}

class WrongSquare : public torch::autograd::Function<WrongSquare> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return x * x;
  }
  static Tensors backward(torch::autograd::AutogradContext* context, const Tensors& grad_outputs) {
    return {-2 * context->get_saved_variables()[0] * grad_outputs[0]};
  }
};

std::vector<twingrad::GradcheckCase> cases() {
  if (fault() == "throws") {
    throw std::runtime_error("no cases today");
  }
  if (fault() == "empty") {
    return {};
  }
  const at::Tensor x = at::randn({3}, at::kDouble).requires_grad_();
  const auto sine = [](const Tensors& in) -> Tensors { return {in[0].sin()}; };
  const auto square = [](const Tensors& in) -> Tensors { return {WrongSquare::apply(in[0])}; };
  std::vector<twingrad::GradcheckCase> all;
  all.push_back({.name = "sine", .function = sine, .inputs = {x}, .second_derivatives = true});
  if (fault() == "wrong") {
    all.push_back({.name = "a \"square\" & 100 %: \x01\xff", .function = square, .inputs = {x}});
  }
  return all;
}

}  // namespace

extern "C" const twingrad::GradcheckPlugin* twingrad_gradcheck_plugin() {
  static const twingrad::GradcheckPlugin plugin = {fault() == "old" ? "0.4.1" : TORCH_VERSION,
                                                   sizeof(twingrad::GradcheckCase) + (fault() == "headers"),
                                                   &cases};
  return &plugin;
}
