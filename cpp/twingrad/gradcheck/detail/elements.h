#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace twingrad::gradcheck_detail {

using at::Tensor;
using Tensors = std::vector<Tensor>;

/// The real numbers of a tensor, in row-major order of its indices, which can be changed one by one or all at
/// once. The destructor restores them. A complex number counts as two: real, imaginary.
///
/// Writes go into the tensor's own memory, whatever its strides, bypassing autograd's version counter. A
/// graph that has saved the tensor stays valid, because every value is restored before the graph is used.
class Elements {
 public:
  /// tensor: strided, float or complex, not lazily conjugated, without overlapping memory.
  explicit Elements(const Tensor& tensor);
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;
  ~Elements();

  std::int64_t size() const { return values_.numel(); }
  /// The original numbers [C], float64 on the CPU.
  const Tensor& values() const { return values_; }
  double operator[](std::int64_t i) const { return values_.data_ptr<double>()[i]; }
  /// Sets one number. Returns what is stored: `value` rounded to the tensor's dtype.
  double set(std::int64_t i, double value);
  /// Sets all numbers to `values` [C]. Returns what is stored.
  Tensor set_all(const Tensor& values);
  void restore(std::int64_t i) { set(i, (*this)[i]); }
  void restore_all();

 private:
  Tensor reals_;                       // a view of the tensor as real numbers, without autograd
  Tensor values_;                      // a copy as float64, flat
  std::vector<std::int64_t> offsets_;  // of each number in the tensor's memory
  double* doubles_ = nullptr;          // the memory, if it is float64 on the CPU
};

/// Copies the real numbers of a tensor of any layout, dtype and device to `to`, row-major; a complex number
/// gives two.
void copy_reals(const Tensor& tensor, double* to);

/// The real numbers of a tensor [C]: a copy as float64 on the CPU.
Tensor reals_of(const Tensor& tensor);

/// Real numbers [C] as a tensor of the shape, dtype and device of `like`.
Tensor from_reals(const Tensor& reals, const Tensor& like);

/// The number of real numbers in a tensor.
std::int64_t count_reals(const Tensor& tensor);

/// The largest finite absolute value; 0 if there is none.
double largest_finite(const Tensor& values);

/// The root mean square of real numbers; 1 if it is 0 or not finite.
double size_of(const Tensor& reals);

/// Whether all elements are zero. An undefined tensor counts as zero.
bool all_zero(const Tensor& tensor);

/// |a − b|. Two NaNs are equal; NaN and a number are infinitely far apart.
double distance(double a, double b);

/// Whether two elements share an address.
bool overlaps_itself(const Tensor& tensor);

/// Whether an element of one tensor and an element of the other share an address. False unless both are
/// strided.
bool share_memory(const Tensor& a, const Tensor& b);

}  // namespace twingrad::gradcheck_detail
