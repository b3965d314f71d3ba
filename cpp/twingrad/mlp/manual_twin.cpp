#include "twingrad/mlp/manual_twin.h"

#include <fmt/format.h>

#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/losses/cross_entropy.h"
#include "twingrad/losses/negative_log_likelihood.h"
#include "twingrad/losses/weighted_cross_entropy.h"
#include "twingrad/optim/adagrad.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/clip_by_norm.h"
#include "twingrad/optim/rmsprop.h"
#include "twingrad/optim/sgd.h"

namespace twingrad {
namespace {

std::unique_ptr<Loss> make_loss(const MlpSpec& spec) {
  if (spec.loss == LossKind::cross_entropy && spec.label_smoothing > 0) {
    return std::make_unique<WeightedCrossEntropy>(ClassLossOptions{.reduction = spec.reduction},
                                                  spec.label_smoothing);
  }
  if (spec.loss == LossKind::cross_entropy) {
    return std::make_unique<CrossEntropy>(spec.reduction);
  }
  return std::make_unique<NegativeLogLikelihood>(spec.reduction);
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options) {
  using Kind = OptimizerOptions::Kind;
  switch (options.kind) {
    case Kind::sgd:
      return std::make_unique<SGD>(SGD::Options{.learning_rate = options.learning_rate,
                                                .momentum = options.momentum,
                                                .dampening = options.dampening,
                                                .weight_decay = options.weight_decay,
                                                .nesterov = options.nesterov});
    case Kind::adam:
    case Kind::adamw:
      return std::make_unique<Adam>(Adam::Options{.learning_rate = options.learning_rate,
                                                  .weight_decay = options.weight_decay,
                                                  .decoupled = options.kind == Kind::adamw,
                                                  .amsgrad = options.amsgrad});
    case Kind::rmsprop:
      return std::make_unique<RMSprop>(RMSprop::Options{.learning_rate = options.learning_rate,
                                                        .weight_decay = options.weight_decay,
                                                        .momentum = options.momentum,
                                                        .centered = options.centered});
    case Kind::adagrad:
      return std::make_unique<Adagrad>(
          Adagrad::Options{.learning_rate = options.learning_rate, .weight_decay = options.weight_decay});
  }
  throw std::logic_error("a kind of optimizer without a class");
}

}  // namespace

ManualTwin::ManualTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
                       const at::TensorOptions& options)
    : spec_(spec),
      parameters_(spec, initial, options),
      loss_(make_loss(spec)),
      optimizer_(make_optimizer(optimizer)),
      clip_norm_(optimizer.clip_norm) {
  const std::vector<LayerSpec> layers = layers_of(spec);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers_.push_back(make_layer(i, layers[i]));
  }
  outputs_.resize(layers.size());
  output_gradients_.resize(layers.size());
}

std::unique_ptr<Layer> ManualTwin::make_layer(std::size_t index, const LayerSpec& layer) {
  using Kind = LayerSpec::Kind;
  const auto parameter = [&](const char* name) { return parameters_.at(fmt::format("{}.{}", index, name)); };
  const InputGradient input_gradient =
      index == first_learning_layer(spec_) ? InputGradient::skip : InputGradient::compute;
  switch (layer.kind) {
    case Kind::linear:
      return std::make_unique<Linear>(parameter("weight"), layer.has_bias ? parameter("bias") : Parameter{},
                                      input_gradient);
    case Kind::matmul:
      return std::make_unique<Matmul>(parameter("weight"), input_gradient);
    case Kind::append_ones:
      return std::make_unique<AppendOnes>();
    case Kind::batch_norm:
      return std::make_unique<BatchNorm1d>(
          parameter("weight"), parameter("bias"),
          RunningStatistics{.mean = at::zeros({layer.outputs}, parameters_.values().options()),
                            .variance = at::ones({layer.outputs}, parameters_.values().options())});
    case Kind::layer_norm:
      return std::make_unique<LayerNorm>(parameter("weight"), parameter("bias"));
    case Kind::rms_norm:
      return std::make_unique<RMSNorm>(parameter("weight"));
    case Kind::dropout: {
      auto dropout = std::make_unique<Dropout>(spec_.dropout);
      dropouts_.push_back(dropout.get());
      return dropout;
    }
    case Kind::activation:
      return find_activation(spec_.activation)->make();
    case Kind::softmax:
      return std::make_unique<Softmax>();
    case Kind::exercise_softmax:
      return std::make_unique<UnshiftedSoftmax>(kExerciseEpsilon);
    case Kind::log:
      return std::make_unique<Log>(kExerciseEpsilon);
  }
  throw std::logic_error("a kind of layer without a class");
}

double ManualTwin::forward(const Tensor& images, const Tensor& labels) {
  const Tensor* x = &images;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    outputs_[i] = layers_[i]->forward(*x);
    x = &outputs_[i];
  }
  const Tensor target = spec_.loss == LossKind::cross_entropy
                            ? labels
                            : at::zeros_like(*x).scatter_(1, labels.unsqueeze(1), 1);  // one-hot rows
  const Tensor loss = loss_->forward(*x, target);
  const double rows = spec_.reduction == Reduction::sum ? static_cast<double>(images.size(0)) : 1;
  return loss.item<double>() / rows;
}

void ManualTwin::backward() {
  const Tensor* grad = &loss_->backward();
  for (std::size_t i = layers_.size(); i-- > first_learning_layer(spec_);) {
    output_gradients_[i] = *grad;
    grad = &layers_[i]->backward(*grad);
  }
}

void ManualTwin::update() {
  if (clip_norm_ > 0) {
    clip_by_norm(parameters_.gradients(), clip_norm_);
  }
  optimizer_->step(parameters_.values(), parameters_.gradients());
}

void ManualTwin::set_learning_rate(double learning_rate) { optimizer_->set_learning_rate(learning_rate); }

void ManualTwin::set_training(bool training) {
  for (const auto& layer : layers_) {
    layer->set_training(training);
  }
}

void ManualTwin::set_dropout_masks(const std::vector<Tensor>& masks) {
  for (std::size_t i = 0; i < dropouts_.size(); ++i) {
    dropouts_[i]->set_mask(masks.at(i));
  }
}

Tensor ManualTwin::logits() const { return outputs_[logits_index(spec_)]; }

std::vector<NamedTensor> ManualTwin::intermediates() const {
  std::vector<NamedTensor> named;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    named.push_back({output_name(spec_, i), outputs_[i]});
  }
  return named;
}

std::vector<NamedTensor> ManualTwin::gradients() const {
  std::vector<NamedTensor> named = parameters_.named_gradients();
  for (std::size_t i = first_learning_layer(spec_); i < output_gradients_.size(); ++i) {
    named.push_back({output_name(spec_, i), output_gradients_[i]});
  }
  return named;
}

}  // namespace twingrad
