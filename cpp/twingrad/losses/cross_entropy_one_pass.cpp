#include <algorithm>
#include <cmath>
#include <numeric>

#include "twingrad/losses/cross_entropy.h"

namespace twingrad {
namespace {

// Where the logits are few numbers a row, an operation on all of them takes less time than calling it: but for exp.

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
void derivative_of_rows(std::int64_t rows, std::int64_t classes, const Scalar* exp, const Scalar* sum_of_exp,
                        const std::int64_t* target, Scalar* grad) {
  for (std::int64_t n = 0; n < rows; ++n, exp += classes, grad += classes) {
    for (std::int64_t k = 0; k < classes; ++k) {
      grad[k] = exp[k] / sum_of_exp[n];
    }
    grad[target[n]] -= 1;
  }
}

/// From so many on it pays to call LibTorch's exp, which computes several at a time.
constexpr std::int64_t kManyLogits = 512;

bool has_every_class_below(std::int64_t classes, const Tensor& target) {
  const auto* index = target.data_ptr<std::int64_t>();
  return std::all_of(index, index + target.numel(),
                     [classes](std::int64_t t) { return t >= 0 && t < classes; });
}

}  // namespace

bool CrossEntropy::value_in_one_pass(const Tensor& logits, const Tensor& target) {
  const bool is_float = logits.scalar_type() == at::kFloat;
  if (!logits.device().is_cpu() || !(is_float || logits.scalar_type() == at::kDouble) || logits.dim() != 2 ||
      logits.numel() == 0 || !logits.is_contiguous() || target.dim() != 1 ||
      target.size(0) != logits.size(0) || target.scalar_type() != at::kLong || !target.device().is_cpu() ||
      !target.is_contiguous() || !has_every_class_below(logits.size(1), target)) {
    return false;
  }
  const auto run = [&](auto zero) {
    using Scalar = decltype(zero);
    auto* exp = exp_.data_ptr<Scalar>();
    auto* losses = losses_.data_ptr<Scalar>();
    const std::int64_t rows = logits.size(0);
    const std::int64_t classes = logits.size(1);
    shift_rows(rows, classes, logits.data_ptr<Scalar>(), target.data_ptr<std::int64_t>(), exp, losses);
    if (exp_.numel() < kManyLogits) {
      std::transform(exp, exp + exp_.numel(), exp, [](Scalar z) { return std::exp(z); });
    } else {
      exp_.exp_();
    }
    add_logarithms(rows, classes, exp, sum_of_exp_.data_ptr<Scalar>(), losses);
  };
  is_float ? run(0.F) : run(0.);
  return true;
}

void CrossEntropy::derivative_in_one_pass() {
  const auto run = [&](auto zero) {
    using Scalar = decltype(zero);
    derivative_of_rows(exp_.size(0), exp_.size(1), exp_.data_ptr<Scalar>(), sum_of_exp_.data_ptr<Scalar>(),
                       target_.data_ptr<std::int64_t>(), grad_.data_ptr<Scalar>());
  };
  exp_.scalar_type() == at::kFloat ? run(0.F) : run(0.);
}

}  // namespace twingrad
