#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <string>

namespace twingrad::ops {

/// The matrix product out = a b, as at::mm_out. a [M, K], b [K, N], out [M, N] of that size already; each of them may be
/// transposed in memory. What out held before does not count.
///
/// In float32 on an x86-64 processor it is oneDNN's, where LibTorch brings that library, as Debian's does: its kernels are made
/// at run time for the processor and these shapes, and a shard of a batch is small. LibTorch itself takes oneDNN for
/// convolutions and leaves products to its BLAS; everything else here is left to LibTorch.
///
/// Computes with as many threads as use_threads gives LibTorch (oneDNN) or the matrix library. Signals that arrive during a
/// product of oneDNN are handled after it. Throws what at::mm_out throws, but for an `out` that overlaps an operand, which must
/// not be.
at::Tensor& matmul(at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

/// out = c + a b with c [N] added to every row, as at::addmm_out. The rest as for multiply.
at::Tensor& addmm(at::Tensor& out, const at::Tensor& c, const at::Tensor& a, const at::Tensor& b);

/// "oneDNN 2.6.3" if multiply takes it for tensors of that dtype and device, "" if their products are LibTorch's own.
std::string product_library(const at::TensorOptions& options = at::kFloat);

/// While one lives, all products are left to LibTorch: for who compares with LibTorch bit for bit, or wants to know how much of a
/// speed is the library's. A manual twin that is made meanwhile keeps its weights as LibTorch does.
class LibTorchProductsGuard {
 public:
  LibTorchProductsGuard();
  LibTorchProductsGuard(const LibTorchProductsGuard&) = delete;
  LibTorchProductsGuard& operator=(const LibTorchProductsGuard&) = delete;
  ~LibTorchProductsGuard();
};

}  // namespace twingrad::ops
