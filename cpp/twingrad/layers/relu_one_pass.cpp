#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "twingrad/layers/relu.h"
#include "twingrad/runtime/function_clones.h"

namespace twingrad {
namespace {

/// Bit for bit what sign and product give, without writing sign(y) to memory and reading it back.
template <typename Scalar>
inline __attribute__((always_inline)) void one_pass(std::int64_t count, const Scalar* y, const Scalar* grad_y,
                                                    Scalar* grad_x) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    grad_x[i] = grad_y[i] * static_cast<Scalar>(y[i] > 0);
  }
}

TWINGRAD_FUNCTION_CLONES void one_pass_float(std::int64_t count, const float* y, const float* grad_y,
                                             float* grad_x) {
  one_pass(count, y, grad_y, grad_x);
}

TWINGRAD_FUNCTION_CLONES void one_pass_double(std::int64_t count, const double* y, const double* grad_y,
                                              double* grad_x) {
  one_pass(count, y, grad_y, grad_x);
}

}  // namespace

bool ReLU::backward_in_one_pass(Tensor& grad_x, const Tensor& grad_y, const Tensor& y) const {
  for (const Tensor* tensor : std::initializer_list<const Tensor*>{&grad_x, &grad_y, &y}) {
    if (!tensor->device().is_cpu() || !tensor->is_contiguous() || tensor->scalar_type() != y.scalar_type() ||
        tensor->sizes() != y.sizes()) {
      return false;
    }
  }
  switch (y.scalar_type()) {
    case at::kFloat:
      one_pass_float(y.numel(), y.data_ptr<float>(), grad_y.data_ptr<float>(), grad_x.data_ptr<float>());
      return true;
    case at::kDouble:
      one_pass_double(y.numel(), y.data_ptr<double>(), grad_y.data_ptr<double>(), grad_x.data_ptr<double>());
      return true;
    default:
      return false;
  }
}

}  // namespace twingrad
