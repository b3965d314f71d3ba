#include "twingrad/catalogue/check.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/gradcheck/gradcheck.h"
#include "twingrad/training/agreement.h"

namespace twingrad::catalogue {
namespace {

/// Against autograd in float64: the same formula in another order of some ten roundings of 1e-16.
constexpr double kAutogradTolerance = 1e-12;
/// Against differences in float64 with h = 1e-6: |ours − numeric| ≤ 1e-7 + 1e-6 |numeric|. Truncation is of
/// the order of h² = 1e-12, rounding ε|y|/h = 1e-10 |y| with |y| up to 100.
constexpr double kDifferenceAbsolute = 1e-7;
constexpr double kDifferenceRelative = 1e-6;
/// float32 against float64: 128 roundings of 6e-8; the functions amplify the rounding of their input by |x
/// f′/f|.
constexpr double kFloatTolerance = 128 * 0x1p-24;
/// 1,000 steps beside torch::optim in float64: 1e-12 is 4,500 roundings.
constexpr double kWalkTolerance = 1e-12;

/// The same function with a bug in its backward.
ByHand with_bug(const ByHand& right, const Bug& bug) {
  struct State {
    Tensors inputs;
    Tensor y;
  };
  const auto state = std::make_shared<State>();
  return {.forward =
              [=](const Tensors& inputs) {
                state->inputs = inputs;
                return state->y = right.forward(inputs);
              },
          .backward =
              [=](const Tensor& grad_y) {
                const Tensors grads = right.backward(grad_y);
                return bug.wrong({state->inputs, state->y, grad_y, grads});
              }};
}

Tensors autograd_gradients(const Entry& entry, const Tensors& inputs, const Tensor& grad_y) {
  const at::AutoGradMode with_gradients(true);
  Tensors leaves;
  for (const Tensor& input : inputs) {
    leaves.push_back(input.detach().clone().set_requires_grad(true));
  }
  return torch::autograd::grad({entry.reference(leaves)}, leaves, {grad_y});
}

/// Takes in one comparison of two tensors.
void take_in(Check& row, const Tensor& expected, const Tensor& actual, const std::string& what) {
  const Difference found = difference(expected, actual);
  row.max_abs_error = std::max(row.max_abs_error, found.absolute);
  row.max_rel_error = std::max(row.max_rel_error, found.relative);
  if (!(found.relative <= row.tolerance)) {
    row.passed = false;
    row.detail += fmt::format("{}: {:.2g} of the largest entry apart\n", what, found.relative);
  }
}

std::string what_of(const Case& at, std::size_t input) {
  return fmt::format("{}, ∂L/∂{}", at.name, input == 0 ? "x" : fmt::format("parameter {}", input));
}

Check against_autograd(const Entry& entry, const ByHand& by_hand) {
  Check row{entry.name, "autograd", "float64", 0, 0, kAutogradTolerance, true, ""};
  for (const Case& at : entry.cases) {
    const Tensor expected = entry.reference(at.inputs);
    take_in(row, expected, by_hand.forward(at.inputs), at.name + ", y");
    const Tensor grad_y = draw(expected.sizes());
    const Tensors expected_grads = autograd_gradients(entry, at.inputs, grad_y);
    const Tensors grads = by_hand.backward(grad_y);
    for (std::size_t i = 0; i < expected_grads.size(); ++i) {
      take_in(row, expected_grads[i], i < grads.size() ? grads[i] : Tensor(), what_of(at, i));
    }
  }
  return row;
}

Check against_differences(const Entry& entry, const ByHand& by_hand) {
  Check row{entry.name, "finite-difference", "float64", 0, 0, kDifferenceRelative, true, ""};
  Options options;
  options.atol = kDifferenceAbsolute;
  options.rtol = kDifferenceRelative;
  for (const Case& at : entry.cases) {
    if (!at.smooth ||
        std::any_of(at.inputs.begin(), at.inputs.end(), [](const Tensor& x) { return x.numel() == 0; })) {
      continue;
    }
    Tensors inputs;
    for (const Tensor& input : at.inputs) {
      inputs.push_back(input.clone());
    }
    const Verdict verdict =
        check_backward([&](const Tensors& moved) { return Tensors{by_hand.forward(moved)}; },
                       [&](const Tensors&, const Tensors&, const Tensors& grad_outputs) {
                         return by_hand.backward(grad_outputs[0]);
                       },
                       inputs, options);
    for (const Comparison& comparison : verdict.comparisons) {
      row.max_abs_error = std::max(row.max_abs_error, comparison.worst_absolute.absolute);
      row.max_rel_error = std::max(row.max_rel_error, comparison.worst_relative.relative);
    }
    if (!verdict) {
      row.passed = false;
      row.detail += at.name + "\n" + verdict.to_string(4);
    }
  }
  return row;
}

Check float32_against_float64(const Entry& entry, const ByHand& by_hand) {
  Check row{entry.name, "float64", "float32", 0, 0, kFloatTolerance, true, ""};
  for (const Case& at : entry.cases) {
    Tensors singles;
    Tensors doubles;  // of the rounded values: the rounding of the input is not the function's error
    for (const Tensor& input : at.inputs) {
      singles.push_back(input.to(at::kFloat));
      doubles.push_back(singles.back().to(at::kDouble));
    }
    const Tensor y = by_hand.forward(doubles).clone();
    const Tensor grad_y = draw(y.sizes()).to(at::kFloat);
    Tensors expected;
    for (const Tensor& grad : by_hand.backward(grad_y.to(at::kDouble))) {
      expected.push_back(grad.clone());
    }
    take_in(row, y, by_hand.forward(singles), at.name + ", y");
    const Tensors grads = by_hand.backward(grad_y);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      take_in(row, expected[i], grads[i], what_of(at, i));
    }
  }
  return row;
}

std::vector<Check> check_by_hand(const Entry& entry, const ByHand& by_hand) {
  return {against_autograd(entry, by_hand), against_differences(entry, by_hand),
          float32_against_float64(entry, by_hand)};
}

std::vector<Check> check_walk(const OptimizerEntry& entry, Optimizer& by_hand) {
  constexpr std::int64_t kParameters = 60;
  Tensor parameters = draw({kParameters}).set_requires_grad(true);
  const auto reference = entry.reference(parameters);
  const Walk walk = walk_together(by_hand, *reference, parameters);
  const bool passed = walk.max_rel_difference <= kWalkTolerance;
  return {{entry.name, "torch::optim", "float64", walk.max_abs_difference, walk.max_rel_difference,
           kWalkTolerance, passed,
           passed ? "" : fmt::format("{:.2g} apart within 1,000 steps\n", walk.max_rel_difference)}};
}

}  // namespace

