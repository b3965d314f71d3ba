#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"
#include "twingrad/optim/schedule.h"

namespace twingrad::catalogue {

using namespace optim;  // NOLINT: see entry.h

/// A classic mistake in how numbers are computed. It must be rejected.
struct ValuesBug {
  std::string name;
  std::string why;
  std::function<Tensors(const at::TensorOptions&)> values;
};

/// What has no gradient but numbers that have to agree: the rates of a schedule, clipped gradients.
struct ValuesEntry {
  std::string name;
  std::string oracle;  ///< "torch::optim", "torch::nn::utils", "Python"
  /// By hand, on tensors of this dtype and device.
  std::function<Tensors(const at::TensorOptions&)> values;
  std::function<Tensors()> reference;  ///< in float64
  bool has_float32 = false;            ///< a rate is a double, whatever the tensors are
  std::vector<ValuesBug> bugs;
};

/// Learning rates step by step: StepLR beside LibTorch's StepLR, which is the only scheduler that LibTorch
/// has; the others beside what Python's computed (schedule_tables.h).
std::vector<ValuesEntry> schedule_entries();

/// Gradients of lengths from 1e-6 to 100, clipped beside torch::nn::utils::clip_grad_norm_.
std::vector<ValuesEntry> clipping_entries();

}  // namespace twingrad::catalogue
