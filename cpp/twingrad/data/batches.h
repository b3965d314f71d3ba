#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "twingrad/data/dataset.h"
#include "twingrad/ops/thread_pool.h"

namespace twingrad::data {

/// The images and labels of one part of a data set as tensors on a device. Pixels stay bytes, an eighth of
/// the memory of float64, and are converted when a batch is gathered.
class ImageTensors {
 public:
  /// On the CPU the tensors share the memory of `images`, which must outlive them. pool: the threads that
  /// gather batches; by default, only the calling thread.
  ImageTensors(const LabelledImages& images, at::Device device,
               std::shared_ptr<ThreadPool> pool = std::make_shared<ThreadPool>(1));

  std::int64_t count() const { return pixels_.size(0); }

  /// Gathers a batch: images[b, :] = pixels[indices[b], :] / 255 in the dtype of `images`, and
  /// labels[b] = labels[indices[b]].
  ///
  /// indices [B], int64, on the CPU. images, labels: output buffers, resized to [B, D] and [B].
  void gather(const at::Tensor& indices, at::Tensor& images, at::Tensor& labels) const;

  /// The same with tensor operations, for any device and dtype. The result is bitwise equal.
  void gather_by_tensor_operations(const at::Tensor& indices, at::Tensor& images, at::Tensor& labels) const;

 private:
  at::Tensor pixels_;  ///< [N, D], uint8
  at::Tensor labels_;  ///< [N], int64
  std::shared_ptr<ThreadPool> pool_;
};

/// The order of the samples in an epoch: a permutation of 0 … count − 1 that depends only on seed and epoch
/// and is the same on every machine. [count], int64, on the CPU.
at::Tensor shuffled_indices(std::int64_t count, std::uint64_t seed, std::int64_t epoch);

}  // namespace twingrad::data
