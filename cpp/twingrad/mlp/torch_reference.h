#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <string>

#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/class_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"

/// LibTorch's counterparts of the layers and losses of this library, differentiable by autograd. The
/// autograd twin is built from them, and the catalogue compares the hand-written gradients with theirs.
/// Layers that are a single LibTorch function, such as at::linear, are omitted. For optimizers, see
/// torch_reference_optimizer.h.
namespace twingrad::torch_reference {

using at::Tensor;

// ---- Layers; x [N, D] ----

/// The torch::nn module of the activation with this name (layers/activations.h), with its default options.
/// Throws std::logic_error if there is none.
std::function<Tensor(const Tensor& x)> activation(const std::string& name);

/// x with a column of ones appended, [N, D + 1].
Tensor append_ones(const Tensor& x);

/// exp(x) / (Σ exp(x) + ε) of each row: the softmax of the classroom exercise.
Tensor unshifted_softmax(const Tensor& x, double epsilon);

/// log(x + ε)
Tensor log(const Tensor& x, double epsilon);

/// x / √(mean x² + ε) · weight. ε is the machine epsilon of the dtype unless given, as in Python's
/// torch.nn.RMSNorm, which has no counterpart in C++. weight [D], or undefined for none.
Tensor rms_norm(const Tensor& x, const Tensor& weight, std::optional<double> epsilon = std::nullopt);

// ---- Losses: input, target, and the options of the hand-written loss ----

Tensor plain_cross_entropy(const Tensor& logits, const Tensor& target, nn::Reduction reduction);
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const nn::ClassLossOptions& options,
                     double label_smoothing = 0);
Tensor soft_cross_entropy(const Tensor& logits, const Tensor& target,
                          const nn::SoftCrossEntropyLossOptions& options);
Tensor nll(const Tensor& log_probabilities, const Tensor& target, const nn::ClassLossOptions& options);
/// −Σ label · log p of each row, reduced.
Tensor log_likelihood(const Tensor& log_probabilities, const Tensor& labels, nn::Reduction reduction);
Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, const nn::KLDivLossOptions& options);
Tensor bce_with_logits(const Tensor& logits, const Tensor& target,
                       const nn::BCEWithLogitsLossOptions& options);
Tensor mse(const Tensor& input, const Tensor& target, nn::Reduction reduction);
Tensor l1(const Tensor& input, const Tensor& target, nn::Reduction reduction);
Tensor smooth_l1(const Tensor& input, const Tensor& target, nn::Reduction reduction, double beta);
Tensor huber(const Tensor& input, const Tensor& target, nn::Reduction reduction, double delta);

}  // namespace twingrad::torch_reference
