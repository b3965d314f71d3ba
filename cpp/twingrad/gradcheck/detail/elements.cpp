#include "twingrad/gradcheck/detail/elements.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

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

/// The addresses of the real numbers of a strided tensor, sorted.
std::vector<std::uintptr_t> sorted_addresses(const Tensor& tensor) {
  const Tensor reals = real_view(tensor.is_conj() ? tensor.conj() : tensor);
  const auto first = reinterpret_cast<std::uintptr_t>(reals.data_ptr());
  std::vector<std::uintptr_t> addresses;
  for (const std::int64_t offset : element_offsets(reals)) {
    addresses.push_back(first + static_cast<std::uintptr_t>(offset) * reals.element_size());
  }
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

/// Whether the memory from the first to the last element of one tensor overlaps that of the other.
bool ranges_overlap(const Tensor& a, const Tensor& b) {
  const auto range_of = [](const Tensor& tensor) {
    std::int64_t last = 0;
    for (std::int64_t d = 0; d < tensor.dim(); ++d) {
      last += (tensor.size(d) - 1) * tensor.stride(d);
    }
    const auto first = reinterpret_cast<std::uintptr_t>(tensor.data_ptr());
    return std::pair(first, first + static_cast<std::uintptr_t>(last + 1) * tensor.element_size());
  };
  const auto [first_a, end_a] = range_of(a);
  const auto [first_b, end_b] = range_of(b);
  return first_a < end_b && first_b < end_a;
}

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
  const c10::NoGradGuard no_grad;
  const Tensor element = reals_.as_strided({}, {}, reals_.storage_offset() + offsets_[i]);
  return element.fill_(value).item<double>();
}

Tensor Elements::set_all(const Tensor& values) {
  const c10::NoGradGuard no_grad;
  reals_.copy_(values.view(reals_.sizes()));
  return reals_of(reals_);
}

void Elements::restore_all() {
  const c10::NoGradGuard no_grad;
  reals_.copy_(values_.view(reals_.sizes()));
}

void copy_reals(const Tensor& tensor, double* to) {
  const bool strided = tensor.layout() == at::kStrided;
  if (strided && tensor.is_cpu() && tensor.scalar_type() == at::kDouble && tensor.is_contiguous() &&
      !tensor.is_neg()) {
    std::copy_n(tensor.data_ptr<double>(), tensor.numel(), to);
    return;
  }
  const c10::NoGradGuard no_grad;
  const Tensor values = (strided ? tensor : tensor.to_dense()).resolve_conj().resolve_neg();
  const Tensor flat = real_view(values).to(at::kCPU, at::kDouble).contiguous();
  std::copy_n(flat.data_ptr<double>(), flat.numel(), to);
}

Tensor reals_of(const Tensor& tensor) {
  Tensor reals = at::empty({count_reals(tensor)}, at::kDouble);
  copy_reals(tensor, reals.data_ptr<double>());
  return reals;
}

Tensor from_reals(const Tensor& reals, const Tensor& like) {
  const Tensor numbers = like.is_complex() ? at::view_as_complex(reals.view({-1, 2})) : reals;
  return numbers.view(like.sizes()).to(like.options().requires_grad(false));
}

std::int64_t count_reals(const Tensor& tensor) { return tensor.numel() * (tensor.is_complex() ? 2 : 1); }

double largest_finite(const Tensor& values) {
  if (values.numel() == 0) {
    return 0;
  }
  const Tensor sizes = values.abs();
  return sizes.masked_fill(sizes.isfinite().logical_not(), 0).max().item<double>();
}

double size_of(const Tensor& reals) {
  const double size = reals.square().mean().sqrt().item<double>();
  return std::isfinite(size) && size > 0 ? size : 1;
}

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

bool share_memory(const Tensor& a, const Tensor& b) {
  if (a.layout() != at::kStrided || b.layout() != at::kStrided || a.device() != b.device() ||
      a.numel() == 0 || b.numel() == 0 || !ranges_overlap(a, b)) {
    return false;
  }
  const std::vector<std::uintptr_t> of_a = sorted_addresses(a), of_b = sorted_addresses(b);
  std::vector<std::uintptr_t> shared;
  std::set_intersection(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(), std::back_inserter(shared));
  return !shared.empty();
}

}  // namespace twingrad::gradcheck_detail
