#pragma once

#include <string>
#include <vector>

#include "twingrad/gradcheck/detail/numerical.h"
#include "twingrad/gradcheck/result.h"

namespace twingrad::gradcheck_detail {

struct Precision {
  double epsilon;             // the distance from 1 to the next number
  double absolute, relative;  // the tolerance of torch.testing.assert_close
};
/// Of a floating-point or complex dtype.
Precision precision_of(const Tensor& tensor);

/// |analytical − numerical| ≤ absolute + relative · |numerical|.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
  bool equal_nan = false;
};

/// A block of a Jacobian: one output, or one part of a complex one, by one input. analytical and numerical
/// are [M, N], float64 or complex128, where M and N are the numbers of elements of the output and the input.
struct Block {
  Tensor analytical, numerical;
  Tolerance tolerance;
  double atol = 0;  // GradcheckOptions::atol: the lower bound on the denominator of relative errors

  /// [M, N], true where an entry is not within the tolerance. NaN never is, unless both are NaN and equal_nan
  /// is set; equal infinities are.
  Tensor bad_entries() const;
};

/// Whether all analytical entries are within the tolerance, and whether zeros in their place would be.
struct Summary {
  bool passed = true;
  bool zeros_pass = true;
};

/// The rows [M, K] of one part of an output, given those of its real numbers.
Tensor rows_of_part(const Tensor& rows, const OutputSlot& slot, GradcheckComparison::Part part);

/// Fills in the numbers of `comparison`, whose shapes and names are set.
Summary summarize(const Block& block, GradcheckComparison& comparison);

/// Counts the entries marked in `bad` [M, N] and lists the worst. kinks: [M, N], or undefined for none.
void list_bad_entries(const Block& block, const Tensor& bad, const Tensor& kinks,
                      GradcheckComparison& comparison);

/// Sets the cause, its explanation and the factor.
void set_cause(GradcheckComparison& comparison, GradcheckCause cause, std::string explanation,
               double factor = 1);

/// Sets cause, explanation and factor from the pattern of the entries marked in `bad` (at least one). Does
/// not find kinks, which take new evaluations of the function.
void find_cause(const Block& block, const Tensor& bad, GradcheckComparison& comparison);

/// %.{digits}g
std::string number_text(double value, int digits = 4);

}  // namespace twingrad::gradcheck_detail
