#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/optim/options.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

/// The network as LibTorch's users write it: torch::nn modules, autograd, and an optimizer of torch::optim.
class AutogradTwin : public Twin {
 public:
  /// initial: flat, as returned by draw_initial_parameters; options: dtype and device; threads: the number of
  /// threads of LibTorch's operations; rms_epsilon: of RMS normalization, by default the machine epsilon of
  /// the dtype.
  AutogradTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const at::Tensor& initial,
               const at::TensorOptions& options, const ThreadSettings& threads = {},
               std::optional<double> rms_epsilon = std::nullopt);
  ~AutogradTwin() override;

  std::string name() const override { return "autograd"; }
  double forward(const at::Tensor& images, const at::Tensor& labels) override;
  at::Tensor enqueue_gradients(const at::Tensor& images, const at::Tensor& labels) override;
  at::Tensor predict(const at::Tensor& images) override;
  void backward() override;
  void update() override;
  void set_lr(double lr) override;
  void train(bool on = true) override;
  void set_dropout_masks(const std::vector<at::Tensor>& masks) override;
  void keep_intermediate_gradients(bool keep) override;
  at::Tensor logits() const override;
  std::vector<NamedTensor> intermediates() const override;
  std::vector<NamedTensor> parameters() const override;
  std::vector<NamedTensor> buffers() const override;
  std::vector<NamedTensor> optimizer_state() const override;
  void load_optimizer_state(const std::vector<NamedTensor>& state) override;
  std::vector<at::Tensor> gradient_vectors() override;
  std::vector<NamedTensor> gradients() const override;
  std::vector<NamedTensor> kink_distances() const override;
  std::string describe_layer(const std::string& layer) const override;
  std::unique_ptr<Twin> in_float64() const override;
  bool simulate_rounding(double epsilon, std::uint64_t seed) override;
  std::map<std::string, double> local_rounding_errors() const override;
  double normalization_noise() const override;

 private:
  struct Modules;  ///< keeps the headers of torch::nn and torch::optim out of this one

  at::Tensor run_modules(const at::Tensor& images, bool keep_gradients);
  /// forward without reading the loss.
  void run_forward(const at::Tensor& images, const at::Tensor& labels);
  /// The size of the terms that ∂L/∂output is computed from: p and 1, if the gradient is (p − 1) / N. The
  /// gradient for another label is large where they cancel. Undefined if they cannot cancel.
  at::Tensor loss_terms(const at::Tensor& output) const;

  MlpSpec spec_;
  OptimizerOptions optimizer_options_;
  ThreadSettings threads_;
  at::ScalarType dtype_;
  std::unique_ptr<Modules> modules_;
  at::Tensor labels_, loss_;         ///< of the last forward
  std::vector<at::Tensor> outputs_;  ///< of each layer in the order of result_names, from the last forward
  std::vector<at::Tensor> output_gradients_;  ///< their gradients, from the last backward that kept them
};

}  // namespace twingrad
