#pragma once

#include <torch/nn/modules/container/sequential.h>
#include <torch/optim/optimizer.h>

#include <memory>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/optim/options.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

/// The network as LibTorch's user writes it: torch::nn modules, autograd, and an optimizer of torch::optim.
class AutogradTwin final : public Twin {
 public:
  /// initial: flat, as draw_initial_parameters makes it; options: dtype and device; threads: of LibTorch's operations.
  AutogradTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const at::Tensor& initial,
               const at::TensorOptions& options, const ThreadSettings& threads = {});

  std::string name() const override { return "autograd"; }
  double forward(const at::Tensor& images, const at::Tensor& labels) override;
  at::Tensor predict(const at::Tensor& images) override;
  void backward() override;
  void update() override;
  void set_lr(double learning_rate) override;
  void train(bool training) override;
  void set_dropout_masks(const std::vector<at::Tensor>& masks) override;
  void keep_intermediate_gradients(bool keep) override { keep_intermediate_gradients_ = keep; }
  at::Tensor logits() const override;
  std::vector<NamedTensor> intermediates() const override;
  std::vector<NamedTensor> parameters() const override;
  std::vector<NamedTensor> buffers() const override;
  std::vector<NamedTensor> optimizer_state() const override;
  void load_optimizer_state(const std::vector<NamedTensor>& state) override;
  std::vector<NamedTensor> gradients() const override;

 private:
  at::Tensor loss_of(const at::Tensor& output, const at::Tensor& labels) const;

  MlpSpec spec_;
  ThreadSettings threads_;
  torch::nn::Sequential network_;
  OptimizerOptions::Kind optimizer_kind_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  at::Tensor class_weights_, positive_weights_;  ///< undefined: all 1
  double clip_norm_;                             ///< 0: gradients are not clipped
  double clip_norm_type_;                        ///< p of that norm
  bool keep_intermediate_gradients_ = false;
  at::Tensor loss_;
  std::vector<at::Tensor> outputs_;  ///< of each module in the order of result_names, from the last forward
  std::vector<at::Tensor> output_gradients_;  ///< their gradients, from the last backward that kept them
};

}  // namespace twingrad
