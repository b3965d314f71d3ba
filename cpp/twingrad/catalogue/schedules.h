#pragma once

#include <functional>
#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"

namespace twingrad::catalogue {

/// A common mistake in how numbers are computed. It must be rejected.
struct ValuesBug {
  std::string name;
  std::string why;
  std::function<Tensors(const at::TensorOptions&)> values;
};

/// Numbers that must agree: the rates of a schedule, clipped gradients, running statistics.
struct ValuesEntry {
  std::string name;
  std::string oracle;  ///< "torch::optim", "torch::nn::utils", "LibTorch", "autograd", "Python"
  /// The hand-written values, on tensors of this dtype and device.
  std::function<Tensors(const at::TensorOptions&)> values;
  std::function<Tensors()> reference;  ///< in float64
  bool has_float32 = false;            ///< a learning rate is a double, whatever the dtype
  std::vector<ValuesBug> bugs = {};
};

/// Learning rates, step by step: StepLR compared with LibTorch's StepLR, the others with values from Python
/// (schedule_tables.h), because LibTorch has no other scheduler.
std::vector<ValuesEntry> schedule_entries();

/// Gradients of norms from 1e-6 to 100, clipped, compared with torch::nn::utils::clip_grad_norm_.
std::vector<ValuesEntry> clipping_entries();

}  // namespace twingrad::catalogue
