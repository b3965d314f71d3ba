#include "twingrad/mlp/manual_twin.h"

#include <fmt/format.h>

#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/losses/cross_entropy.h"
#include "twingrad/losses/negative_log_likelihood.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/sgd.h"

namespace twingrad {
namespace {

std::unique_ptr<Loss> make_loss(const MlpSpec& spec) {
  if (spec.loss == LossKind::cross_entropy) {
    return std::make_unique<CrossEntropy>(spec.reduction);
  }
  return std::make_unique<NegativeLogLikelihood>(spec.reduction);
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options) {
  if (options.kind == OptimizerOptions::Kind::sgd) {
    return std::make_unique<SGD>(SGD::Options{.learning_rate = options.learning_rate,
                                              .momentum = options.momentum,
                                              .weight_decay = options.weight_decay,
                                              .nesterov = options.nesterov});
  }
  return std::make_unique<Adam>(Adam::Options{.learning_rate = options.learning_rate,
                                              .weight_decay = options.weight_decay,
                                              .decoupled = options.kind == OptimizerOptions::Kind::adamw});
}

}  // namespace

ManualTwin::ManualTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
                       const at::TensorOptions& options)
    : spec_(spec),
      parameters_(spec, initial, options),
      loss_(make_loss(spec)),
      optimizer_(make_optimizer(optimizer)) {
  const std::vector<LayerSpec> layers = layers_of(spec);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers_.push_back(make_layer(i, layers[i]));
  }
  outputs_.resize(layers.size());
  output_gradients_.resize(layers.size());
}

std::unique_ptr<Layer> ManualTwin::make_layer(std::size_t index, const LayerSpec& layer) const {
  using Kind = LayerSpec::Kind;
  const auto parameter = [&](const char* name) { return parameters_.at(fmt::format("{}.{}", index, name)); };
  const InputGradient input_gradient =
      index == first_learning_layer(spec_) ? InputGradient::skip : InputGradient::compute;
  switch (layer.kind) {
    case Kind::linear:
      return std::make_unique<Linear>(parameter("weight"), parameter("bias"), input_gradient);
    case Kind::matmul:
      return std::make_unique<Matmul>(parameter("weight"), input_gradient);
    case Kind::append_ones:
      return std::make_unique<AppendOnes>();
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

void ManualTwin::update() { optimizer_->step(parameters_.values(), parameters_.gradients()); }

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
