#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"

namespace twingrad {

/// One of the two implementations of the same network. The trainer treats both alike:
///
///   double loss = twin.forward(images, labels);   // keeps what backward needs
///   twin.backward();                              // computes every gradient
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

  /// Returns the mean loss of the batch, regardless of the reduction that the gradient uses: with class
  /// weights the weighted mean Σ_n w_t ℓ / Σ_n w_t over the rows that are not ignored, and 0 if all are
  /// ignored (mean_loss in training_loss.h). For evaluation, call it under torch::NoGradGuard, and do not
  /// call backward.
  virtual double forward(const at::Tensor& images, const at::Tensor& labels) = 0;

  /// Returns the logits [N, C] without computing a loss. Do not call backward afterwards.
  virtual at::Tensor predict(const at::Tensor& images) = 0;

  /// Computes the gradients of the last forward.
  virtual void backward() = 0;

  /// forward and backward in one call, if intermediate results are not needed: afterwards, only the gradients
  /// of the parameters and the logits are available. Returns the same loss as forward.
  virtual double compute_gradients(const at::Tensor& images, const at::Tensor& labels);

  /// compute_gradients without waiting for a GPU: returns the loss as a tensor, 0-d, on the device, valid
  /// until the next call. Reading it waits until the GPU has computed it.
  virtual at::Tensor enqueue_gradients(const at::Tensor& images, const at::Tensor& labels);

  /// The part of the last compute_gradients that forward took, in seconds of wall time; the rest is backward.
  double seconds_in_forward() const { return seconds_in_forward_; }

  /// One step of the optimizer.
  virtual void update() = 0;

  /// The learning rate of the following updates.
  virtual void set_lr(double lr) = 0;

  /// Training mode (the default) or evaluation mode, which dropout and batch normalization distinguish.
  virtual void train(bool on = true) = 0;
  void eval() { train(false); }

  /// The masks of the next forward in training mode, one for each dropout layer in order (dropout_masks.h).
  virtual void set_dropout_masks(const std::vector<at::Tensor>& masks) = 0;

  /// Whether to keep the gradients of intermediate results, from the next forward on. Autograd frees them by
  /// default; keeping them costs a little time.
  virtual void keep_intermediate_gradients(bool keep) = 0;

  /// The logits [N, C] of the last forward, valid until the next.
  virtual at::Tensor logits() const = 0;

  /// The result of each layer in the last forward: "0.output", "1.output", …, with the logits as "logits".
  /// Results inside residual blocks, "2.0.output", …, come last.
  virtual std::vector<NamedTensor> intermediates() const = 0;

  /// The learnable tensors, "0.weight", …, which share memory with the twin: update() changes them.
  virtual std::vector<NamedTensor> parameters() const = 0;

  /// The buffers: "1.running_mean", "1.running_var" and "1.num_batches_tracked" of each batch normalization.
  /// They share memory with the twin.
  virtual std::vector<NamedTensor> buffers() const = 0;

  /// The state of the optimizer with the names of torch::optim, "0.weight.exp_avg", "0.weight.step", …; empty
  /// before the first step. Valid until the next update.
  virtual std::vector<NamedTensor> optimizer_state() const = 0;

  /// Restores the state of an optimizer with the same options. Throws std::invalid_argument unless
  /// optimizer_state() returned it for the same network.
  virtual void load_optimizer_state(const std::vector<NamedTensor>& state) = 0;

  /// The gradient of all parameters as vectors that update() reads, always in the same order, so that several
  /// processes can sum it. By default, those of gradients().
  virtual std::vector<at::Tensor> gradient_vectors();

  /// ∂L/∂p of each parameter and, if kept, ∂L/∂y of each intermediate result, with the same names in the same
  /// order for both twins. L is the loss with the reduction in the specification of the network.
  virtual std::vector<NamedTensor> gradients() const = 0;

  // ---- For compare/twin_comparer.h. Without these functions, its bounds are less sharp. ----

  /// The signed distances of the last forward from the kinks, where the derivative jumps: x − kink, [N, …],
  /// for each input x of a ReLU or the like.
  virtual std::vector<NamedTensor> kink_distances() const { return {}; }

  /// What a layer ("1"), the "loss" or the "optimizer" is: "relu"; empty if unknown.
  virtual std::string describe_layer(const std::string& /*layer*/) const { return ""; }

  /// The same network in float64 with the same weights and buffers, as a reference; null if there is none.
  virtual std::unique_ptr<Twin> in_float64() const { return nullptr; }

  /// Whether the network can simulate the rounding errors of a dtype with this machine epsilon. If so, it
  /// does from the next forward on, which must be on the batch of the last forward without errors, until this
  /// is called with an epsilon of 0. seed: of the signs of the errors, and their
  /// pattern (rounding_noise.h).
  virtual bool simulate_rounding(double /*epsilon*/, std::uint64_t /*seed*/) { return false; }

  /// With simulated rounding: the largest error of the last operation alone, of each result ("1.output") and
  /// each gradient ("1.output.grad", "0.weight.grad").
  virtual std::map<std::string, double> local_rounding_errors() const { return {}; }

  /// With simulated rounding: the largest error of an input of a normalization, relative to the standard
  /// deviation that it is divided by. If it is not small, the inputs are equal up to rounding, and all
  /// results are noise.
  virtual double normalization_noise() const { return 0; }

 protected:
  double seconds_in_forward_ = 0;
};

/// The parameters and buffers of a twin, which share memory with it.
std::vector<NamedTensor> network_of(const Twin& twin);

/// The tensor with this name. Throws std::invalid_argument if there is none or it has another shape.
const at::Tensor& find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name,
                              at::IntArrayRef shape);

/// Copies these parameters and buffers into the twin. Throws std::invalid_argument, without changing the
/// twin, if a tensor is missing or has another shape.
void load_network(const Twin& twin, const std::vector<NamedTensor>& tensors);

}  // namespace twingrad
