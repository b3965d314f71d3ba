#include "twingrad/gradcheck/detail/analytical.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace twingrad::gradcheck_detail {

Tensor AnalyticalRows::validated_reals(const CheckedInput& input, Tensor gradient) {
  const Tensor& x = input.tensor;
  if (!gradient.defined()) {
    return at::zeros({count_reals(x)}, at::kDouble);
  }
  if (gradient.sizes() != x.sizes()) {
    const bool reversed =
        std::equal(gradient.sizes().rbegin(), gradient.sizes().rend(), x.sizes().begin(), x.sizes().end());
    throw CheckStopped("the gradient of ", input.name, " has the wrong shape: expected ", x.sizes(),
                       ", found ", gradient.sizes(), reversed ? "; it looks transposed" : "");
  }
  if (gradient.scalar_type() != x.scalar_type() || gradient.device() != x.device()) {
    const std::string message =
        c10::str("the gradient of ", input.name, " has the wrong dtype or device: expected ", x.scalar_type(),
                 " on ", x.device(), ", found ", gradient.scalar_type(), " on ", gradient.device());
    if (gradient.is_complex() && !x.is_complex()) {
      throw CheckStopped(message);
    }
    if (std::find(wrong_dtypes_.begin(), wrong_dtypes_.end(), message) == wrong_dtypes_.end()) {
      wrong_dtypes_.push_back(message);
    }
    if (x.is_complex() && !gradient.is_complex()) {
      gradient = gradient.to(x.scalar_type());
    }
  }
  return reals_of(gradient);
}

Tensors AnalyticalRows::rows_for(std::size_t slot, const Tensor& upstream) {
  Tensors upstreams(layout_.slots.size());
  upstreams[slot] = upstream;
  const Tensors gradients = vjp_(upstreams);
  Tensors rows;
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    rows.push_back(validated_reals(checked_[i], gradients[i]));
  }
  return rows;
}

void AnalyticalRows::compare_runs(std::size_t input, std::size_t output, const double* first,
                                  const Tensor& second) {
  Change& change = changes_[input];
  const double* values = second.data_ptr<double>();
  for (std::int64_t i = 0; i < second.numel(); ++i) {
    if (distance(first[i], values[i]) > change.largest) {
      change = {distance(first[i], values[i]), first[i], values[i], output};
    }
  }
}

/// Calls use(input, slot, r, gradient) for row r of the Jacobian of each checked input.
template <typename Use>
void AnalyticalRows::for_each_row(const Use& use) {
  for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
    const OutputSlot& slot = layout_.slots[s];
    if (!slot.differentiable) {
      continue;
    }
    const Tensor upstream = slot.zeros();
    const Tensor flat = (upstream.is_complex() ? at::view_as_real(upstream) : upstream).view(-1);
    for (std::int64_t r = 0; r < slot.length; ++r) {
      flat.select(0, r).fill_(1);
      const Tensors rows = rows_for(s, upstream);
      flat.select(0, r).fill_(0);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        use(i, slot, slot.offset + r, rows[i]);
      }
    }
  }
}

Tensors AnalyticalRows::jacobians() {
  Tensors jacobians;
  for (const CheckedInput& input : checked_) {
    jacobians.push_back(at::zeros({layout_.length, count_reals(input.tensor)}, at::kDouble));
  }
  const auto row_of = [&](std::size_t input, std::int64_t r) {
    return jacobians[input].data_ptr<double>() + r * jacobians[input].size(1);
  };
  for_each_row([&](std::size_t i, const OutputSlot&, std::int64_t r, const Tensor& gradient) {
    std::copy_n(gradient.data_ptr<double>(), gradient.numel(), row_of(i, r));
  });
  for_each_row([&](std::size_t i, const OutputSlot& slot, std::int64_t r, const Tensor& gradient) {
    compare_runs(i, slot.output, row_of(i, r), gradient);
  });
  return jacobians;
}

}  // namespace twingrad::gradcheck_detail
