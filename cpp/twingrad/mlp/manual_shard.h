#pragma once

#include <memory>
#include <vector>

#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"
#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/ops/thread_pool.h"

namespace twingrad {

/// The layers and the loss of the manual twin, as one thread drives them over its rows of a batch.
class ManualShard {
 public:
  /// parameters: where the layers find their parameters and leave the gradients. spec has to outlive the shard.
  ManualShard(const MlpSpec& spec, const FlatParameters& parameters);

  /// Runs these rows of the batch through the layers, and through the loss if there are labels.
  void forward(const at::Tensor& images, Range rows);
  void forward(const at::Tensor& images, const at::Tensor& labels, Range rows);

  /// The gradients of the last forward.
  void backward();

  /// Both, block by block: as many rows at a time as stay in a core's cache. Writes the logits of its rows into `logits`,
  /// which is that of the whole batch. Of what lies between only the last block is left.
  void compute_gradients(const at::Tensor& images, const at::Tensor& labels, Range rows,
                         const at::Tensor& logits);

  void train(bool training);
  /// masks: of the whole batch, one for each dropout layer in turn
  void set_dropout_masks(const std::vector<at::Tensor>& masks) { masks_ = masks; }

  /// The parts, in their order, for who wants to run them one by one.
  const std::vector<std::unique_ptr<nn::Layer>>& layers() const { return layers_; }
  nn::Loss& loss_function() { return *loss_; }

  FlatParameters& parameters() { return parameters_; }
  /// Of its batch normalizations, as Twin::buffers.
  std::vector<NamedTensor> buffers() const;
  /// What its rows add to the loss of the batch.
  double loss() const { return loss_value_; }
  /// The result at that place of result_names, of its own rows, and its gradient.
  const at::Tensor& output(std::size_t place) const { return outputs_[place]; }
  const at::Tensor& output_gradient(std::size_t place) const { return output_gradients_[place]; }

 private:
  int blocks_of(std::int64_t rows) const;
  std::unique_ptr<nn::Layer> make_layer(std::size_t index, const LayerSpec& layer);

  const MlpSpec& spec_;
  std::size_t first_learning_layer_, logits_index_;
  bool can_be_split_;
  FlatParameters parameters_;
  std::vector<std::unique_ptr<nn::Layer>> layers_;
  std::unique_ptr<nn::Loss> loss_;
  bool training_ = true;
  std::vector<nn::Dropout*> dropouts_;  ///< those among layers_
  std::vector<std::pair<std::string, nn::BatchNorm1d*>>
      batch_norms_;  ///< those that keep statistics, by name
  std::vector<at::Tensor> masks_;
  std::vector<at::Tensor> outputs_;           ///< by the places of result_names, from the last forward
  std::vector<at::Tensor> output_gradients_;  ///< ∂L/∂ of each, from the last backward
  double loss_value_ = 0;
  double weight_ = 1;     ///< of the loss of the last rows in that of the batch
  at::Tensor grad_loss_;  ///< the same as a tensor
  at::Tensor sum_;        ///< the gradients of the blocks so far
};

}  // namespace twingrad