std::vector<Check> check(const Entry& entry) { return check_by_hand(entry, entry.make()); }

std::vector<Check> check(const Entry& entry, const Bug& bug) {
  return check_by_hand(entry, with_bug(entry.make(), bug));
}

std::vector<Check> check(const OptimizerEntry& entry) { return check_walk(entry, *entry.make()); }

std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug) {
  return check_walk(entry, *bug.make());
}

std::vector<SweepPoint> sweep(const Entry& entry) {
  const auto smooth =
      std::find_if(entry.cases.begin(), entry.cases.end(), [](const Case& at) { return at.smooth; });
  if (smooth == entry.cases.end()) {
    return {};
  }
  const Tensors& inputs = smooth->inputs;
  const Tensor grad_y = draw(entry.reference(inputs).sizes());
  const Tensor exact = autograd_gradients(entry, inputs, grad_y)[0];
  std::vector<SweepPoint> points;
  for (int exponent = 2; exponent <= 24; ++exponent) {
    const double step = std::pow(10.0, -exponent / 2.0);
    Tensors moved = inputs;
    moved[0] = inputs[0].clone().contiguous();
    Tensor numeric = at::zeros_like(moved[0]);
    for (std::int64_t i = 0; i < numeric.numel(); ++i) {
      double& x = moved[0].data_ptr<double>()[i];
      const double old = x;
      const auto loss_at = [&](double value) {
        x = value;
        return (entry.reference(moved) * grad_y).sum().item<double>();
      };
      const double right = old + step;
      const double left = old - step;
      numeric.view(-1)[i] = (loss_at(right) - loss_at(left)) / (right - left);
      x = old;
    }
    points.push_back({step, difference(exact, numeric).relative});
  }
  return points;
}

}  // namespace twingrad::catalogue
