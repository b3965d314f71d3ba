#include "twingrad/ops/fused_relu.h"

#include <ATen/ops/sign.h>

#include <cstdint>

#include "twingrad/ops/function_clones.h"

namespace twingrad::ops {
namespace {

template <typename Scalar>
inline __attribute__((always_inline)) void relu_gradient_loop(std::int64_t count, const Scalar* y,
                                                              const Scalar* grad_y, Scalar* grad_x) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    grad_x[i] = grad_y[i] * static_cast<Scalar>(y[i] > 0);
  }
}

TWINGRAD_FUNCTION_CLONES void relu_gradient_float(std::int64_t count, const float* y, const float* grad_y,
                                                  float* grad_x) {
  relu_gradient_loop(count, y, grad_y, grad_x);
}

TWINGRAD_FUNCTION_CLONES void relu_gradient_double(std::int64_t count, const double* y, const double* grad_y,
                                                   double* grad_x) {
  relu_gradient_loop(count, y, grad_y, grad_x);
}

}  // namespace

at::Tensor& relu_gradient(at::Tensor& grad_x, const at::Tensor& grad_y, const at::Tensor& y) {
  return at::sign_out(grad_x, y).mul_(grad_y);  // y ≥ 0, so sign(y) = [y > 0]
}

at::Tensor& fused_relu_gradient(at::Tensor& grad_x, const at::Tensor& grad_y, const at::Tensor& y) {
  const auto fits = [&](const at::Tensor& tensor) {
    return tensor.device().is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == y.scalar_type() &&
           tensor.sizes() == y.sizes();
  };
  if (fits(grad_x) && fits(grad_y) && fits(y)) {
    if (y.scalar_type() == at::kFloat) {
      relu_gradient_float(y.numel(), y.data_ptr<float>(), grad_y.data_ptr<float>(), grad_x.data_ptr<float>());
      return grad_x;
    }
    if (y.scalar_type() == at::kDouble) {
      relu_gradient_double(y.numel(), y.data_ptr<double>(), grad_y.data_ptr<double>(),
                           grad_x.data_ptr<double>());
      return grad_x;
    }
  }
  return relu_gradient(grad_x, grad_y, y);
}

}  // namespace twingrad::ops
