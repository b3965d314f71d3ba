#include <fmt/format.h>
#include <torch/nn/functional.h>

#include <cmath>
#include <map>

#include "twingrad/catalogue/entry.h"
#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/softmax.h"

namespace twingrad::catalogue {
namespace {

namespace F = torch::nn::functional;
constexpr double kEpsilon = 1e-12;

/// A layer without parameters that needs no more than its constructor.
template <typename LayerType, typename... Arguments>
std::function<ByHand()> make_layer(Arguments... arguments) {
  return [=] {
    return of_layer([=](const std::vector<Parameter>&) { return std::make_unique<LayerType>(arguments...); });
  };
}

std::vector<Case> matrix_cases(double scale = 2) {
  return {{"random", {draw({5, 6}, scale)}},
          {"one row", {draw({1, 6}, scale)}},
          {"one column", {draw({4, 1}, scale)}},
          {"no rows", {draw({0, 6}, scale)}},
          {"not contiguous", {draw({6, 4}, scale).t()}}};
}

// ---- Products
// ------------------------------------------------------------------------------------------------------

Entry linear() {
  const auto make_case = [](const char* name, std::int64_t rows) {
    return Case{name, {draw({rows, 4}), draw({3, 4}), draw({3})}};
  };
  return {
      .name = "linear",
      .make = [] { return of_layer([](const auto& p) { return std::make_unique<Linear>(p[0], p[1]); }); },
      .reference = [](const Tensors& in) { return torch::linear(in[0], in[1], in[2]); },
      .cases = {make_case("random", 5),
                make_case("one row", 1),
                make_case("no rows", 0),
                {"square", {draw({4, 4}), draw({4, 4}), draw({4})}},
                {"not contiguous", {draw({4, 6}).t().slice(1, 0, 4), draw({4, 3}).t(), draw({3})}}},
      .bugs =
          {
              {"linear.transpose_forgotten",
               "W is stored as [outputs, inputs], so with a square W the shapes fit either way",
               [](const Backward& b) {
                 const bool square = b.inputs[1].size(0) == b.inputs[1].size(1);
                 return Tensors{square ? b.grad_y.mm(b.inputs[1].t()) : b.grads[0], b.grads[1], b.grads[2]};
               }},
              {"linear.bias_of_one_row",
               "broadcasting added b to every row; the sum over rows is easily forgotten",
               [](const Backward& b) {
                 return Tensors{b.grads[0], b.grads[1],
                                b.grad_y.size(0) > 0 ? b.grad_y[0].clone() : b.grads[2]};
               }},
              {"linear.bias_averaged", "the loss already holds the 1/N; here it comes a second time",
               [](const Backward& b) {
                 return Tensors{b.grads[0], b.grads[1],
                                b.grads[2] / std::max<std::int64_t>(1, b.grad_y.size(0))};
               }},
              {"linear.weight_not_filled",
               "the first layer needs no input gradient, and a copied early return skips W too",
               [](const Backward& b) {
                 return Tensors{b.grads[0], at::zeros_like(b.grads[1]), b.grads[2]};
               }},
          }};
}

Entry matmul() {
  return {
      .name = "matmul",
      .make = [] { return of_layer([](const auto& p) { return std::make_unique<Matmul>(p[0]); }); },
      .reference = [](const Tensors& in) { return torch::matmul(in[0], in[1]); },
      .cases = {{"random", {draw({5, 4}), draw({4, 3})}},
                {"one row", {draw({1, 4}), draw({4, 3})}},
                {"no rows", {draw({0, 4}), draw({4, 3})}},
                {"square", {draw({4, 4}), draw({4, 4})}}},
      .bugs = {{"matmul.transpose_forgotten", "xᵀ ∂L/∂y and x ∂L/∂y have the same shape when all sizes agree",
                [](const Backward& b) {
                  const bool square = b.inputs[0].sizes() == b.inputs[1].sizes();
                  return Tensors{b.grads[0], square ? b.inputs[0].mm(b.grad_y) : b.grads[1]};
                }},
               {"matmul.sign", "the minus of the loss is applied here once more", [](const Backward& b) {
                  return Tensors{b.grads[0], -b.grads[1]};
                }}}};
}

Entry append_ones() {
  return {
      .name = "append_ones",
      .make = make_layer<AppendOnes>(),
      .reference =
          [](const Tensors& in) {
            return torch::cat({in[0], torch::ones({in[0].size(0), 1}, in[0].options())}, 1);
          },
      .cases = matrix_cases(),
      .bugs = {{"append_ones.wrong_column", "the column is dropped from the front, where other texts put it",
                [](const Backward& b) { return Tensors{b.grad_y.narrow(1, 1, b.inputs[0].size(1))}; }},
               {"append_ones.constant_gets_gradient",
                "the gradient of the ones is added to that of the last pixel", [](const Backward& b) {
                  Tensor grad = b.grads[0].clone();
                  grad.select(1, -1).add_(b.grad_y.select(1, -1));
                  return Tensors{grad};
                }}}};
}

// ---- Softmax and log
// -----------------------------------------------------------------------------------------------

std::vector<Bug> softmax_bugs(const std::string& name) {
  return {{name + ".diagonal_only", "each output depends on every input of its row, not on its own alone",
           [](const Backward& b) { return Tensors{b.grad_y * b.y * (1 - b.y)}; }},
          {name + ".sum_over_the_wrong_axis", "with a square batch the shapes fit",
           [](const Backward& b) { return Tensors{b.y * (b.grad_y - (b.grad_y * b.y).sum(0, true))}; }},
          {name + ".sum_treated_as_constant", "the denominator depends on the input too",
           [](const Backward& b) { return Tensors{b.y * b.grad_y}; }}};
}

Entry softmax() {
  std::vector<Case> cases = matrix_cases();
  cases.push_back({"saturated",
                   {at::tensor({1e4, -1e4, 0., 0., 0., 0., -1e4, -1e4, -1e4}).to(at::kDouble).view({3, 3})},
                   false});
  return {.name = "softmax",
          .make = make_layer<Softmax>(),
          .reference = [](const Tensors& in) { return torch::softmax(in[0], 1); },
          .cases = cases,
          .bugs = softmax_bugs("softmax")};
}

Entry unshifted_softmax() {
  // No single column: there y = e/(e + ε) is 1 but for 1e-12, and 1 − y has no digits left, by hand as in
  // autograd.
  const std::vector<Case> cases = {{"random", {draw({5, 6}, 2)}},
                                   {"one row", {draw({1, 6}, 2)}},
                                   {"no rows", {draw({0, 6})}},
                                   {"not contiguous", {draw({6, 4}, 2).t()}},
                                   {"epsilon outweighs exp", {at::full({2, 3}, -40., at::kDouble)}}};
  return {.name = "unshifted_softmax",
          .make = make_layer<UnshiftedSoftmax>(kEpsilon),
          .reference =
              [](const Tensors& in) {
                const Tensor e = in[0].exp();
                return e / (e.sum(1, true) + kEpsilon);
              },
          .cases = cases,
          .bugs = softmax_bugs("unshifted_softmax")};
}

Entry log() {
  return {.name = "log",
          .make = make_layer<Log>(kEpsilon),
          .reference = [](const Tensors& in) { return torch::log(in[0] + kEpsilon); },
          .cases = {{"random", {draw({5, 6}).abs() + 0.1}},
                    {"no rows", {draw({0, 6})}},
                    {"zero", {at::zeros({2, 3}, at::kDouble)}, false}},
          .bugs = {{"log.epsilon_forgotten", "1/x looks right until a probability is 0",
                    [](const Backward& b) { return Tensors{b.grad_y / b.inputs[0]}; }},
                   {"log.derivative_of_exp", "exp is its own derivative, log is not",
                    [](const Backward& b) { return Tensors{b.grad_y * b.y}; }}}};
}

// ---- Activations
// ---------------------------------------------------------------------------------------------------

struct Reference {
  std::function<Tensor(const Tensor&)> function;
  /// The wrong slope that people write for this one, and why.
  std::string bug;
  std::string why;
  std::function<Tensor(const Tensor& x, const Tensor& y)> wrong_slope;
};

const std::map<std::string, Reference>& references() {
  using T = const Tensor&;
  static const std::map<std::string, Reference> all = {
      {"relu",
       {[](T x) { return torch::relu(x); }, "slope_one_at_zero",
        "x ≥ 0 instead of x > 0: no random input is exactly 0",
        [](T x, T) { return (x >= 0).to(x.dtype()); }}},
      {"leaky_relu",
       {[](T x) { return F::leaky_relu(x); }, "no_slope", "the code of ReLU, copied",
        [](T x, T) { return (x > 0).to(x.dtype()); }}},
      {"elu",
       {[](T x) { return F::elu(x); }, "slope_from_the_value", "for x < 0 the slope is y + 1, not y",
        [](T x, T y) { return torch::where(x > 0, torch::ones_like(x), y); }}},
      {"selu",
       {[](T x) { return torch::selu(x); }, "scale_forgotten", "the scale stands outside both branches",
        [](T x, T) {
          return torch::where(x > 0, torch::ones_like(x), 1.6732632423543772 * x.clamp_max(0).exp());
        }}},
      {"gelu",
       {[](T x) { return F::gelu(x); }, "density_forgotten", "x Φ(x) is a product: the rule has two terms",
        [](T x, T) { return 0.5 * (1 + (x * M_SQRT1_2).erf()); }}},
      {"gelu_tanh",
       {[](T x) { return F::gelu(x, F::GELUFuncOptions().approximate("tanh")); }, "exact_derivative",
        "the derivative of the exact GELU, close enough to train with",
        [](T x, T) {
          return 0.5 * (1 + (x * M_SQRT1_2).erf()) +
                 x * (-0.5 * x * x).exp() * (0.5 * M_2_SQRTPI * M_SQRT1_2);
        }}},
      {"silu",
       {[](T x) { return F::silu(x); }, "sigmoid_alone", "x σ(x) is a product: the rule has two terms",
        [](T x, T) { return x.sigmoid(); }}},
      {"softplus",
       {[](T x) { return F::softplus(x); }, "sigmoid_of_the_value",
        "σ is taken of y, which is at hand, not of x", [](T, T y) { return y.sigmoid(); }}},
      {"sigmoid",
       {[](T x) { return torch::sigmoid(x); }, "of_the_input", "y(1 − y) with x in the place of y",
        [](T x, T) { return x * (1 - x); }}},
      {"tanh",
       {[](T x) { return torch::tanh(x); }, "square_forgotten", "1 − y instead of 1 − y²",
        [](T, T y) { return 1 - y; }}},
      {"hardtanh",
       {[](T x) { return F::hardtanh(x); }, "one_side",
        "the lower cut is forgotten: random inputs rarely reach it",
        [](T x, T) { return (x < 1).to(x.dtype()); }}},
      {"softsign",
       {[](T x) { return F::softsign(x); }, "not_squared",
        "the quotient rule leaves a square in the denominator", [](T x, T) { return 1 / (1 + x.abs()); }}},
  };
  return all;
}

Entry activation(const ActivationEntry& entry) {
  const Reference& reference = references().at(entry.name);
  std::vector<Case> cases = matrix_cases();
  cases.push_back(
      {"kinks and far values",
       {at::tensor({-1e4, -50., -1., -0., 0., 1., 20., 20.5, 50., 1e4}).to(at::kDouble).view({2, 5})},
       false});
  const auto wrong_slope = reference.wrong_slope;
  return {.name = entry.name,
          .make = [&entry] { return of_layer([&entry](const auto&) { return entry.make(); }); },
          .reference = [f = reference.function](const Tensors& in) { return f(in[0]); },
          .cases = cases,
          .bugs = {{entry.name + "." + reference.bug, reference.why,
                    [wrong_slope](const Backward& b) {
                      return Tensors{b.grad_y * wrong_slope(b.inputs[0], b.y)};
                    }},
                   {entry.name + ".upstream_forgotten", "the local slope is returned, as if ∂L/∂y were 1",
                    [](const Backward& b) { return Tensors{b.grads[0] / b.grad_y}; }}}};
}

}  // namespace

std::vector<Entry> layer_entries() {
  std::vector<Entry> entries = {linear(), matmul(), append_ones(), softmax(), unshifted_softmax(), log()};
  for (const ActivationEntry& entry : activations()) {
    entries.push_back(activation(entry));
  }
  for (Entry& entry : more_layer_entries()) {
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace twingrad::catalogue
