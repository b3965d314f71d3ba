#include "twingrad/gradcheck/detail/elements.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace twingrad::gradcheck_detail {
namespace {

/// The address of each element relative to the first, in row-major order of the indices.
std::vector<std::int64_t> element_offsets(const Tensor& tensor) {
  std::vector<std::int64_t> offsets(tensor.numel());
  std::vector<std::int64_t> index(tensor.dim(), 0);
  std::int64_t offset = 0;
  for (std::int64_t& element : offsets) {
    element = offset;
    for (std::int64_t d = tensor.dim() - 1; d >= 0; --d) {  // advance the index like an odometer
      offset += tensor.stride(d);
      if (++index[d] < tensor.size(d)) {
        break;
      }
      offset -= tensor.size(d) * tensor.stride(d);
      index[d] = 0;
    }
  }
  return offsets;
}

Tensor real_view(const Tensor& tensor) { return tensor.is_complex() ? at::view_as_real(tensor) : tensor; }

}  // namespace

Elements::Elements(const Tensor& tensor)
    : reals_(real_view(tensor.variable_data())),
      original_(reals_.clone()),
      values_(reals_.numel()),
      offsets_(element_offsets(reals_)) {
  copy_reals(reals_, values_.data());
  if (reals_.is_cpu() && reals_.scalar_type() == at::kDouble) {
    doubles_ = reals_.data_ptr<double>();
  } else if (reals_.is_cpu() && reals_.scalar_type() == at::kFloat) {
    floats_ = reals_.data_ptr<float>();
  }
}

Elements::~Elements() { restore_all(); }

double Elements::set(std::int64_t i, double value) {
  if (doubles_ != nullptr) {
    return doubles_[offsets_[i]] = value;
  }
  if (floats_ != nullptr) {
    return floats_[offsets_[i]] = static_cast<float>(value);
  }
  const at::NoGradGuard no_grad;
  reals_.as_strided({}, {}, reals_.storage_offset() + offsets_[i]).fill_(value);
  return rounded(value);
}

std::vector<double> Elements::set_all(const std::vector<double>& values) {
  const at::NoGradGuard no_grad;
  reals_.copy_(at::tensor(values, at::kDouble).view(reals_.sizes()));
  std::vector<double> stored(values.size());
  std::transform(values.begin(), values.end(), stored.begin(),
                 [this](double value) { return rounded(value); });
  return stored;
}

void Elements::restore_all() {
  const at::NoGradGuard no_grad;
  reals_.copy_(original_);
}

double Elements::rounded(double value) const {
  switch (reals_.scalar_type()) {
    case at::kFloat:
      return static_cast<float>(value);
    case at::kHalf:
      return static_cast<float>(at::Half(static_cast<float>(value)));
    case at::kBFloat16:
      return static_cast<float>(at::BFloat16(static_cast<float>(value)));
    default:
      return value;
  }
}

void copy_reals(const Tensor& tensor, double* to) {
  if (tensor.is_cpu() && tensor.scalar_type() == at::kDouble && tensor.is_contiguous() && !tensor.is_neg()) {
    std::copy_n(tensor.data_ptr<double>(), tensor.numel(), to);
    return;
  }
  const at::NoGradGuard no_grad;
  Tensor values = tensor;
  if (values.layout() != at::kStrided) {
    values = values.to_dense();
  }
  if (values.is_conj() || values.is_neg()) {  // the memory holds the conjugate or the negative
    values = values.resolve_conj().resolve_neg();
  }
  const Tensor flat = real_view(values).to(at::kCPU, at::kDouble).contiguous();
  std::copy_n(flat.data_ptr<double>(), flat.numel(), to);
}

std::int64_t count_reals(const Tensor& tensor) { return tensor.numel() * (tensor.is_complex() ? 2 : 1); }

bool overlaps_itself(const Tensor& tensor) {
  if (tensor.is_non_overlapping_and_dense()) {
    return false;
  }
  std::vector<std::int64_t> offsets = element_offsets(tensor);
  std::sort(offsets.begin(), offsets.end());
  return std::adjacent_find(offsets.begin(), offsets.end()) != offsets.end();
}

}  // namespace twingrad::gradcheck_detail
