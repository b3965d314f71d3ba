#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

namespace twingrad {

/// A tensor with its name: of a network, where both twins know it under that name ("0.weight", "2.output"),
/// or of a weight file.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace twingrad
