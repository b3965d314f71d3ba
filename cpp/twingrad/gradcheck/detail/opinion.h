#pragma once

#include <functional>
#include <limits>

#include "twingrad/gradcheck/result.h"

namespace twingrad::gradcheck_detail {

/// A value of a function of one number: y at x + h.
struct Sample {
  double h = 0;  // as it was stored: x + h is rounded
  double y = 0;
};

/// A second opinion on the derivative at h = 0, from many steps instead of one.
/// size: a length on which the function may change, such as |x|. analytical: the claim to judge.
/// relative: how far it may be from the truth. complex_step: Im y(x + ih) / h for a tiny h; NaN if y takes no
/// complex numbers.
///
/// The derivative is Ridders' extrapolation of central differences to h = 0, from the steps size / 4,
/// size / 8, …, down to 2e-6 size or eps, if that is less (C. J. F. Ridders, Accurate computation of F′(x)
/// and F′(x)F″(x), 1982). The remainder y(x + h) − y(x) − h · analytical of Taylor's formula falls with h² if
/// `analytical` is the derivative, and with h if it is not. The complex step subtracts nothing, so it is
/// exact but for rounding, if y is analytic (W. Squire and G. Trapp, Using complex variables to estimate
/// derivatives of real functions, 1998). It counts only where it differs from the extrapolation by at most
/// ten times the latter's error, which must be small.
GradcheckOpinion second_opinion(const std::function<Sample(double h)>& function, double size, double eps,
                                double analytical, double relative,
                                double complex_step = std::numeric_limits<double>::quiet_NaN());

}  // namespace twingrad::gradcheck_detail
