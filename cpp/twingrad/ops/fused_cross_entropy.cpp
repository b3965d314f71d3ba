#include "twingrad/ops/fused_cross_entropy.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

namespace twingrad::ops {
namespace {

// With few classes, calling a tensor operation takes longer than the operation itself. The exception is exp.

/// From this number of logits on, LibTorch's vectorized exp is faster than a loop over std::exp.
constexpr std::int64_t kManyLogits = 512;

/// shifted = z − m, NaN if z is;  losses = −(z_t − m)
template <typename Scalar>
void shift_rows(std::int64_t rows, std::int64_t classes, const Scalar* logits, const std::int64_t* target,
                Scalar* shifted, Scalar* losses) {
  for (std::int64_t n = 0; n < rows; ++n, logits += classes, shifted += classes) {
    const Scalar max = *std::max_element(logits, logits + classes);
    for (std::int64_t k = 0; k < classes; ++k) {
      shifted[k] = logits[k] - max;
    }
    losses[n] = -shifted[target[n]];
  }
}

/// sum_of_exp = Σ_k exp_k, NaN if one of them is;  losses = losses + log Σ_k exp_k
template <typename Scalar>
void add_logarithms(std::int64_t rows, std::int64_t classes, const Scalar* exp, Scalar* sum_of_exp,
                    Scalar* losses) {
  for (std::int64_t n = 0; n < rows; ++n, exp += classes) {
    sum_of_exp[n] = std::accumulate(exp, exp + classes, Scalar{0});
    losses[n] += std::log(sum_of_exp[n]);
  }
}

template <typename Scalar>
void cross_entropy_rows(const at::Tensor& logits, const at::Tensor& target, CrossEntropyBuffers& buffers) {
  const std::int64_t rows = logits.size(0);
  const std::int64_t classes = logits.size(1);
  auto* exp = buffers.exp.data_ptr<Scalar>();
  auto* losses = buffers.losses.data_ptr<Scalar>();
  shift_rows(rows, classes, logits.data_ptr<Scalar>(), target.data_ptr<std::int64_t>(), exp, losses);
  if (logits.numel() < kManyLogits) {
    std::transform(exp, exp + logits.numel(), exp, [](Scalar z) { return std::exp(z); });
  } else {
    buffers.exp.exp_();
  }
  add_logarithms(rows, classes, exp, buffers.sum_of_exp.data_ptr<Scalar>(), losses);
}

template <typename Scalar>
void gradient_rows(const at::Tensor& target, const CrossEntropyBuffers& buffers, at::Tensor& grad_tensor) {
  const std::int64_t rows = grad_tensor.size(0);
  const std::int64_t classes = grad_tensor.size(1);
  const auto* index = target.data_ptr<std::int64_t>();
  const auto* exp = buffers.exp.data_ptr<Scalar>();
  const auto* sum_of_exp = buffers.sum_of_exp.data_ptr<Scalar>();
  auto* grad = grad_tensor.data_ptr<Scalar>();
  for (std::int64_t n = 0; n < rows; ++n, exp += classes, grad += classes) {
    for (std::int64_t k = 0; k < classes; ++k) {
      grad[k] = exp[k] / sum_of_exp[n];
    }
    grad[index[n]] -= 1;
  }
}

bool is_fast_matrix(const at::Tensor& tensor) {
  const bool has_dtype = tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble;
  return has_dtype && tensor.device().is_cpu() && tensor.dim() == 2 && tensor.numel() > 0 &&
         tensor.is_contiguous();
}

bool is_index_of_classes(const at::Tensor& target, std::int64_t rows, std::int64_t classes) {
  if (target.dim() != 1 || target.size(0) != rows || target.scalar_type() != at::kLong ||
      !target.device().is_cpu() || !target.is_contiguous()) {
    return false;
  }
  const auto* index = target.data_ptr<std::int64_t>();
  return std::all_of(index, index + rows, [&](std::int64_t t) { return t >= 0 && t < classes; });
}

}  // namespace

void cross_entropy(const at::Tensor& logits, const at::Tensor& target, CrossEntropyBuffers& buffers) {
  auto& [losses, exp, sum_of_exp] = buffers;
  at::sub_out(exp, logits, at::amax(logits, 1, /*keepdim=*/true));
  at::neg_out(losses, exp.gather(1, target.unsqueeze(1)));
  at::sum_out(sum_of_exp, exp.exp_(), 1, /*keepdim=*/true);
  losses.add_(sum_of_exp.log());
}

void cross_entropy_gradient(at::Tensor& grad, const at::Tensor& target, const CrossEntropyBuffers& buffers) {
  at::div_out(grad, buffers.exp, buffers.sum_of_exp);
  grad.scatter_add_(1, target.unsqueeze(1), at::full_like(buffers.sum_of_exp, -1));
}

void fused_cross_entropy(const at::Tensor& logits, const at::Tensor& target, CrossEntropyBuffers& buffers) {
  if (!is_fast_matrix(logits) || !is_index_of_classes(target, logits.size(0), logits.size(1))) {
    cross_entropy(logits, target, buffers);
  } else if (logits.scalar_type() == at::kFloat) {
    cross_entropy_rows<float>(logits, target, buffers);
  } else {
    cross_entropy_rows<double>(logits, target, buffers);
  }
}

void fused_cross_entropy_gradient(at::Tensor& grad, const at::Tensor& target,
                                  const CrossEntropyBuffers& buffers) {
  if (!is_fast_matrix(grad) || !is_index_of_classes(target, grad.size(0), grad.size(1))) {
    cross_entropy_gradient(grad, target, buffers);
  } else if (grad.scalar_type() == at::kFloat) {
    gradient_rows<float>(target, buffers, grad);
  } else {
    gradient_rows<double>(target, buffers, grad);
  }
}

}  // namespace twingrad::ops
