#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace twingrad {

/// A named tensor of a network ("0.weight", "2.output"; both twins use the same names) or of a weight file.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace twingrad
