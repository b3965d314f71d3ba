#pragma once

#include <ATen/ATen.h>

#include <stdexcept>
#include <type_traits>
#include <vector>

#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/l1_loss.h"
#include "twingrad/losses/log_likelihood_loss.h"
#include "twingrad/losses/mse_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/torch_reference.h"

namespace twingrad {

/// Calls visit(std::type_identity<L>(), reference, arguments…): L is the class of the network's loss,
/// reference is LibTorch's function for it, and the arguments are those of L's constructor, which the
/// reference takes after input and target. The manual twin uses L, the autograd twin the reference. options:
/// dtype and device of the class weights.
template <typename Visit>
auto visit_loss(const MlpSpec& spec, const at::TensorOptions& options, const Visit& visit) {
  namespace reference = torch_reference;
  const auto weights_tensor = [&](const std::vector<double>& weights) {
    return weights.empty() ? at::Tensor() : at::tensor(weights, at::TensorOptions(at::kDouble)).to(options);
  };
  const nn::Reduction reduction = spec.reduction;
  const at::Tensor class_weights = weights_tensor(spec.class_weights);
  nn::ClassLossOptions class_options{.reduction = reduction, .class_weights = class_weights};
  class_options.ignore_index = spec.ignore_index.value_or(class_options.ignore_index);
  const bool is_plain = spec.label_smoothing == 0 && !class_weights.defined() && !spec.ignore_index;
  switch (spec.loss) {
    case LossKind::cross_entropy:
      return is_plain ? visit(std::type_identity<nn::CrossEntropyLoss>(), reference::plain_cross_entropy,
                              reduction)
                      : visit(std::type_identity<nn::WeightedCrossEntropyLoss>(), reference::cross_entropy,
                              class_options, spec.label_smoothing);
    case LossKind::class_probabilities:
      return visit(std::type_identity<nn::SoftCrossEntropyLoss>(), reference::soft_cross_entropy,
                   nn::SoftCrossEntropyLossOptions{.reduction = reduction,
                                                   .class_weights = class_weights,
                                                   .label_smoothing = spec.label_smoothing});
    case LossKind::softmax_log:
    case LossKind::exercise_softmax_log:
      return visit(std::type_identity<nn::LogLikelihoodLoss>(), reference::log_likelihood, reduction);
    case LossKind::nll:
      return visit(std::type_identity<nn::NLLLoss>(), reference::nll, class_options);
    case LossKind::kl_divergence:
      return visit(std::type_identity<nn::KLDivLoss>(), reference::kl_div,
                   nn::KLDivLossOptions{
                       .reduction = reduction, .log_target = spec.log_target, .batch_mean = spec.batch_mean});
    case LossKind::bce_with_logits:
      return visit(std::type_identity<nn::BCEWithLogitsLoss>(), reference::bce_with_logits,
                   nn::BCEWithLogitsLossOptions{.reduction = reduction,
                                                .weight = class_weights,
                                                .pos_weight = weights_tensor(spec.positive_weights)});
    case LossKind::mse:
      return visit(std::type_identity<nn::MSELoss>(), reference::mse, reduction);
    case LossKind::l1:
      return visit(std::type_identity<nn::L1Loss>(), reference::l1, reduction);
    case LossKind::smooth_l1:
      return visit(std::type_identity<nn::SmoothL1Loss>(), reference::smooth_l1, reduction,
                   spec.smooth_l1_beta);
    case LossKind::huber:
      return visit(std::type_identity<nn::HuberLoss>(), reference::huber, reduction, spec.huber_delta);
  }
  throw std::logic_error("unknown loss kind");
}

}  // namespace twingrad
