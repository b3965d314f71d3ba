#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace twingrad::gradcheck_detail {

/// The real numbers of a tensor, in row-major order of its indices, to be moved one by one or all at once,
/// and restored at the end of its life. A complex number counts as two: real, imaginary.
///
/// Writes go into the tensor's own memory, whatever its strides, past autograd's version counter: a graph
/// that has saved the tensor stays valid, because every value is back in place before it is used.
class Elements {
 public:
  /// tensor: strided, float or complex, not lazily conjugated, without overlapping memory.
  explicit Elements(const torch::Tensor& tensor);
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;
  ~Elements();

  std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }
  double operator[](std::int64_t i) const { return values_[i]; }
  /// Moves one number. Returns what is stored: `value` rounded to the tensor's dtype.
  double move(std::int64_t i, double value);
  /// Moves all numbers. Returns what is stored.
  std::vector<double> move_all(const std::vector<double>& values);
  void restore(std::int64_t i) { move(i, values_[i]); }
  void restore_all();

 private:
  double rounded(double value) const;

  torch::Tensor reals_;                // a view of the tensor as real numbers, outside of autograd
  torch::Tensor original_;             // a copy
  std::vector<double> values_;         // the same as doubles
  std::vector<std::int64_t> offsets_;  // of each number in the tensor's memory
  double* doubles_ = nullptr;          // the memory, if it is float64 on the CPU …
  float* floats_ = nullptr;            // … or float32
};

/// Copies the real numbers of a tensor, row-major, of any dtype and device, to `to`; a complex one gives two.
void copy_reals(const torch::Tensor& tensor, double* to);

/// A copy of a tensor's real numbers as float64 on the CPU, contiguous.
std::vector<double> reals_of(const torch::Tensor& tensor);

/// How many real numbers a tensor has.
std::int64_t count_reals(const torch::Tensor& tensor);

/// Whether two elements share one address.
bool overlaps_itself(const torch::Tensor& tensor);

}  // namespace twingrad::gradcheck_detail
