#pragma once

#include <functional>
#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"

/// Where the entries are checked: the cases that every function has.
namespace twingrad::catalogue {

/// Draws from N(0, 1) · scale, float64.
Tensor draw(at::IntArrayRef shape, double scale = 1);

/// Begins the draws anew. Every list of entries and every check does, so that each draws the same in every run,
/// whatever else is run.
void restart_draws();

/// The same values in memory that is not contiguous: the axes lie in reverse order, every second element is a
/// gap, and the gaps are NaN, so that whoever reads one is found out.
Tensor strided(const Tensor& tensor);

/// The inputs of a function for a batch of that size.
using Inputs = std::function<Tensors(std::int64_t rows, std::int64_t columns)>;

/// What cannot be asked of a function; the entry says why.
struct Limits {
  std::int64_t rows = 0;     ///< the least
  std::int64_t columns = 0;  ///< the least
  bool far = true;           ///< whether inputs of 1e4 mean anything
  /// The least sizes are 0, and LibTorch's value is NaN there, the mean over nothing.
  bool mean = false;
};

/// The cases that follow from how inputs are drawn: "random" (3 to 5 rows, 6 to 8 columns), "one row", "one
/// column", "no rows", "no columns", "not contiguous" (all inputs), "upstream not contiguous", "values of
/// 1e4" (the first input, times 1e4).
std::vector<Case> cases_of(const Inputs& inputs, const Limits& limits = {});

/// a, then b.
std::vector<Case> operator+(std::vector<Case> a, const std::vector<Case>& b);

}  // namespace twingrad::catalogue
