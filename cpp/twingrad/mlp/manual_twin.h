#pragma once

#include <memory>
#include <vector>

#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"
#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/optim/optimizer.h"
#include "twingrad/optim/options.h"

namespace twingrad {

/// The network by hand: layers, loss and optimizer of this library on plain tensors. Nothing here, or below,
/// asks LibTorch for a gradient.
class ManualTwin final : public Twin {
 public:
  /// initial: flat, as draw_initial_parameters makes it; options: dtype and device.
  ManualTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
             const at::TensorOptions& options);

  std::string name() const override { return "manual"; }
  double forward(const Tensor& images, const Tensor& labels) override;
  void backward() override;
  void update() override;
  void set_learning_rate(double learning_rate) override;
  void set_training(bool training) override;
  void set_dropout_masks(const std::vector<Tensor>& masks) override;
  void keep_intermediate_gradients(bool /*keep*/) override {}  // they are at hand anyway
  Tensor logits() const override;
  std::vector<NamedTensor> intermediates() const override;
  std::vector<NamedTensor> parameters() const override { return parameters_.named_values(); }
  std::vector<NamedTensor> gradients() const override;

 private:
  std::unique_ptr<Layer> make_layer(std::size_t index, const LayerSpec& layer);

  MlpSpec spec_;
  FlatParameters parameters_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::unique_ptr<Loss> loss_;
  std::unique_ptr<Optimizer> optimizer_;
  double clip_norm_;                      ///< 0: gradients are not clipped
  std::vector<Dropout*> dropouts_;        ///< those among layers_
  std::vector<Tensor> outputs_;           ///< of each layer, from the last forward
  std::vector<Tensor> output_gradients_;  ///< ∂L/∂ of each layer's result, from the last backward
};

}  // namespace twingrad
