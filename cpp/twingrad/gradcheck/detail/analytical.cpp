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

Tensors AnalyticalRows::run(const Tensors& upstreams) {
  const Tensors gradients = vjp_(upstreams);
  Tensors rows;
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    rows.push_back(validated_reals(checked_[i], gradients[i]));
  }
  return rows;
}

Tensors AnalyticalRows::rows_for(std::size_t slot, const Tensor& upstream) {
  Tensors upstreams(layout_.slots.size());
  upstreams[slot] = upstream;
  const Tensor original = upstream.clone();
  const Tensors rows = run(upstreams), again = run(upstreams);
  if (!upstream.equal(original)) {
    throw CheckStopped("the backward changed the upstream gradient of ", layout_.slots[slot].name,
                       " in place");
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double* first = rows[i].data_ptr<double>();
    const double* second = again[i].data_ptr<double>();
    for (std::int64_t c = 0; c < rows[i].numel(); ++c) {
      const double change = distance(first[c], second[c]);
      if (change > changes_[i].largest) {
        changes_[i] = {change, first[c], second[c], layout_.slots[slot].name};
      }
    }
  }
  return rows;
}

Tensors AnalyticalRows::jacobians() {
  Tensors jacobians;
  for (const CheckedInput& input : checked_) {
    jacobians.push_back(at::zeros({layout_.length, count_reals(input.tensor)}, at::kDouble));
  }
  for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
    const OutputSlot& slot = layout_.slots[s];
    const Tensor upstream = slot.zeros();
    const Tensor flat = (upstream.is_complex() ? at::view_as_real(upstream) : upstream).view(-1);
    for (std::int64_t r = 0; slot.differentiable && r < slot.length; ++r) {
      flat.select(0, r).fill_(1);
      const Tensors rows = rows_for(s, upstream);
      flat.select(0, r).fill_(0);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        jacobians[i].select(0, slot.offset + r).copy_(rows[i]);
      }
    }
  }
  return jacobians;
}

}  // namespace twingrad::gradcheck_detail
