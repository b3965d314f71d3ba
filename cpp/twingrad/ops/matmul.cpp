#include "twingrad/ops/matmul.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "twingrad/runtime/loaded_function.h"
#include "twingrad/runtime/signals.h"

namespace twingrad::ops {
namespace {

/// dnnl_sgemm of oneDNN, the same from version 1 to 3: C ← α op(A) op(B) + β C in float32, matrices row by row, op(X) = X ('N')
/// or Xᵀ ('T'). Returns 0 on success.
using Sgemm = int(char op_a, char op_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                  const float* a, std::int64_t stride_a, const float* b, std::int64_t stride_b, float beta,
                  float* c, std::int64_t stride_c);

/// The beginning of dnnl_version_t, likewise.
struct OneDnnVersion {
  int major, minor, patch;
  const char* hash;
  unsigned cpu_runtime;
};

struct OneDnn {
  Sgemm* sgemm = nullptr;
  std::string name;
};

OneDnn find_onednn() {
  OneDnn found;
#if defined(__x86_64__)  // elsewhere its product is a plain loop
  auto* version = loaded_function<const OneDnnVersion*()>("dnnl_version");
  auto* sgemm = loaded_function<Sgemm>("dnnl_sgemm");
  if (version == nullptr || sgemm == nullptr) {
    return found;
  }
  constexpr unsigned kSequential = 1;
  constexpr unsigned kOpenMp = 2;  // with LibTorch's own pool of threads; others bring one that nobody bounds
  if (version()->cpu_runtime == kSequential || version()->cpu_runtime == kOpenMp) {
    found.sgemm = sgemm;
    found.name = fmt::format("oneDNN {}.{}.{}", version()->major, version()->minor, version()->patch);
  }
#endif
  return found;
}

const OneDnn& onednn() {
  static const OneDnn found = find_onednn();
  return found;
}

std::atomic<int> leaving_all_to_libtorch = 0;  ///< how many LibTorchProductsGuard live

/// How a matrix lies in memory: row by row ('N') or column by column ('T'), so many numbers apart.
struct Layout {
  char op;
  std::int64_t stride;
};

/// Nothing for a matrix that lies otherwise (every second column, say).
std::optional<Layout> layout_of(const at::Tensor& matrix) {
  const std::int64_t rows = matrix.size(0);
  const std::int64_t columns = matrix.size(1);
  // The stride of a dimension of size 1 means nothing.
  const std::int64_t row_stride = rows == 1 ? columns : matrix.stride(0);
  const std::int64_t column_stride = columns == 1 ? rows : matrix.stride(1);
  if ((columns == 1 || matrix.stride(1) == 1) && row_stride >= columns) {
    return Layout{'N', row_stride};
  }
  if ((rows == 1 || matrix.stride(0) == 1) && column_stride >= rows) {
    return Layout{'T', column_stride};
  }
  return std::nullopt;
}

bool is_float_matrix(const at::Tensor& tensor) {
  return tensor.dim() == 2 && tensor.scalar_type() == at::kFloat && tensor.device().is_cpu() &&
         tensor.layout() == at::kStrided && tensor.numel() > 0;
}

char transposed(char op) { return op == 'N' ? 'T' : 'N'; }

/// out = a b, with c (if defined) added to every row. Returns false where this product is not for oneDNN.
bool multiply_by_onednn(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  if (onednn().sgemm == nullptr || leaving_all_to_libtorch > 0 || !is_float_matrix(out) ||
      !is_float_matrix(a) || !is_float_matrix(b)) {
    return false;
  }
  const std::int64_t m = a.size(0);
  const std::int64_t k = a.size(1);
  const std::int64_t n = b.size(1);
  const std::optional<Layout> of_a = layout_of(a);
  const std::optional<Layout> of_b = layout_of(b);
  const std::optional<Layout> of_out = layout_of(out);
  if (b.size(0) != k || out.size(0) != m || out.size(1) != n || !of_a || !of_b || !of_out) {
    return false;
  }
  if (c.defined()) {
    out.copy_(c);
  }
  const float beta = c.defined() ? 1 : 0;
  const auto* a_data = a.data_ptr<float>();
  const auto* b_data = b.data_ptr<float>();
  auto* out_data = out.data_ptr<float>();
  // oneDNN's kernels use the stack pointer for a buffer of theirs, and a handler that interrupts one writes its frame over the
  // heap (uxlfoundation/oneDNN#4845; every version up to 3.11.1).
  const SignalBlockGuard hold;
  if (of_out->op == 'T') {  // outᵀ = bᵀ aᵀ
    return onednn().sgemm(transposed(of_b->op), transposed(of_a->op), n, m, k, 1, b_data, of_b->stride,
                          a_data, of_a->stride, beta, out_data, of_out->stride) == 0;
  }
  return onednn().sgemm(of_a->op, of_b->op, m, n, k, 1, a_data, of_a->stride, b_data, of_b->stride, beta,
                        out_data, of_out->stride) == 0;
}

}  // namespace

at::Tensor& matmul(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  return multiply_by_onednn(out, {}, a, b) ? out : at::mm_out(out, a, b);
}

at::Tensor& addmm(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  return multiply_by_onednn(out, c, a, b) ? out : at::addmm_out(out, c, a, b);
}

std::string product_library(const at::TensorOptions& options) {
  const bool is_for_onednn = options.dtype() == at::kFloat && options.device().is_cpu();
  return is_for_onednn && leaving_all_to_libtorch == 0 ? onednn().name : "";
}

LibTorchProductsGuard::LibTorchProductsGuard() { ++leaving_all_to_libtorch; }
LibTorchProductsGuard::~LibTorchProductsGuard() { --leaving_all_to_libtorch; }

}  // namespace twingrad::ops
