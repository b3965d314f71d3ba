#pragma once

#include <complex>
#include <cstdint>
#include <string>
#include <vector>

namespace twingrad {

enum class GradcheckMode {
  full,  ///< the complete Jacobian: two evaluations per input element, two backward passes per output element
  fast,  ///< one random projection vᵀJu per input and output; a failure is repeated in full mode
};

/// The likely cause of a wrong gradient. Causes are heuristics; the numbers are measured.
enum class GradcheckCause {
  none,           ///< nothing is wrong
  unknown,        ///< wrong, but the errors follow no known pattern
  sign,           ///< analytical = −numerical
  factor,         ///< analytical = k · numerical, for example k = 2: a forgotten ½
  missing_mean,   ///< k is a size of the input or output: a sum where the forward takes a mean
  extra_mean,     ///< 1/k is such a size: a mean where the forward takes a sum
  transposed,     ///< the gradient, or a matrix it was multiplied by, is transposed
  conjugated,     ///< complex: the conjugate of the correct gradient
  diagonal_only,  ///< only ∂y_i/∂x_i is nonzero: a mean or a softmax's sum was treated as a constant
  not_filled,     ///< zero where it should not be
  overwritten,    ///< one contribution to the gradient is right, the others are lost: = instead of +=
  kink,           ///< the one-sided slopes differ: the function has no derivative here
  discontinuity,  ///< the function jumps here
  rounding,       ///< the forward's rounding errors are too large for the step
  step,           ///< the analytical gradient is right; eps is too large or too small for the function
  non_finite,     ///< NaN or infinity
};

/// The name of a cause, as in to_json(): "sign", "missing_mean", …
const char* to_string(GradcheckCause cause);

/// One entry ∂y_i/∂x_j of a Jacobian.
struct GradcheckEntry {
  std::vector<std::int64_t> output_index;  ///< i, one index per dimension of y
  std::vector<std::int64_t> input_index;   ///< j, one index per dimension of x
  std::complex<double> analytical;         ///< from the backward pass
  std::complex<double> numerical;  ///< the central difference (when values are compared: the reference)
  double absolute = 0;             ///< |analytical − numerical|
  double relative = 0;             ///< |analytical − numerical| / max(|analytical|, |numerical|, atol)
  double tolerance = 0;            ///< the upper bound on `absolute`
  bool passed = true;
  bool kink = false;  ///< the one-sided slopes differ here
};

/// A second opinion on a bad entry, from many steps instead of eps.
struct GradcheckOpinion {
  enum class Blame {
    unknown,   ///< the function is too rough or noisy here to tell
    gradient,  ///< the analytical gradient is wrong
    step,      ///< the analytical gradient is right, and the difference with eps is not
  };

  GradcheckEntry entry;   ///< whose opinion this is
  double derivative = 0;  ///< extrapolated to a step of 0, or by a complex step; NaN if it is not finite
  double error = 0;       ///< its estimated error
  /// The derivative is that of a complex step, Im y(x + ih) / h, and the extrapolation confirms it.
  bool by_complex_step = false;
  /// The remainder y(x + h) − y(x) − h · analytical falls with h^order: 2 for a right gradient, 1 for a wrong
  /// one. NaN if it is no larger than rounding errors.
  double order = 0;
  Blame blame = Blame::unknown;
};

/// The Jacobian of one output with respect to one input, analytical and numerical; or the values of one
/// output and those of the reference function.
struct GradcheckComparison {
  enum class Kind { jacobian, projection, value };
  enum class Part { whole, real, imaginary };

  Kind kind = Kind::jacobian;  ///< projection: the single number vᵀJu of fast mode
  std::size_t output = 0;
  std::size_t input = 0;
  Part part = Part::whole;  ///< the part of a complex output
  std::string output_name, input_name;
  std::vector<std::int64_t> output_shape, input_shape;
  std::int64_t entries = 0;                 ///< number of entries compared
  std::int64_t bad = 0;                     ///< number of entries that failed
  std::int64_t kinks = 0;                   ///< number of entries at a kink, excused or not
  GradcheckEntry worst_absolute;            ///< the entry with the largest absolute error
  GradcheckEntry worst_relative;            ///< the entry with the largest relative error
  std::vector<GradcheckEntry> bad_entries;  ///< the worst first, at most 100
  std::vector<GradcheckOpinion> opinions;   ///< on the first bad entries, at most 10, of real inputs
  GradcheckCause cause = GradcheckCause::none;
  double factor = 1;        ///< k, if analytical = k · numerical
  std::string explanation;  ///< the cause in words; a note if the comparison passed
  bool passed = true;
};

/// The result of a check: true if everything passed.
///
/// A check fails if an entry of a comparison is NaN or exceeds its tolerance, if the backward pass violates a
/// general requirement (see `failures`), or if there was nothing to compare.
struct GradcheckResult {
  enum class Check { gradcheck, gradgradcheck, check_backward };

  Check check = Check::gradcheck;
  GradcheckMode mode = GradcheckMode::full;
  double eps = 0, atol = 0, rtol = 0;
  std::vector<GradcheckComparison> comparisons;
  std::vector<std::string> failures;  ///< not reentrant, a wrong shape, an exception, …
  std::vector<std::string> warnings;  ///< not failures, but possibly an explanation
  bool passed = false;

  explicit operator bool() const { return passed; }

  /// A table of all comparisons, then the worst `max_rows` entries of each one that failed.
  std::string to_string(std::size_t max_rows = 10) const;

  /// The same as a JSON object on one line. NaN and infinity become null; a number with an imaginary part
  /// becomes [real, imaginary].
  std::string to_json() const;
};

}  // namespace twingrad
