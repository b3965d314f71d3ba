#pragma once

#include <ATen/ATen.h>

namespace twingrad {

using at::Tensor;

/// A rule that moves parameters against their gradient, written by hand.
///
/// It knows one flat vector of parameters w and one of gradients g, both [P]; what the entries mean it does
/// not know. Whatever state a rule needs is a vector [P] of the same dtype and device, zero before the first
/// step.
class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// One step: changes `parameters` in place.
  virtual void step(Tensor& parameters, const Tensor& gradients) = 0;
};

}  // namespace twingrad
