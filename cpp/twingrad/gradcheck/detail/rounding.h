#pragma once

#include "twingrad/gradcheck/detail/compare.h"

namespace twingrad::gradcheck_detail {

/// Estimates of the rounding errors of a function within h of a point.
struct RoundingErrors {
  double noise = 0;  // the standard deviation of errors that look random
  double step = 0;   // the height of the steps, if values change only in separate steps; otherwise 0
};

/// The rounding errors of one part of an output at the entries marked in `bad` [M, N] (at least one), from
/// values at 16 points on lines along the input. At most 16 of the N elements of the input are perturbed.
RoundingErrors rounding_errors(const Evaluator& evaluate, Elements& input, const OutputSlot& slot,
                               GradcheckComparison::Part part, const Tensor& bad, double eps);

/// Which entries of the block [M, N] can differ because of rounding errors alone. last_digit: [M, 1], the
/// distance of each value of the output from the next number.
Tensor rounding_mask(const Block& block, const RoundingErrors& errors, const Tensor& last_digit, double eps);

}  // namespace twingrad::gradcheck_detail
