#include "twingrad/gradcheck/detail/elements.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace twingrad::gradcheck_detail {
namespace {

/// The address of each element relative to the first, in row-major order of the indices.
std::vector<std::int64_t> element_offsets(const Tensor& tensor) {
  Tensor offsets = at::zeros({1}, at::kLong);
  for (std::int64_t d = 0; d < tensor.dim(); ++d) {
    offsets = (offsets.unsqueeze(1) + at::arange(tensor.size(d)) * tensor.stride(d)).reshape(-1);
  }
  return {offsets.data_ptr<std::int64_t>(), offsets.data_ptr<std::int64_t>() + offsets.numel()};
}

Tensor real_view(const Tensor& tensor) { return tensor.is_complex() ? at::view_as_real(tensor) : tensor; }

}  // namespace

Elements::Elements(const Tensor& tensor)
    : reals_(real_view(tensor.variable_data())),
      values_(reals_of(reals_)),
      offsets_(element_offsets(reals_)) {
  if (reals_.is_cpu() && reals_.scalar_type() == at::kDouble) {
    doubles_ = reals_.data_ptr<double>();
  }
}

Elements::~Elements() { restore_all(); }

double Elements::set(std::int64_t i, double value) {
  if (doubles_ != nullptr) {
    return doubles_[offsets_[i]] = value;
  }
  const at::NoGradGuard no_grad;
  const Tensor element = reals_.as_strided({}, {}, reals_.storage_offset() + offsets_[i]);
  return element.fill_(value).item<double>();
}

Tensor Elements::set_all(const Tensor& values) {
  const at::NoGradGuard no_grad;
  reals_.copy_(values.view(reals_.sizes()));
  return reals_of(reals_);
}

void Elements::restore_all() {
  const at::NoGradGuard no_grad;
  reals_.copy_(values_.view(reals_.sizes()));
}

void copy_reals(const Tensor& tensor, double* to) {
  const bool strided = tensor.layout() == at::kStrided;
  if (strided && tensor.is_cpu() && tensor.scalar_type() == at::kDouble && tensor.is_contiguous() &&
      !tensor.is_neg()) {
    std::copy_n(tensor.data_ptr<double>(), tensor.numel(), to);
    return;
  }
  const at::NoGradGuard no_grad;
  const Tensor values = (strided ? tensor : tensor.to_dense()).resolve_conj().resolve_neg();
  const Tensor flat = real_view(values).to(at::kCPU, at::kDouble).contiguous();
  std::copy_n(flat.data_ptr<double>(), flat.numel(), to);
}

Tensor reals_of(const Tensor& tensor) {
  Tensor reals = at::empty({count_reals(tensor)}, at::kDouble);
  copy_reals(tensor, reals.data_ptr<double>());
  return reals;
}

std::int64_t count_reals(const Tensor& tensor) { return tensor.numel() * (tensor.is_complex() ? 2 : 1); }

bool all_zero(const Tensor& tensor) { return !tensor.defined() || reals_of(tensor).eq(0).all().item<bool>(); }

double distance(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) {
    return 0;
  }
  const double difference = std::abs(a - b);
  return std::isnan(difference) ? INFINITY : difference;
}

bool overlaps_itself(const Tensor& tensor) {
  if (tensor.is_non_overlapping_and_dense()) {
    return false;
  }
  std::vector<std::int64_t> offsets = element_offsets(tensor);
  std::sort(offsets.begin(), offsets.end());
  return std::adjacent_find(offsets.begin(), offsets.end()) != offsets.end();
}

}  // namespace twingrad::gradcheck_detail
