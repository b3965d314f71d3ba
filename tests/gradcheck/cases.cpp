#include <ATen/ATen.h>

#include <cstdio>
#include <vector>

#include "twingrad/gradcheck/gradcheck.h"

// Prints one line per case: its name, whether it passes gradcheck in full mode, in fast mode, and
// gradgradcheck, and the result in full mode as JSON. tests/python/gradcheck_compare.py has the same cases
// and compares with Python.
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

Tensor line(double from, double to, at::IntArrayRef shape) {
  const std::int64_t count = c10::multiply_integers(shape);
  return at::linspace(from, to, count, at::kDouble).view(shape).requires_grad_();
}

Tensor spiral(at::IntArrayRef shape) {
  const Tensor angle = line(0.3, 2.9, shape).detach();
  return at::complex(angle * angle.cos(), angle.sin()).requires_grad_();
}

/// The value of one function with the derivative of another.
Tensor planted(const Tensor& value, const Tensor& derivative_of) {
  return value.detach() + derivative_of - derivative_of.detach();
}

struct Case {
  const char* name;
  twingrad::GradcheckFunction function;
  Tensors inputs;
};

// clang-format off
std::vector<Case> cases() {
  const Tensor x = line(-1.9, 2.1, {3, 4});
  const Tensor positive = line(0.5, 2.0, {3, 4});
  const Tensor w = line(-0.7, 0.8, {4, 2});
  const Tensor z = spiral({2, 3});
  using T = const Tensors&;
  return {
      {"sin", [](T in) -> Tensors { return {in[0].sin()}; }, {x}},
      {"log", [](T in) -> Tensors { return {in[0].log()}; }, {positive}},
      {"matmul", [](T in) -> Tensors { return {in[0].matmul(in[1])}; }, {x, w}},
      {"softmax", [](T in) -> Tensors { return {in[0].softmax(1)}; }, {x}},
      {"log_softmax", [](T in) -> Tensors { return {in[0].log_softmax(1)}; }, {x}},
      {"variance", [](T in) -> Tensors { return {in[0].var(1)}; }, {x}},
      {"two outputs", [](T in) -> Tensors { return {in[0].exp(), in[0].sum()}; }, {x}},
      {"transposed input", [](T in) -> Tensors { return {in[0].tanh()}; }, {x.detach().t().requires_grad_()}},
      {"unused input", [](T in) -> Tensors { return {in[0].exp()}; }, {x, w}},
      {"no elements", [](T in) -> Tensors { return {in[0] * 2}; }, {line(0, 1, {0, 3})}},
      {"complex product", [](T in) -> Tensors { return {in[0] * in[0]}; }, {z}},
      {"complex modulus", [](T in) -> Tensors { return {in[0].abs()}; }, {z}},
      {"complex conjugate", [](T in) -> Tensors { return {in[0].conj() * in[0].exp()}; }, {z}},
      {"constant", [](T) -> Tensors { return {at::ones({2}, at::kDouble)}; }, {x}},
      {"wrong: sign", [](T in) -> Tensors { return {planted(in[0].exp(), -in[0].exp())}; }, {x}},
      {"wrong: factor", [](T in) -> Tensors { return {planted(in[0].pow(2), 2 * in[0].pow(2))}; }, {x}},
      {"wrong: sum for mean", [](T in) -> Tensors { return {planted(in[0].mean(), in[0].sum())}; }, {x}},
      {"wrong: by 0.2 %", [](T in) -> Tensors { return {planted(in[0].exp(), 1.002 * in[0].exp())}; }, {x}},
      {"within tolerance: by 0.05 %",
       [](T in) -> Tensors { return {planted(in[0].exp(), 1.0005 * in[0].exp())}; }, {x}},
      {"wrong: softmax with a constant sum", [](T in) -> Tensors {
         const Tensor e = in[0].exp();
         return {planted(in[0].softmax(1), e / e.sum(1, true).detach())};
       }, {x}},
      {"wrong: one input of two", [](T in) -> Tensors { return {in[0].matmul(in[1].detach())}; }, {x, w}},
      {"wrong: detached", [](T in) -> Tensors { return {in[0].detach() * 2}; }, {x}},
      {"wrong: second output", [](T in) -> Tensors { return {in[0].exp(), planted(in[0].sin(), in[0])}; },
       {x}},
      {"wrong: complex", [](T in) -> Tensors { return {planted(in[0] * in[0], in[0] * in[0].conj())}; }, {z}},
      {"wrong: a NaN", [](T in) -> Tensors { return {in[0].sqrt()}; }, {x}},
      {"kink", [](T in) -> Tensors { return {in[0].relu()}; }, {line(-1, 1, {3})}},
      {"overlapping input", [](T in) -> Tensors { return {in[0].exp()}; },
       {at::ones({1}, at::kDouble).expand({3}).detach().requires_grad_()}},
      {"no gradient required", [](T in) -> Tensors { return {in[0].exp()}; }, {at::ones({2}, at::kDouble)}},
  };
}
// clang-format on

const char* word(const twingrad::GradcheckResult& result) { return result ? "pass" : "fail"; }

}  // namespace

int main() {
  for (const Case& item : cases()) {
    const twingrad::GradcheckResult result = twingrad::gradcheck(item.function, item.inputs);
    std::printf(
        "%s\t%s\t%s\t%s\t%s\n", item.name, word(result),
        word(twingrad::gradcheck(item.function, item.inputs, {.mode = twingrad::GradcheckMode::fast})),
        word(twingrad::gradgradcheck(item.function, item.inputs)), result.to_json().c_str());
  }
}
