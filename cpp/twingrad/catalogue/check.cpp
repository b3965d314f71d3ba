#include "twingrad/catalogue/check.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/catalogue/cases.h"
#include "twingrad/compare/difference.h"
#include "twingrad/gradcheck/gradcheck.h"

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
/// One step in float32 beside float64: it is at most a few units long, and a dozen operations round by 6e-8.
constexpr double kFloatWalkTolerance = 16 * 0x1p-24;
/// Rates and clipped gradients: Python and LibTorch multiply step by step what we compute in one formula, some
/// dozen roundings of 1e-16.
constexpr double kValuesTolerance = 1e-14;

using at::TensorOptions;

bool runs(const Where& where, at::ScalarType dtype) { return !where.dtype || *where.dtype == dtype; }

/// The numbers in another dtype, on another device, contiguous only if they were. Indices and masks keep
/// their dtype.
Tensor placed(const Tensor& tensor, const TensorOptions& options) {
  const Tensor copy = tensor.detach().to(
      tensor.is_floating_point() ? options : options.dtype(tensor.scalar_type()), false, /*copy=*/true);
  return tensor.is_contiguous() ? copy : strided(copy);
}

Tensors placed(const Tensors& tensors, const TensorOptions& options) {
  Tensors copies;
  for (const Tensor& tensor : tensors) {
    copies.push_back(placed(tensor, options));
  }
  return copies;
}

Tensor upstream_for(const Case& at, const Tensor& y) {
  const Tensor grad_y = draw(y.sizes()).to(y.options());
  return at.strided_upstream ? strided(grad_y) : grad_y;
}

/// The same function with a bug in its backward.
ByHand with_bug(const Entry& entry, const Bug& bug) {
  struct State {
    Tensors inputs;
    Tensor y;
  };
  const auto state = std::make_shared<State>();
  const ByHand right = entry.make();
  const std::size_t constants = entry.constants;
  return {.forward =
              [=](const Tensors& inputs) {
                state->inputs = inputs;
                return state->y = right.forward(inputs);
              },
          .backward =
              [=](const Tensor& grad_y) {
                Tensors grads = right.backward(grad_y);
                grads.resize(std::min(grads.size(), state->inputs.size() - constants));
                return bug.wrong({state->inputs, state->y, grad_y, grads});
              }};
}

/// Value and gradients as LibTorch has them.
struct Expected {
  Tensor y;
  Tensors grads;  ///< of all inputs but the constants
};

Tensors autograd_gradients(const Entry& entry, Tensors inputs, const Tensor& grad_y) {
  const at::AutoGradMode with_gradients(true);
  Tensors leaves(inputs.begin(), inputs.end() - static_cast<std::ptrdiff_t>(entry.constants));
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    leaves[i] = inputs[i] = placed(inputs[i], inputs[i].options()).set_requires_grad(true);
  }
  return torch::autograd::grad({entry.reference(inputs)}, leaves, {grad_y});
}

/// Sets to 0 in both what agrees and has no distance: equal infinities, and NaN where it is expected. Returns
/// whether there was such a NaN. Other NaN and infinities stay, and fail.
bool match_not_finite(const Case& at, Tensor& expected, Tensor& actual) {
  if (!expected.defined() || !actual.defined() || expected.sizes() != actual.sizes()) {
    return false;
  }
  expected = expected.to(at::kDouble);
  actual = actual.to(at::kDouble);
  Tensor same = expected.isinf().logical_and(expected == actual);
  const Tensor both_nan = expected.isnan().logical_and(actual.isnan());
  if (at.nan_expected) {
    same = same.logical_or(both_nan);
  }
  expected = expected.masked_fill(same, 0);
  actual = actual.masked_fill(same, 0);
  return at.nan_expected && both_nan.any().item<bool>();
}

