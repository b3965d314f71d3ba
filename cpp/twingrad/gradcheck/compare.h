#pragma once

#include <torch/types.h>

#include "twingrad/gradcheck/jacobian.h"
#include "twingrad/gradcheck/verdict.h"

namespace twingrad::gradcheck_detail {

/// |ours − numeric| ≤ absolute + relative · |numeric|.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
  bool equal_nan = false;
};

/// A block of a Jacobian: one output, or a part of a complex one, by one input. ours and numeric are [M, N],
/// float64 or complex128, M and N the elements of the output and the input.
struct Block {
  torch::Tensor ours, numeric;
  Tolerance tolerance;
  double atol = 0;  // the caller's: the floor of the relative errors
};

/// [M, N], true where an entry is within its tolerance. NaN is not, unless both are NaN and equal_nan is set;
/// equal infinities are.
torch::Tensor entries_within(const torch::Tensor& ours, const torch::Tensor& numeric,
                             const Tolerance& tolerance);

/// Fills in the numbers of `comparison`, whose shapes and names are set. Returns whether all entries are
/// within their tolerance.
bool summarize(const Block& block, Comparison& comparison);

/// Counts the entries that `bad` [M, N] marks and lists the worst. kinks: [M, N], or undefined for none.
void list_bad_entries(const Block& block, const torch::Tensor& bad, const torch::Tensor& kinks,
                      Comparison& comparison);

/// Sets cause, factor and explanation from the pattern of the entries that `bad` marks (at least one). Kinks
/// are not among them: only new evaluations of the function show those.
void find_cause(const Block& block, const torch::Tensor& bad, Comparison& comparison);

/// Where the one-sided slopes differ.
struct KinkMasks {
  torch::Tensor kink;     // [M, N] they differ at every step size
  torch::Tensor jump;     // [M, N] they grow as the step shrinks: the function is not continuous
  torch::Tensor between;  // [M, N] ours is one of the slopes between them
};

/// Compares slopes at step h and at h/10 for the columns of `block` that hold bad entries. columns: those;
/// wide, narrow: [K, M] each. Only for real Jacobians.
KinkMasks find_kinks(const Block& block, const std::vector<std::int64_t>& columns, const Slopes& wide,
                     const Slopes& narrow);

/// %.{digits}g
std::string number_text(double value, int digits = 4);

}  // namespace twingrad::gradcheck_detail
