#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "twingrad/mlp/spec.h"

namespace twingrad {

/// Draws the dropout masks of one step: for each dropout layer in order, [rows, width] bool, true where an
/// entry is kept. They depend only on seed and step, not on the version of LibTorch.
std::vector<at::Tensor> draw_dropout_masks(const MlpSpec& spec, std::int64_t rows, std::uint64_t seed,
                                           std::int64_t step);

}  // namespace twingrad
