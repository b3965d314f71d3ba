#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/optim/options.h"

namespace torch::optim {
class Optimizer;
}

/// LibTorch's counterparts of the optimizers, gradient clipping and schedules of this library.
namespace twingrad::torch_reference {

/// The class of torch::optim with these options, gradient clipping included.
class Optimizer {
 public:
  /// parameters: leaf tensors; step() reads their grad().
  Optimizer(const OptimizerOptions& options, std::vector<at::Tensor> parameters);
  ~Optimizer();

  void zero_grad();
  /// Clips the norm of the gradients if the options say so, and updates the parameters.
  void step();
  void set_lr(double lr);

  /// The state of each parameter under the names of torch::optim: "0.weight.exp_avg", …, and the number of
  /// steps, "0.weight.step", except for SGD. names: of the parameters, in order. Empty before the first step.
  std::vector<NamedTensor> state(const std::vector<std::string>& names) const;
  /// Throws std::invalid_argument if a tensor is missing or has the wrong shape.
  void load_state(const std::vector<std::string>& names, const std::vector<NamedTensor>& state);

 private:
  OptimizerOptions options_;
  std::vector<at::Tensor> parameters_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
};

/// Applies torch::nn::utils::clip_grad_norm_ to these gradients in place. Returns the norm before clipping.
double clip_grad_norm(const std::vector<at::Tensor>& gradients, double max_norm, double norm_type);

/// The learning rates of torch::optim::StepLR, the only closed-form scheduler of LibTorch's C++ API.
std::vector<double> step_lr(double lr, unsigned step_size, double gamma, int steps);

}  // namespace twingrad::torch_reference
