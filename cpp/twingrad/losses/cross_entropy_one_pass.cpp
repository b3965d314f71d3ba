#include <algorithm>
#include <cmath>

#include "twingrad/losses/cross_entropy.h"

namespace twingrad {
namespace {

/// Where the logits are few numbers a row, an operation on all of them takes less time than calling it.
template <typename Scalar>
void value_of_rows(std::int64_t rows, std::int64_t classes, const Scalar* logits, const std::int64_t* target,
                   Scalar* exp, Scalar* sum_of_exp, Scalar* losses) {
  for (std::int64_t n = 0; n < rows; ++n, logits += classes, exp += classes) {
    const Scalar max = *std::max_element(logits, logits + classes);
    Scalar sum = 0;
    for (std::int64_t k = 0; k < classes; ++k) {
      exp[k] = std::exp(logits[k] - max);  // NaN if any logit of the row is, then so is the sum
      sum += exp[k];
    }
    sum_of_exp[n] = sum;
    losses[n] = std::log(sum) - (logits[target[n]] - max);
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
    value_of_rows(logits.size(0), logits.size(1), logits.data_ptr<Scalar>(), target.data_ptr<std::int64_t>(),
                  exp_.data_ptr<Scalar>(), sum_of_exp_.data_ptr<Scalar>(), losses_.data_ptr<Scalar>());
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