/// Compares what a case gives with what is expected of it, gradient by gradient.
void take_in(Check& row, const Case& at, const Expected& expected, const Tensor& y, const Tensors& grads) {
  bool nan_seen = false;
  const auto compare = [&](Tensor wanted, Tensor found, const std::string& what) {
    nan_seen = match_not_finite(at, wanted, found) || nan_seen;
    const Difference distance = difference(wanted, found);
    row.max_abs_error = std::max(row.max_abs_error, distance.absolute);
    row.max_rel_error = std::max(row.max_rel_error, distance.relative);
    if (!(distance.relative <= row.tolerance)) {
      row.passed = false;
      row.detail +=
          fmt::format("{}, {}: {:.2g} of the largest entry apart\n", at.name, what, distance.relative);
    }
  };
  compare(expected.y, y, "y");
  for (std::size_t i = 0; i < expected.grads.size(); ++i) {
    compare(expected.grads[i], i < grads.size() ? grads[i] : Tensor(),
            "∂L/∂" + (i == 0 ? "x" : fmt::format("parameter {}", i)));
  }
  if (at.nan_expected && !nan_seen) {
    row.passed = false;
    row.detail += at.name + ": NaN is expected, but there is none\n";
  }
}

/// Runs the check of one case; what it throws becomes a failure of the row.
void attempt(Check& row, const Case& at, const std::function<void()>& check_case) {
  const auto fail = [&](const char* message) {
    row.passed = false;
    row.max_abs_error = row.max_rel_error = std::numeric_limits<double>::infinity();
    row.detail += fmt::format("{}: {}\n", at.name, message);
  };
  try {
    check_case();
  } catch (const c10::Error& error) {
    fail(error.what_without_backtrace());
  } catch (const std::exception& error) {
    fail(error.what());
  }
}

Check against_autograd(const Entry& entry, const ByHand& by_hand, at::Device device) {
  Check row{entry.name, "autograd", "float64", 0, 0, kAutogradTolerance, true, ""};
  for (const Case& at : entry.cases) {
    attempt(row, at, [&] {
      const Tensors inputs = placed(at.inputs, TensorOptions(device).dtype(at::kDouble));
      const Tensor y = entry.reference(inputs);
      const Tensor grad_y = upstream_for(at, y);
      const Tensor ours = by_hand.forward(inputs).clone();
      take_in(row, at, {y, autograd_gradients(entry, inputs, grad_y)}, ours, by_hand.backward(grad_y));
    });
  }
  return row;
}

Check against_differences(const Entry& entry, const ByHand& by_hand, at::Device device) {
  Check row{entry.name, "finite-difference", "float64", 0, 0, kDifferenceRelative, true, ""};
  GradcheckOptions options;
  options.atol = kDifferenceAbsolute;
  options.rtol = kDifferenceRelative;
  for (const Case& at : entry.cases) {
    if (!at.smooth) {
      continue;
    }
    Tensors inputs = placed(at.inputs, TensorOptions(device).dtype(at::kDouble));
    const Tensors constants(inputs.end() - static_cast<std::ptrdiff_t>(entry.constants), inputs.end());
    inputs.resize(inputs.size() - constants.size());
    const auto forward = [&](Tensors moved) {
      moved.insert(moved.end(), constants.begin(), constants.end());
      return Tensors{by_hand.forward(moved)};
    };
    const auto backward = [&](const Tensors& moved, const Tensors&, const Tensors& grad_outputs) {
      Tensors grads = by_hand.backward(at.strided_upstream ? strided(grad_outputs[0]) : grad_outputs[0]);
      grads.resize(std::min(grads.size(), moved.size()));
      return grads;
    };
    const GradcheckResult result = check_backward(forward, backward, inputs, options);
    for (const GradcheckComparison& comparison : result.comparisons) {
      row.max_abs_error = std::max(row.max_abs_error, comparison.worst_absolute.absolute);
      row.max_rel_error = std::max(row.max_rel_error, comparison.worst_relative.relative);
    }
    if (!result) {
      row.passed = false;
      row.detail += at.name + "\n" + result.to_string(4);
    }
  }
  return row;
}

Check float32_against_float64(const Entry& entry, const ByHand& by_hand, at::Device device) {
  Check row{entry.name, "float64", "float32", 0, 0, kFloatTolerance, true, ""};
  for (const Case& at : entry.cases) {
    attempt(row, at, [&] {
      const Tensors singles = placed(at.inputs, TensorOptions(device).dtype(at::kFloat));
      // Of the rounded values: the rounding of the input is not the function's error.
      const Tensors doubles = placed(singles, TensorOptions(device).dtype(at::kDouble));
      const Tensor y = entry.reference(doubles);
      const Tensor grad_y = upstream_for(at, y.to(at::kFloat));
      // As float32 holds it: a slope of 1e-87 is 0 there.
      Expected expected = {y.to(at::kFloat), {}};
      for (const Tensor& grad : autograd_gradients(entry, doubles, grad_y.to(at::kDouble))) {
        expected.grads.push_back(grad.to(at::kFloat));
      }
      const Tensor ours = by_hand.forward(singles).clone();
      take_in(row, at, expected, ours, by_hand.backward(grad_y));
    });
  }
  return row;
}

