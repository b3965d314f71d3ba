#pragma once

#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"

namespace twingrad {

using at::Tensor;

/// One of the two ways to compute and follow a gradient. The trainer drives a twin without knowing which one
/// it is:
///
///   double loss = twin.forward(images, labels);   // keeps what backward needs
///   twin.backward();                              // every gradient
///   twin.update();                                // one step of the optimizer
///
/// images [N, D], of the twin's dtype and device; labels [N], int64, 0 … C − 1.
class Twin {
 public:
  Twin() = default;
  Twin(const Twin&) = delete;
  Twin& operator=(const Twin&) = delete;
  virtual ~Twin() = default;

  /// "autograd" or "manual"
  virtual std::string name() const = 0;

  /// Returns the mean loss of the batch, whatever the reduction of the gradient: with class weights the weighted mean
  /// Σ_n w_t ℓ / Σ_n w_t over the rows that are not ignored, and 0 if all are (mean_loss in training_loss.h). Under
  /// torch::NoGradGuard no gradient can follow: that is how a twin is evaluated.
  virtual double forward(const at::Tensor& images, const at::Tensor& labels) = 0;

  /// Computes the gradients of the last forward.
  virtual void backward() = 0;

  /// Both at once, for a step whose intermediate results nobody will look at: it leaves the gradients of the parameters and
  /// the logits, and a twin is free to keep nothing else. Returns what forward returns.
  virtual double compute_gradients(const at::Tensor& images, const at::Tensor& labels) {
    const double loss = forward(images, labels);
    backward();
    return loss;
  }

  /// Moves the parameters by one step of the optimizer.
  virtual void update() = 0;

  /// The learning rate of the updates to come.
  virtual void set_learning_rate(double learning_rate) = 0;

  /// Training (the default) or evaluation: dropout and batch normalization do something else in evaluation.
  virtual void set_training(bool training) = 0;

  /// The masks of the next forward in training, one for each dropout layer in turn (dropout_masks.h).
  virtual void set_dropout_masks(const std::vector<at::Tensor>& masks) = 0;

  /// Asks for the gradients of intermediate results too, from the next forward on. (Autograd drops them
  /// unless asked; asking costs a little time.)
  virtual void keep_intermediate_gradients(bool keep) = 0;

  /// [N, C] of the last forward, until the next
  virtual at::Tensor logits() const = 0;

  /// Every layer's result in the last forward, "0.output", "1.output", …; the logits are called "logits". Those inside
  /// residual blocks, "2.0.output", …, come last.
  virtual std::vector<NamedTensor> intermediates() const = 0;

  /// The learnable tensors, "0.weight", …: the very memory that update() changes.
  virtual std::vector<NamedTensor> parameters() const = 0;

  /// What the network remembers beside its parameters: of each batch normalization "1.running_mean", "1.running_var" and
  /// "1.num_batches_tracked". The very memory, too.
  virtual std::vector<NamedTensor> buffers() const = 0;

  /// What the optimizer remembers, by name, to be read at once; nothing before its first step.
  virtual std::vector<NamedTensor> optimizer_state() const = 0;

  /// Takes up where an optimizer with the same options stopped. Throws std::invalid_argument if this is not what
  /// optimizer_state() returned for such a network.
  virtual void load_optimizer_state(const std::vector<NamedTensor>& state) = 0;

  /// ∂L/∂ of every parameter, and, where kept, of every intermediate result, by the same names and in the
  /// same order for both twins. L is reduced as the specification of the network says.
  virtual std::vector<NamedTensor> gradients() const = 0;
};

/// The tensor of that name. Throws std::invalid_argument, saying what was expected and what was found, if there is none or it
/// has another shape.
const Tensor& find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name,
                          at::IntArrayRef shape);

/// Copies parameters and buffers of these names into the twin. Throws std::invalid_argument, having changed nothing, unless
/// there is one of the right shape for each.
void load_network(const Twin& twin, const std::vector<NamedTensor>& tensors);

}  // namespace twingrad
