#include "twingrad/layers/activations.h"

#include <cmath>
#include <map>

#include "twingrad/catalogue/cases.h"
#include "twingrad/mlp/torch_reference.h"

namespace twingrad::catalogue {
namespace {

/// The planted bug and the edge cases of an activation.
struct ActivationFacts {
  std::string bug;  ///< a common wrong derivative
  std::string why;
  std::function<Tensor(const Tensor& x, const Tensor& y)> wrong_slope;
  /// The infinities at which LibTorch's value and slope are not NaN. x Φ(x), x σ(x) and x/(1 + |x|) become 0
  /// · ∞ or ∞/∞ there.
  std::vector<double> infinities = {-kInfinity, kInfinity};
};

const std::map<std::string, ActivationFacts>& activation_facts() {
  using T = const Tensor&;
  static const std::map<std::string, ActivationFacts> all = {
      {"relu",
       {"slope_one_at_zero", "x ≥ 0 instead of x > 0: no random input is exactly 0",
        [](T x, T) { return (x >= 0).to(x.dtype()); }}},
      {"leaky_relu",
       {"no_slope", "copied from ReLU: the slope for x < 0 is missing",
        [](T x, T) { return (x > 0).to(x.dtype()); }}},
      {"elu",
       {"slope_from_output", "for x < 0 the slope is y + 1, not y",
        [](T x, T y) { return at::where(x > 0, at::ones_like(x), y); }}},
      {"selu",
       {"scale_forgotten", "the scale multiplies both branches, so it belongs to both slopes",
        [](T x, T) {
          return at::where(x > 0, at::ones_like(x), 1.6732632423543772 * x.clamp_max(0).exp());
        }}},
      {"gelu",
       {"density_forgotten",
        "x Φ(x) is a product: the second term of the product rule is missing",
        [](T x, T) { return 0.5 * (1 + (x * M_SQRT1_2).erf()); },
        {}}},
      {"gelu_tanh",
       {"exact_derivative",
        "the derivative of the exact GELU: close enough to train with",
        [](T x, T) {
          return 0.5 * (1 + (x * M_SQRT1_2).erf()) +
                 x * (-0.5 * x * x).exp() * (0.5 * M_2_SQRTPI * M_SQRT1_2);
        },
        {}}},
      {"silu",
       {"sigmoid_alone",
        "x σ(x) is a product: the second term of the product rule is missing",
        [](T x, T) { return x.sigmoid(); },
        {}}},
      {"softplus",
       {"sigmoid_of_output", "σ(y) instead of σ(x): y is the saved tensor",
        [](T, T y) { return y.sigmoid(); }}},
      {"sigmoid", {"from_input", "x(1 − x) instead of y(1 − y)", [](T x, T) { return x * (1 - x); }}},
      {"tanh", {"square_forgotten", "1 − y instead of 1 − y²", [](T, T y) { return 1 - y; }}},
      {"hardtanh",
       {"one_side", "the lower bound is forgotten: random inputs rarely reach it",
        [](T x, T) { return (x < 1).to(x.dtype()); }}},
      {"softsign",
       {"not_squared",
        "the quotient rule squares the denominator",
        [](T x, T) { return 1 / (1 + x.abs()); },
        {}}},
  };
  return all;
}

FunctionEntry activation(const nn::ActivationEntry& entry) {
  const ActivationFacts& facts = activation_facts().at(entry.name);
  std::vector<Case> cases = cases_of([](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}, 2)};
  });
  cases.push_back(
      {"kinks and far values", {matrix({-1e4, -50, -1, -0., 0, 1, 20, 20.5, 50, 1e4}, 2)}, false});
  if (!facts.infinities.empty()) {
    cases.push_back({"infinite", {at::tensor(facts.infinities).to(at::kDouble).view({1, -1})}, false});
  }
  std::vector<Bug> bugs = {
      {entry.name + "." + facts.bug, facts.why,
       [slope = facts.wrong_slope](const Backward& b) {
         return Tensors{b.grad_y * slope(b.inputs[0], b.y)};
       }},
      {entry.name + ".upstream_forgotten", "the local slope is returned, as if ∂L/∂y were 1",
       [](const Backward& b) { return Tensors{b.grads[0] / b.grad_y}; }}};
  if (entry.name == "relu") {
    bugs.push_back({"relu.mask_from_gradient", "the mask is taken from the sign of ∂L/∂y, not of x",
                    [](const Backward& b) { return Tensors{b.grad_y.clamp_min(0)}; }});
  }
  return {.name = entry.name,
          .make = [&entry] { return of_layer([&entry](const auto&) { return entry.make(); }); },
          .reference = [function = torch_reference::activation(entry.name)](
                           const Tensors& in) { return function(in[0]); },
          .cases = cases,
          .bugs = bugs};
}

}  // namespace

std::vector<FunctionEntry> activation_entries() {
  std::vector<FunctionEntry> entries;
  for (const nn::ActivationEntry& entry : nn::activations()) {
    entries.push_back(activation(entry));
  }
  return entries;
}

}  // namespace twingrad::catalogue
