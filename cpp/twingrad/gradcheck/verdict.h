#pragma once

#include <complex>
#include <cstdint>
#include <string>
#include <vector>

namespace twingrad {

/// What most likely went wrong, where it can be told from the numbers.
enum class Cause {
  none,           ///< nothing is wrong
  unknown,        ///< wrong, in no pattern that is known here
  sign,           ///< ours = −numeric
  factor,         ///< ours = k · numeric, e.g. k = 2: a forgotten ½
  missing_mean,   ///< k is a size of the input or output: a sum where the forward takes a mean
  extra_mean,     ///< 1/k is such a size: a mean where the forward takes a sum
  transposed,     ///< the gradient, or the matrix it was multiplied by, is transposed
  conjugated,     ///< complex: the conjugate of the right gradient
  diagonal_only,  ///< only ∂y_i/∂x_i is there: a mean or a softmax's sum taken for a constant
  not_filled,     ///< zero where it should not be
  overwritten,    ///< one share of the gradient is right, the others are lost: = instead of +=
  kink,           ///< the one-sided slopes differ: no derivative here
  discontinuity,  ///< the function jumps here
  non_finite,     ///< NaN or infinity
};

/// The name of a cause in English, as in JSON: "sign", "missing_mean", …
const char* name_of(Cause cause);

/// One entry ∂y_i/∂x_j of a Jacobian, held against its numeric value.
struct Entry {
  std::vector<std::int64_t> output_index;  ///< i, one number for each dimension of y
  std::vector<std::int64_t> input_index;   ///< j, one number for each dimension of x
  std::complex<double> ours;               ///< what the backward pass says
  std::complex<double> numeric;            ///< the central difference (of two values: the reference)
  double absolute = 0;                     ///< |ours − numeric|
  double relative = 0;                     ///< |ours − numeric| / max(|ours|, |numeric|, atol)
  double tolerance = 0;                    ///< what `absolute` may be
  bool passed = true;
  bool kink = false;  ///< the one-sided slopes differ here
};

/// The Jacobian of one output with respect to one input, ours against numeric; or the values of one output
/// against the reference function's.
struct Comparison {
  enum class Kind { jacobian, projection, value };
  enum class Part { whole, real, imaginary };

  Kind kind = Kind::jacobian;  ///< projection: the fast mode's one number vᵀJu
  std::size_t output = 0;
  std::size_t input = 0;
  Part part = Part::whole;  ///< of a complex output
  std::string output_name, input_name;
  std::vector<std::int64_t> output_shape, input_shape;
  std::int64_t entries = 0;        ///< how many were compared
  std::int64_t bad = 0;            ///< how many of them failed
  std::int64_t kinks = 0;          ///< how many lie at a kink, excused or not
  Entry worst_absolute;            ///< the entry of the largest absolute error
  Entry worst_relative;            ///< the entry of the largest relative error
  std::vector<Entry> bad_entries;  ///< the worst first, at most 100
  Cause cause = Cause::none;
  double factor = 1;        ///< k, where ours = k · numeric
  std::string explanation;  ///< the cause in a sentence; a note where nothing is wrong
  bool passed = true;
};

/// What a check found. True if everything passed.
///
/// It fails if an entry of a comparison is out of tolerance or NaN, if a general property of a backward pass
/// does not hold (`failures`), and if there was nothing to compare.
struct Verdict {
  std::string check = "gradcheck";  ///< or "gradgradcheck", "check_backward"
  std::string mode = "full";        ///< or "fast"
  double eps = 0, atol = 0, rtol = 0;
  std::vector<Comparison> comparisons;
  std::vector<std::string> failures;  ///< not reentrant, a wrong shape, an exception, …
  std::vector<std::string> warnings;  ///< what does not decide, but may explain
  bool passed = false;

  explicit operator bool() const { return passed; }

  /// An aligned table of all comparisons, then the worst `max_rows` entries of each that failed.
  std::string to_string(std::size_t max_rows = 10) const;

  /// The same as one JSON object on one line. NaN and infinity become null; a complex value becomes
  /// [real, imaginary].
  std::string to_json() const;
};

}  // namespace twingrad
