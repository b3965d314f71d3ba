#pragma once

#include <functional>
#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"

/// The cases common to all functions.
namespace twingrad::catalogue {

/// Draws from N(0, 1) · scale, float64.
Tensor draw(at::IntArrayRef shape, double scale = 1);

/// Resets the generator of draw(). Each list of entries and each check starts with it, so that the numbers do
/// not depend on what ran before.
void restart_draws();

/// A float64 tensor with this number of rows.
Tensor matrix(std::initializer_list<double> values, std::int64_t rows = 1);

/// The same values in memory that is not contiguous: the axes are reversed, and every second element in
/// memory is a NaN, which shows if a function reads it.
Tensor strided(const Tensor& tensor);

/// The inputs of a function for a batch of this size.
using Inputs = std::function<Tensors(std::int64_t rows, std::int64_t columns)>;

/// The limits of a function's inputs; each entry gives the reason.
struct Limits {
  std::int64_t rows = 0;     ///< minimum
  std::int64_t columns = 0;  ///< minimum
  bool far = true;           ///< whether inputs of 1e4 are meaningful
  bool mean = false;         ///< the value for an empty input is NaN, a mean over no entries
};

/// The cases that follow from how inputs are drawn: "random" (3 to 5 rows, 6 to 8 columns), "one row", "one
/// column", "no rows", "no columns", "not contiguous" (all inputs), "upstream not contiguous", "values of
/// 1e4" (the first input, times 1e4).
std::vector<Case> cases_of(const Inputs& inputs, const Limits& limits = {});

/// a, then b.
template <typename Element>
std::vector<Element> operator+(std::vector<Element> a, const std::vector<Element>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace twingrad::catalogue
