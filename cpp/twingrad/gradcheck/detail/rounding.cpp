#include "twingrad/gradcheck/detail/rounding.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace twingrad::gradcheck_detail {
namespace {

/// Values of a function at distinct points on a line, in order.
struct Line {
  Tensor positions;  // [K, 1], relative to the point in the middle
  Tensor values;     // [K, R]

  Line slice(std::int64_t first, std::int64_t end) const {
    return {positions.slice(0, first, end), values.slice(0, first, end)};
  }
};

/// The values at x_c + i h / 8, i = −8, …, 8.
Line values_around(const Evaluator& evaluate, Elements& input, std::int64_t c, double eps) {
  std::vector<double> positions;
  Tensors values;
  for (int i = -8; i <= 8; ++i) {
    positions.push_back(input.set(c, input[c] + i * eps / 8) - input[c]);
    values.push_back(evaluate());
  }
  input.restore(c);
  return {at::tensor(positions, at::kDouble).unsqueeze(1), at::stack(values)};
}

/// The variance [R] of the rounding errors of a smooth function, from its third differences. They change
/// their sign where the errors are random, but not near a singularity.
Tensor noise_of(const Line& line) {
  const Tensor slope = (line.values[-1] - line.values[0]) / (line.positions[-1] - line.positions[0]);
  const Tensor third = at::diff(line.values - slope * line.positions, 3, 0);
  const Tensor one_sign = (third > 0).all(0) | (third < 0).all(0);
  return (third.square().mean(0) / 20).masked_fill(one_sign, 0).nan_to_num(0, 0);
}

/// The largest change between neighbors, if neighbors of neighbors do not change: [R], otherwise 0.
Tensor step_of(const Line& line) {
  const Tensor changes = at::diff(line.values, 1, 0), changed = changes != 0;
  const Tensor consecutive = (changed.slice(0, 1) & changed.slice(0, 0, -1)).any(0);
  return std::get<0>(changes.abs().max(0)).masked_fill(consecutive, 0).nan_to_num(0, 0);
}

}  // namespace

RoundingErrors rounding_errors(const Evaluator& evaluate, Elements& input, const OutputSlot& slot,
                               GradcheckComparison::Part part, const Tensor& bad, double eps) {
  constexpr std::int64_t kMaxColumns = 16;
  const Tensor columns = bad.any(0).nonzero().view(-1);
  const std::int64_t stride = (columns.numel() + kMaxColumns - 1) / kMaxColumns;
  const std::int64_t reals_per_column = input.size() / bad.size(1);
  Tensors variances;
  double step = 0;
  for (std::int64_t k = 0; k < columns.numel(); k += stride) {
    const std::int64_t c = columns[k].item<std::int64_t>();
    Line line = values_around(evaluate, input, c * reals_per_column, eps);
    if ((line.positions.diff(1, 0) <= 0).any().item<bool>()) {
      continue;  // so close that some are rounded to the same number
    }
    line.values = rows_of_part(line.values.t().narrow(0, slot.offset, slot.length), slot, part)
                      .index({bad.select(1, c)})
                      .t();
    // One jump or kink is on one side only.
    variances.push_back(at::minimum(noise_of(line.slice(0, 8)), noise_of(line.slice(9, 17))));
    step = std::max(step, step_of(line).max().item<double>());
  }
  return {variances.empty() ? 0 : std::sqrt(at::cat(variances).mean().item<double>()), step};
}

Tensor rounding_mask(const Block& block, const RoundingErrors& errors, const Tensor& last_digit, double eps) {
  const Tensor error = (block.analytical - block.numerical).abs(), size = block.analytical.abs();
  // A difference quotient is off by the difference of two rounding errors over 2h; most are below 3σ.
  Tensor noisy = error <= last_digit.clamp_min(errors.noise) * (4 / eps);
  if (errors.step == 0) {
    return noisy;
  }
  // Steps of height s in a function of slope a are s / a wide: here, at least an eighth of h. Steps that are
  // far wider than h are jumps of the function.
  const Tensor width = errors.step / size;
  return noisy | ((width >= 0.1 * eps) & (width <= 1000 * eps) & (error <= size + errors.step / eps));
}

}  // namespace twingrad::gradcheck_detail
