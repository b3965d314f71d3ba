#include "twingrad/catalogue/check.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/catalogue/cases.h"
#include "twingrad/compare/difference.h"
#include "twingrad/gradcheck/gradcheck.h"
#include "twingrad/optim/make_optimizer.h"

namespace twingrad::catalogue {
namespace {

/// Against autograd in float64: the same formula in another order, about ten roundings of 1e-16 each, and two
/// orders of magnitude for sums over a batch. Large values cost another digit: the gradient that autograd
/// gives softsign is 1/(1 + |x|) − |x|/(1 + |x|)², a difference of two nearly equal terms.
constexpr double kAutogradTolerance = 1e-12;
constexpr double kSmoothAutogradTolerance = 1e-13;
/// Against differences in float64 with h = 1e-6: |ours − numerical| ≤ 1e-7 + 1e-6 |numerical|. Truncation is
/// of the order of h² = 1e-12, rounding ε|y|/h = 1e-10 |y| with |y| up to 100.
constexpr double kDifferenceAbsolute = 1e-7;
constexpr double kDifferenceRelative = 1e-6;
/// float32 against float64: 64 roundings of 6e-8; the functions amplify the rounding of their input by |x
/// f′/f|.
constexpr double kFloatTolerance = 64 * 0x1p-24;
/// 1,000 steps against torch::optim in float64: 1e-12 is 4,500 roundings.
constexpr double kStepsTolerance = 1e-12;
/// One step in float32 against float64: its length is at most a few units, and a dozen operations round by
/// 6e-8.
constexpr double kFloatStepsTolerance = 16 * 0x1p-24;
/// Rates and clipped gradients: Python and LibTorch multiply step by step what we compute in one formula,
/// about a dozen roundings of 1e-16.
constexpr double kValuesTolerance = 1e-14;

using at::TensorOptions;

/// A copy in another dtype, on another device, contiguous only if the tensor is. Indices and masks keep their
/// dtype.
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

/// LibTorch's value and gradients.
struct Expected {
  Tensor y;
  Tensors grads;  ///< of all inputs but the constants
};

/// Sets equal infinities, and NaN where it is expected, to 0 in both tensors, so that they compare as equal.
/// Returns whether there was such a NaN. Any other NaN or infinity remains and fails.
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

/// Raises the errors of a check to those of a difference.
void update_errors(Check& row, const Difference& difference) {
  row.max_abs_error = std::max(row.max_abs_error, difference.absolute);
  row.max_rel_error = std::max(row.max_rel_error, difference.relative);
}

/// Adds a case to a check: value and gradients.
void compare_case(Check& row, const Case& at, double tolerance, const Expected& expected, const Tensor& y,
                  const Tensors& grads) {
  bool nan_seen = false;
  const auto compare = [&](Tensor wanted, Tensor found, const std::string& what) {
    nan_seen = match_not_finite(at, wanted, found) || nan_seen;
    const Difference distance = difference(wanted, found);
    update_errors(row, distance);
    if (!(distance.relative <= tolerance)) {
      row.passed = false;
      row.detail += fmt::format("{}, {}: relative difference {:.2g}\n", at.name, what, distance.relative);
    }
  };
  compare(expected.y, y, "y");
  for (std::size_t i = 0; i < expected.grads.size(); ++i) {
    compare(expected.grads[i], i < grads.size() ? grads[i] : Tensor(),
            "∂L/∂" + (i == 0 ? "x" : fmt::format("parameter {}", i)));
  }
  if (at.nan_expected && !nan_seen) {
    row.passed = false;
    row.detail += at.name + ": expected NaN, found none\n";
  }
}

/// Runs the check of one case; an exception counts as a failure.
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

void against_autograd(Check& row, const FunctionEntry& entry, const HandWritten& function,
                      at::Device device) {
  for (const Case& at : entry.cases) {
    attempt(row, at, [&] {
      const Tensors inputs = placed(at.inputs, TensorOptions(device).dtype(at::kDouble));
      const Tensor y = entry.reference(inputs);
      const Tensor grad_y = upstream_for(at, y);
      const Tensor ours = function.forward(inputs).clone();
      const double tolerance = at.smooth ? kSmoothAutogradTolerance : kAutogradTolerance;
      compare_case(row, at, tolerance, {y, autograd_gradients(entry, inputs, grad_y)}, ours,
                   function.backward(grad_y));
    });
  }
}

void against_differences(Check& row, const FunctionEntry& entry, const HandWritten& function,
                         at::Device device) {
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
      return Tensors{function.forward(moved)};
    };
    const auto backward = [&](const Tensors& moved, const Tensors&, const Tensors& grad_outputs) {
      Tensors grads = function.backward(at.strided_upstream ? strided(grad_outputs[0]) : grad_outputs[0]);
      grads.resize(std::min(grads.size(), moved.size()));
      return grads;
    };
    const GradcheckResult result = check_backward(forward, backward, inputs, options);
    for (const GradcheckComparison& comparison : result.comparisons) {
      update_errors(row, {comparison.worst_absolute.absolute, comparison.worst_relative.relative});
    }
    if (!result) {
      row.passed = false;
      row.detail += at.name + "\n" + result.to_string(4);
    }
  }
}

