#include "twingrad/layers/activations.h"

#include <torch/nn/functional.h>

#include <cmath>
#include <limits>
#include <map>

#include "twingrad/catalogue/cases.h"

namespace twingrad::catalogue {
namespace {

namespace F = torch::nn::functional;

struct Reference {
  std::function<Tensor(const Tensor&)> function;
  /// The wrong slope that people write for this one, and why.
  std::string bug;
  std::string why;
  std::function<Tensor(const Tensor& x, const Tensor& y)> wrong_slope;
  /// At which infinities LibTorch's value and slope are numbers (or infinite), not NaN: x Φ(x), x σ(x) and
  /// x/(1 + |x|) meet 0 · ∞ or ∞/∞ there.
  std::vector<double> infinities = {-kInfinity, kInfinity};
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
       {[](T x) { return F::gelu(x); },
        "density_forgotten",
        "x Φ(x) is a product: the rule has two terms",
        [](T x, T) { return 0.5 * (1 + (x * M_SQRT1_2).erf()); },
        {}}},
      {"gelu_tanh",
       {[](T x) { return F::gelu(x, F::GELUFuncOptions().approximate("tanh")); },
        "exact_derivative",
        "the derivative of the exact GELU, close enough to train with",
        [](T x, T) {
          return 0.5 * (1 + (x * M_SQRT1_2).erf()) +
                 x * (-0.5 * x * x).exp() * (0.5 * M_2_SQRTPI * M_SQRT1_2);
        },
        {}}},
      {"silu",
       {[](T x) { return F::silu(x); },
        "sigmoid_alone",
        "x σ(x) is a product: the rule has two terms",
        [](T x, T) { return x.sigmoid(); },
        {}}},
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
       {[](T x) { return F::softsign(x); },
        "not_squared",
        "the quotient rule leaves a square in the denominator",
        [](T x, T) { return 1 / (1 + x.abs()); },
        {}}},
  };
  return all;
}

Entry activation(const ActivationEntry& entry) {
  const Reference& reference = references().at(entry.name);
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}, 2)};
  };
  std::vector<Case> cases =
      cases_of(inputs) +
      std::vector<Case>{
          {"kinks and far values",
           {at::tensor({-1e4, -50., -1., -0., 0., 1., 20., 20.5, 50., 1e4}).to(at::kDouble).view({2, 5})},
           false}};
  if (!reference.infinities.empty()) {
    cases.push_back({"infinite", {at::tensor(reference.infinities).to(at::kDouble).view({1, -1})}, false});
  }
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

std::vector<Entry> activation_entries() {
  std::vector<Entry> entries;
  for (const ActivationEntry& entry : activations()) {
    entries.push_back(activation(entry));
  }
  return entries;
}

}  // namespace twingrad::catalogue
