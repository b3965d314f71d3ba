#pragma once

#include <ATen/core/LegacyTypeDispatch.h>

#include <memory>
#include <vector>

#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"
#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/mlp/manual_parts.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/ops/thread_pool.h"

namespace twingrad {

/// Skips autograd dispatch, because the manual twin records no graph.
using AutogradDispatchGuard = at::AutoDispatchBelowADInplaceOrView;

/// The layers and the loss of the manual twin, run by one thread on its rows of a batch.
class ManualShard {
 public:
  /// The layers read their parameters from `parameters` and write the gradients to it. parts: replacements
  /// for layers and loss. spec must outlive the shard.
  ManualShard(const MlpSpec& spec, const FlatParameters& parameters, const ManualParts& parts = {});

  /// Runs these rows of the batch through the layers, and through the loss if there are labels.
  void forward(const at::Tensor& images, Range rows);
  void forward(const at::Tensor& images, const at::Tensor& labels, Range rows);

  /// Computes the gradients of the last forward.
  void backward();

  /// forward and backward for one block of rows at a time, small enough for the cache. Writes the logits of
  /// these rows to `logits`, a tensor for the whole batch. Only the last block keeps its intermediate
  /// results.
  void compute_gradients(const at::Tensor& images, const at::Tensor& labels, Range rows,
                         const at::Tensor& logits);

  void train(bool training);
  /// masks: for the whole batch, one per dropout layer in order
  void set_dropout_masks(const std::vector<at::Tensor>& masks) { masks_ = masks; }

  /// For benchmarks, which time the layers one by one.
  const std::vector<std::unique_ptr<nn::Layer>>& layers() const { return layers_; }
  nn::Loss& loss_function() { return *loss_; }

  FlatParameters& parameters() { return parameters_; }
  /// See Twin::buffers.
  std::vector<NamedTensor> buffers() const;
  /// The contribution of these rows to the loss of the batch. Waits for a GPU.
  double loss() const { return loss_on_device_.defined() ? loss_on_device_.item<double>() : loss_value_; }
  /// The same as a tensor, 0-d; undefined on the CPU.
  const at::Tensor& loss_on_device() const { return loss_on_device_; }
  std::int64_t classes() const { return spec_.classes; }
  /// The time that forward took in the last compute_gradients.
  double seconds_in_forward() const { return seconds_in_forward_; }
  /// The result at this index of result_names, for these rows, and its gradient.
  const at::Tensor& output(std::size_t index) const { return outputs_[index]; }
  const at::Tensor& output_gradient(std::size_t index) const { return output_gradients_[index]; }

 private:
  int blocks_of(std::int64_t rows) const;
  std::unique_ptr<nn::Layer> make_layer(std::size_t index, const LayerSpec& layer);
  std::unique_ptr<nn::Layer> make_hand_written_layer(std::size_t index, const LayerSpec& layer);
  std::unique_ptr<nn::Layer> make_batch_norm(const LayerSpec& layer, nn::Parameter weight,
                                             nn::Parameter bias);

  const MlpSpec& spec_;
  const ManualParts parts_;
  std::size_t first_learning_layer_, logits_index_;
  bool can_be_split_;  ///< into blocks that fit into the cache
  FlatParameters parameters_;
  std::vector<std::unique_ptr<nn::Layer>> layers_;
  std::unique_ptr<nn::Loss> loss_;
  bool training_ = true;
  std::vector<nn::Dropout*> dropouts_;  ///< the dropout layers among layers_
  std::vector<std::pair<std::string, nn::BatchNorm1d*>>
      batch_norms_;  ///< those with running statistics, by name
  std::vector<at::Tensor> masks_;
  std::vector<at::Tensor> outputs_;           ///< in the order of result_names, from the last forward
  std::vector<at::Tensor> output_gradients_;  ///< ∂L/∂y of each, from the last backward
  double loss_value_ = 0;
  at::Tensor loss_on_device_;
  double seconds_in_forward_ = 0;
  double weight_ = 1;     ///< of the loss of the current rows in the loss of the batch
  at::Tensor grad_loss_;  ///< the same as a tensor
  at::Tensor sum_;        ///< of the gradients of the blocks so far
};

}  // namespace twingrad