void float32_against_float64(Check& row, const FunctionEntry& entry, const HandWritten& function,
                             at::Device device) {
  for (const Case& at : entry.cases) {
    attempt(row, at, [&] {
      const Tensors singles = placed(at.inputs, TensorOptions(device).dtype(at::kFloat));
      // From the rounded inputs: their rounding is not the function's error.
      const Tensors doubles = placed(singles, TensorOptions(device).dtype(at::kDouble));
      const Tensor y = entry.reference(doubles);
      const Tensor grad_y = upstream_for(at, y.to(at::kFloat));
      // Rounded to float32, where a slope of 1e-87 is 0.
      Expected expected = {y.to(at::kFloat), {}};
      for (const Tensor& grad : autograd_gradients(entry, doubles, grad_y.to(at::kDouble))) {
        expected.grads.push_back(grad.to(at::kFloat));
      }
      const Tensor ours = function.forward(singles).clone();
      compare_case(row, at, kFloatTolerance, expected, ours, function.backward(grad_y));
    });
  }
}

/// Calls compare(row, dtype) for the rows of the requested dtype.
std::vector<Check> run_checks(const std::vector<Check>& rows, const Where& where,
                              const std::function<void(Check& row, at::ScalarType dtype)>& compare) {
  std::vector<Check> done;
  for (const Check& row : rows) {
    const at::ScalarType dtype = row.dtype == "float32" ? at::kFloat : at::kDouble;
    if (where.dtype.value_or(dtype) == dtype) {
      done.push_back(row);
      compare(done.back(), dtype);
      if (where.until_failure && !done.back().passed) {
        break;
      }
    }
  }
  return done;
}

std::vector<Check> check_function(const FunctionEntry& entry, const HandWritten& function,
                                  const Where& where) {
  restart_draws();
  const std::vector<Check> rows = {{entry.name, "autograd", "float64", kAutogradTolerance},
                                   {entry.name, "finite-difference", "float64", kDifferenceRelative},
                                   {entry.name, "float64", "float32", kFloatTolerance}};
  return run_checks(rows, where, [&](Check& row, at::ScalarType dtype) {
    const auto against = dtype == at::kFloat        ? float32_against_float64
                         : row.oracle == "autograd" ? against_autograd
                                                    : against_differences;
    row.passed = !entry.cases.empty();
    against(row, entry, function, where.device);
  });
}

std::vector<Check> check_steps(const OptimizerEntry& entry,
                               const std::function<std::unique_ptr<optim::Optimizer>()>& make,
                               const Where& where) {
  const std::vector<Check> rows = {{entry.name, "torch::optim", "float64", kStepsTolerance},
                                   {entry.name, "float64", "float32", kFloatStepsTolerance}};
  return run_checks(rows, where, [&](Check& row, at::ScalarType dtype) {
    restart_draws();
    const auto placement = TensorOptions(where.device).dtype(dtype);
    update_errors(row, compare_steps(*make(), entry.options, placement));
    row.passed = row.max_rel_error <= row.tolerance;
    if (!row.passed) {
      row.detail = fmt::format("largest difference within 1,000 steps: {:.2g}\n", row.max_rel_error);
    }
  });
}

std::vector<Check> check_values(const ValuesEntry& entry,
                                const std::function<Tensors(const TensorOptions&)>& values,
                                const Where& where) {
  std::vector<Check> rows = {{entry.name, entry.oracle, "float64", kValuesTolerance}};
  if (entry.has_float32) {
    rows.push_back({entry.name, "float64", "float32", kFloatTolerance});
  }
  return run_checks(rows, where, [&](Check& row, at::ScalarType dtype) {
    const Tensors expected = entry.reference();
    const Tensors found = values(TensorOptions(where.device).dtype(dtype));
    row.passed = !expected.empty();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const Difference distance =
          difference(expected[i], i < found.size() ? found[i].to(at::kCPU) : Tensor());
      update_errors(row, distance);
      if (!(distance.relative <= row.tolerance)) {
        row.passed = false;
        row.detail += fmt::format("values {}: relative difference {:.2g}\n", i, distance.relative);
      }
    }
  });
}

}  // namespace

HandWritten with_bug(const FunctionEntry& entry, const Bug& bug) {
  struct State {
    Tensors inputs;
    Tensor y;
  };
  const auto state = std::make_shared<State>();
  const HandWritten right = entry.make();
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

Tensors autograd_gradients(const FunctionEntry& entry, Tensors inputs, const Tensor& grad_y) {
  const c10::AutoGradMode with_gradients(true);
  Tensors leaves(inputs.begin(), inputs.end() - static_cast<std::ptrdiff_t>(entry.constants));
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    leaves[i] = inputs[i] = placed(inputs[i], inputs[i].options()).set_requires_grad(true);
  }
  return torch::autograd::grad({entry.reference(inputs)}, leaves, {grad_y});
}

std::vector<Check> check(const FunctionEntry& entry, const Where& where) {
  return check_function(entry, entry.make(), where);
}

std::vector<Check> check(const FunctionEntry& entry, const Bug& bug, const Where& where) {
  return check_function(entry, with_bug(entry, bug), where);
}

std::vector<Check> check(const OptimizerEntry& entry, const Where& where) {
  return check_steps(
      entry, [&] { return optim::make_optimizer(entry.options); }, where);
}

std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug, const Where& where) {
  return check_steps(entry, bug.make, where);
}

std::vector<Check> check(const ValuesEntry& entry, const Where& where) {
  return check_values(entry, entry.values, where);
}

std::vector<Check> check(const ValuesEntry& entry, const ValuesBug& bug, const Where& where) {
  return check_values(entry, bug.values, where);
}

std::vector<SweepPoint> sweep(const FunctionEntry& entry) {
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
