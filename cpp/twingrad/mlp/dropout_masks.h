#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "twingrad/mlp/spec.h"

namespace twingrad {

/// Draws the masks of one step, [rows, width] bool for each dropout layer in turn, true where an entry stays. They
/// depend on seed and step alone, and are the same with every version of LibTorch.
std::vector<at::Tensor> draw_dropout_masks(const MlpSpec& spec, std::int64_t rows, std::uint64_t seed,
                                           std::int64_t step);

}  // namespace twingrad
