#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <string>

namespace twingrad::ops {

/// The matrix product out = a b, as at::mm_out. a [M, K], b [K, N], out [M, N], which must already have this size; each
/// of them may be transposed in memory. The previous content of out is ignored, and it must not overlap an operand.
///
/// float32 products on an x86-64 CPU use oneDNN if the build found it: it generates kernels at run time for the
/// processor and the shapes at hand, which pays for the small matrices of a batch shard. (LibTorch itself uses oneDNN
/// for convolutions and its BLAS for products.) All other products are LibTorch's.
///
/// The number of threads is what use_threads sets for LibTorch (oneDNN) or for the matrix library. Signals that arrive
/// during a oneDNN product are handled after it. Throws what at::mm_out throws.
at::Tensor& matmul(at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

/// out = c + a b with c [N] added to every row, as at::addmm_out. See matmul for the rest.
at::Tensor& addmm(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b);

/// "oneDNN 2.6.3" if matmul uses it for tensors of this dtype and device; "" if LibTorch computes their products.
std::string product_library(const at::TensorOptions& options = at::kFloat);

/// While an object of this class exists, LibTorch computes all products. Used where results must have the same bits as
/// LibTorch's, and to measure oneDNN's share of the speed. A manual twin that is created meanwhile stores its weights in
/// LibTorch's layout.
class LibTorchProductsGuard {
 public:
  LibTorchProductsGuard();
  LibTorchProductsGuard(const LibTorchProductsGuard&) = delete;
  LibTorchProductsGuard& operator=(const LibTorchProductsGuard&) = delete;
  ~LibTorchProductsGuard();
};

}  // namespace twingrad::ops
