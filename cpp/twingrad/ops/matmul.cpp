#include "twingrad/ops/matmul.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <fmt/format.h>
#if defined(TWINGRAD_HAS_ONEDNN) && \
    defined(__x86_64__)  // on other processors oneDNN's product is a plain loop
#include <dnnl.h>
#define TWINGRAD_USES_ONEDNN
#endif

#include <atomic>
#include <cstdint>
#include <optional>

#include "twingrad/runtime/signals.h"

namespace twingrad::ops {
namespace {

std::atomic<int> libtorch_products_guards = 0;

#ifdef TWINGRAD_USES_ONEDNN

/// Whether oneDNN uses OpenMP, like LibTorch, or a single thread. The number of threads of its other runtimes
/// cannot be set here.
bool has_onednn() {
  const unsigned runtime = dnnl_version()->cpu_runtime;
  return runtime == DNNL_RUNTIME_OMP || runtime == DNNL_RUNTIME_SEQ;
}

std::string onednn_name() {
  const dnnl_version_t& version = *dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version.major, version.minor, version.patch);
}

/// How a matrix is stored: row by row ('N') or column by column ('T'), and the distance between rows or
/// columns.
struct MatrixLayout {
  char op;
  std::int64_t stride;
};

/// std::nullopt for any other layout, such as every second column of a matrix.
std::optional<MatrixLayout> layout_of(const at::Tensor& matrix) {
  const std::int64_t rows = matrix.size(0);
  const std::int64_t columns = matrix.size(1);
  // The stride of a dimension of size 1 is arbitrary.
  const std::int64_t row_stride = rows == 1 ? columns : matrix.stride(0);
  const std::int64_t column_stride = columns == 1 ? rows : matrix.stride(1);
  if ((columns == 1 || matrix.stride(1) == 1) && row_stride >= columns) {
    return MatrixLayout{'N', row_stride};
  }
  if ((rows == 1 || matrix.stride(0) == 1) && column_stride >= rows) {
    return MatrixLayout{'T', column_stride};
  }
  return std::nullopt;
}

bool is_float_matrix(const at::Tensor& tensor) {
  return tensor.dim() == 2 && tensor.scalar_type() == at::kFloat && tensor.device().is_cpu() &&
         tensor.layout() == at::kStrided && tensor.numel() > 0;
}

char transposed(char op) { return op == 'N' ? 'T' : 'N'; }

/// out = a b, with c (if defined) added to every row. Returns false, with out unchanged or equal to c, if
/// oneDNN cannot compute this product.
bool multiply_with_onednn(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  if (!is_float_matrix(out) || !is_float_matrix(a) || !is_float_matrix(b)) {
    return false;
  }
  if (c.defined() && (c.scalar_type() != at::kFloat || !c.device().is_cpu())) {
    return false;
  }
  const std::int64_t m = a.size(0);
  const std::int64_t k = a.size(1);
  const std::int64_t n = b.size(1);
  const std::optional<MatrixLayout> of_a = layout_of(a);
  const std::optional<MatrixLayout> of_b = layout_of(b);
  const std::optional<MatrixLayout> of_out = layout_of(out);
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
  // oneDNN's kernels point the stack pointer to a buffer on the heap, so a signal handler that interrupts
  // one overwrites heap memory (uxlfoundation/oneDNN#4845; all versions up to 3.11.1).
  const SignalBlockGuard no_signals;
  if (of_out->op == 'T') {  // outᵀ = bᵀ aᵀ
    return dnnl_sgemm(transposed(of_b->op), transposed(of_a->op), n, m, k, 1, b_data, of_b->stride, a_data,
                      of_a->stride, beta, out_data, of_out->stride) == dnnl_success;
  }
  return dnnl_sgemm(of_a->op, of_b->op, m, n, k, 1, a_data, of_a->stride, b_data, of_b->stride, beta,
                    out_data, of_out->stride) == dnnl_success;
}

#else

bool has_onednn() { return false; }
std::string onednn_name() { return ""; }
bool multiply_with_onednn(at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return false;
}

#endif

bool uses_onednn() { return libtorch_products_guards == 0 && has_onednn(); }

}  // namespace

at::Tensor& matmul(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  return uses_onednn() && multiply_with_onednn(out, {}, a, b) ? out : at::mm_out(out, a, b);
}

at::Tensor& addmm(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
  return uses_onednn() && multiply_with_onednn(out, c, a, b) ? out : at::addmm_out(out, c, a, b);
}

std::string product_library(const at::TensorOptions& options) {
  const bool is_for_onednn = options.dtype() == at::kFloat && options.device().is_cpu();
  return is_for_onednn && uses_onednn() ? onednn_name() : "";
}

LibTorchProductsGuard::LibTorchProductsGuard() { ++libtorch_products_guards; }
LibTorchProductsGuard::~LibTorchProductsGuard() { --libtorch_products_guards; }

}  // namespace twingrad::ops