std::vector<Check> check_by_hand(const Entry& entry, const ByHand& by_hand, const Where& where) {
  restart_draws();
  std::vector<Check> rows;
  const auto add = [&](const auto& oracle, at::ScalarType dtype) {
    if (runs(where, dtype) && (!where.until_failure || rows.empty() || rows.back().passed)) {
      rows.push_back(oracle(entry, by_hand, where.device));
    }
  };
  add(against_autograd, at::kDouble);
  add(against_differences, at::kDouble);
  add(float32_against_float64, at::kFloat);
  return rows;
}

std::vector<Check> check_walks(const OptimizerEntry& entry,
                               const std::function<std::unique_ptr<Optimizer>()>& make, const Where& where) {
  std::vector<Check> rows;
  const auto walk = [&](const Check& row, at::ScalarType dtype) {
    if (!runs(where, dtype) || (where.until_failure && !rows.empty() && !rows.back().passed)) {
      return;
    }
    rows.push_back(row);
    Check& check = rows.back();
    restart_draws();
    const Walk found = walk_together(*make(), entry, TensorOptions(where.device).dtype(dtype));
    check.max_abs_error = found.max_abs_difference;
    check.max_rel_error = found.max_rel_difference;
    check.passed = check.max_rel_error <= check.tolerance;
    if (!check.passed) {
      check.detail = fmt::format("{:.2g} apart within 1,000 steps\n", check.max_rel_error);
    }
  };
  walk({entry.name, "torch::optim", "float64", 0, 0, kWalkTolerance, false, ""}, at::kDouble);
  walk({entry.name, "float64", "float32", 0, 0, kFloatWalkTolerance, false, ""}, at::kFloat);
  return rows;
}

std::vector<Check> check_values(const ValuesEntry& entry,
                                const std::function<Tensors(const TensorOptions&)>& values,
                                const Where& where) {
  std::vector<Check> rows;
  const auto compare = [&](Check row, at::ScalarType dtype) {
    const Tensors expected = entry.reference();
    const Tensors found = values(TensorOptions(where.device).dtype(dtype));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const Difference distance =
          difference(expected[i], i < found.size() ? found[i].to(at::kCPU) : Tensor());
      row.max_abs_error = std::max(row.max_abs_error, distance.absolute);
      row.max_rel_error = std::max(row.max_rel_error, distance.relative);
    }
    row.passed = !expected.empty() && row.max_rel_error <= row.tolerance;
    if (!row.passed) {
      row.detail = fmt::format("{:.2g} of the largest apart\n", row.max_rel_error);
    }
    rows.push_back(row);
  };
  if (runs(where, at::kDouble)) {
    compare({entry.name, entry.oracle, "float64", 0, 0, kValuesTolerance, false, ""}, at::kDouble);
  }
  if (entry.has_float32 && runs(where, at::kFloat)) {
    compare({entry.name, "float64", "float32", 0, 0, kFloatTolerance, false, ""}, at::kFloat);
  }
  return rows;
}

}  // namespace

std::vector<Check> check(const Entry& entry, const Where& where) {
  return check_by_hand(entry, entry.make(), where);
}

std::vector<Check> check(const Entry& entry, const Bug& bug, const Where& where) {
  return check_by_hand(entry, with_bug(entry, bug), where);
}

std::vector<Check> check(const OptimizerEntry& entry, const Where& where) {
  return check_walks(entry, entry.make, where);
}

std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug, const Where& where) {
  return check_walks(entry, bug.make, where);
}

std::vector<Check> check(const ValuesEntry& entry, const Where& where) {
  return check_values(entry, entry.values, where);
}

std::vector<Check> check(const ValuesEntry& entry, const ValuesBug& bug, const Where& where) {
  return check_values(entry, bug.values, where);
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
