#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace twingrad {

/// The rows that two twins are compared on: images [N, D], labels [N] int64, and for each dropout layer in
/// order a mask [N, width].
struct Batch {
  at::Tensor images, labels;
  std::vector<at::Tensor> masks = {};
};

}  // namespace twingrad
