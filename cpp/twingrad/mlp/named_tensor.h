#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

namespace twingrad {

/// A tensor of a network with the name under which both twins know it, for example "0.weight" or "2.output".
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace twingrad
