#include "twingrad/gradcheck/detail/analytical.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace twingrad::gradcheck_detail {

void AnalyticalRows::copy_validated(const CheckedInput& input, Tensor gradient, std::vector<double>& row) {
  const Tensor& x = input.tensor;
  row.resize(count_reals(x));
  if (!gradient.defined()) {
    std::fill(row.begin(), row.end(), 0);
    return;
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
  copy_reals(gradient, row.data());
}

void AnalyticalRows::fill(Rows& rows, std::size_t slot, const Tensor& upstream) {
  Tensors upstreams(layout_.slots.size());
  upstreams[slot] = upstream;
  const Tensors gradients = vjp_(upstreams);
  rows.resize(checked_.size());
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    copy_validated(checked_[i], gradients[i], rows[i]);
  }
}

void AnalyticalRows::compare_runs(std::size_t input, std::size_t output, const double* first,
                                  const double* second, std::int64_t count) {
  Change& change = changes_[input];
  for (std::int64_t i = 0; i < count; ++i) {
    const double largest = distance(first[i], second[i]);
    if (largest > change.largest) {
      change = {largest, first[i], second[i], output};
    }
  }
}

/// Calls use(input, slot, r, gradient) for row r of the Jacobian of each checked input.
template <typename Use>
void AnalyticalRows::for_each_row(const Use& use) {
  Rows rows;
  for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
    const OutputSlot& slot = layout_.slots[s];
    if (!slot.differentiable) {
      continue;
    }
    const Tensor upstream = slot.zeros();
    const Tensor flat = (upstream.is_complex() ? at::view_as_real(upstream) : upstream).view(-1);
    for (std::int64_t r = 0; r < slot.length; ++r) {
      flat.select(0, r).fill_(1);
      fill(rows, s, upstream);
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
  for_each_row([&](std::size_t i, const OutputSlot&, std::int64_t r, const std::vector<double>& gradient) {
    std::copy(gradient.begin(), gradient.end(), row_of(i, r));
  });
  for_each_row(
      [&](std::size_t i, const OutputSlot& slot, std::int64_t r, const std::vector<double>& gradient) {
        compare_runs(i, slot.output, row_of(i, r), gradient.data(), jacobians[i].size(1));
      });
  return jacobians;
}

}  // namespace twingrad::gradcheck_detail
