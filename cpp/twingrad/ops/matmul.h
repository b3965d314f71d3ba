#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <string>

namespace twingrad::ops {

/// The matrix product out = a b, as at::mm_out. a [M, K], b [K, N], out [M, N], which must already have
/// this size; each of them may be transposed in memory. The previous content of out is ignored, and it must
/// not overlap an operand.
///
/// float32 products on an x86-64 CPU use oneDNN if the build found it. It generates kernels at run time for
/// the processor and the shapes, which is faster for the small matrices of a batch shard. (LibTorch itself
/// uses oneDNN for convolutions and BLAS for products.) LibTorch computes all other products.
///
/// use_threads sets the number of threads. Signals that arrive during a oneDNN product are handled after it.
/// Throws the exceptions of at::mm_out.
at::Tensor& matmul(at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

/// out = c + a b with c [N] added to every row, as at::addmm_out. Otherwise like matmul.
at::Tensor& addmm(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b);

/// "oneDNN 2.6.3" if matmul uses it for tensors of this dtype and device; "" if LibTorch computes their
/// products.
std::string product_library(const at::TensorOptions& options = at::kFloat);

/// While an object of this class exists, LibTorch computes all products. Used where results must be
/// bit-identical to LibTorch's, and to measure the speedup by oneDNN. A manual twin created while it exists
/// stores its weights in LibTorch's layout.
class LibTorchProductsGuard {
 public:
  LibTorchProductsGuard();
  LibTorchProductsGuard(const LibTorchProductsGuard&) = delete;
  LibTorchProductsGuard& operator=(const LibTorchProductsGuard&) = delete;
  ~LibTorchProductsGuard();
};

}  // namespace twingrad::ops
