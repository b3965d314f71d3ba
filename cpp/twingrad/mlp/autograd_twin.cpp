#include "twingrad/mlp/autograd_twin.h"

#include <torch/nn.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <functional>
#include <limits>

namespace twingrad {
namespace {

namespace nn = torch::nn;
using at::Tensor;

/// x W without a bias, W stored as [inputs, outputs]: the exercise's product as a module.
class MatmulImpl final : public nn::Module {
 public:
  MatmulImpl(std::int64_t inputs, std::int64_t outputs)
      : weight_(register_parameter("weight", torch::zeros({inputs, outputs}))) {}
  Tensor forward(const Tensor& x) { return torch::matmul(x, weight_); }

 private:
  Tensor weight_;
};
TORCH_MODULE(Matmul);

/// Dropout with a mask from outside: torch::nn::Dropout does not show its own.
class MaskedDropoutImpl final : public nn::Module {
 public:
  explicit MaskedDropoutImpl(double p) : p_(p) {}
  Tensor forward(const Tensor& x) { return is_training() ? x * (mask_.to(x.dtype()) / (1 - p_)) : x; }
  void set_mask(const Tensor& mask) { mask_ = mask; }

 private:
  double p_;
  Tensor mask_;
};
TORCH_MODULE(MaskedDropout);

/// x / √(mean x² + ε) · weight: C++ LibTorch has no module for it.
class RMSNormImpl final : public nn::Module {
 public:
  explicit RMSNormImpl(std::int64_t width) : weight_(register_parameter("weight", torch::ones({width}))) {}
  Tensor forward(const Tensor& x) {
    const double epsilon = x.scalar_type() == torch::kDouble ? std::numeric_limits<double>::epsilon()
                                                             : std::numeric_limits<float>::epsilon();
    return x * (x.square().mean(1, /*keepdim=*/true) + epsilon).rsqrt() * weight_;
  }

 private:
  Tensor weight_;
};
TORCH_MODULE(RMSNorm);

nn::Functional append_ones() {
  return nn::Functional([](const Tensor& x) {
    return torch::cat({x, torch::ones({x.size(0), 1}, x.options())}, 1);
  });
}

nn::Functional exercise_softmax() {
  return nn::Functional([](const Tensor& x) {
    const Tensor e = torch::exp(x);
    return e / (e.sum(1, /*keepdim=*/true) + kExerciseEpsilon);
  });
}

nn::Functional exercise_log() {
  return nn::Functional([](const Tensor& x) { return torch::log(x + kExerciseEpsilon); });
}

void push_activation(nn::Sequential& network, const std::string& name) {
  const std::vector<std::pair<std::string, std::function<void()>>> modules = {
      {"relu", [&] { network->push_back(nn::ReLU()); }},
      {"leaky_relu", [&] { network->push_back(nn::LeakyReLU()); }},
      {"elu", [&] { network->push_back(nn::ELU()); }},
      {"selu", [&] { network->push_back(nn::SELU()); }},
      {"gelu", [&] { network->push_back(nn::GELU()); }},
      {"gelu_tanh", [&] { network->push_back(nn::GELU(nn::GELUOptions().approximate("tanh"))); }},
      {"silu", [&] { network->push_back(nn::SiLU()); }},
      {"softplus", [&] { network->push_back(nn::Softplus()); }},
      {"sigmoid", [&] { network->push_back(nn::Sigmoid()); }},
      {"tanh", [&] { network->push_back(nn::Tanh()); }},
      {"hardtanh", [&] { network->push_back(nn::Hardtanh()); }},
      {"softsign", [&] { network->push_back(nn::Softsign()); }},
  };
  for (const auto& [known, push] : modules) {
    if (known == name) {
      return push();
    }
  }
  throw std::logic_error("an activation without a torch::nn module: " + name);
}

void push_layer(nn::Sequential& network, const MlpSpec& spec, const LayerSpec& layer) {
  using Kind = LayerSpec::Kind;
  switch (layer.kind) {
    case Kind::linear:
      network->push_back(nn::Linear(nn::LinearOptions(layer.inputs, layer.outputs).bias(layer.has_bias)));
      return;
    case Kind::matmul:
      network->push_back(Matmul(layer.inputs, layer.outputs));
      return;
    case Kind::append_ones:
      network->push_back(append_ones());
      return;
    case Kind::batch_norm:
      network->push_back(nn::BatchNorm1d(layer.outputs));
      return;
    case Kind::layer_norm:
      network->push_back(nn::LayerNorm(nn::LayerNormOptions({layer.outputs})));
      return;
    case Kind::rms_norm:
      network->push_back(RMSNorm(layer.outputs));
      return;
    case Kind::dropout:
      network->push_back(MaskedDropout(spec.dropout));
      return;
    case Kind::activation:
      push_activation(network, spec.activation);
      return;
    case Kind::softmax:
      network->push_back(nn::Softmax(/*dim=*/1));
      return;
    case Kind::exercise_softmax:
      network->push_back(exercise_softmax());
      return;
    case Kind::log:
      network->push_back(exercise_log());
      return;
  }
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const OptimizerOptions& options,
                                                        const std::vector<Tensor>& parameters) {
  namespace optim = torch::optim;
  using Kind = OptimizerOptions::Kind;
  switch (options.kind) {
    case Kind::sgd:
      return std::make_unique<optim::SGD>(parameters, optim::SGDOptions(options.learning_rate)
                                                          .momentum(options.momentum)
                                                          .dampening(options.dampening)
                                                          .nesterov(options.nesterov)
                                                          .weight_decay(options.weight_decay));
    case Kind::adam:
      return std::make_unique<optim::Adam>(parameters, optim::AdamOptions(options.learning_rate)
                                                           .weight_decay(options.weight_decay)
                                                           .amsgrad(options.amsgrad));
    case Kind::adamw:
      return std::make_unique<optim::AdamW>(parameters, optim::AdamWOptions(options.learning_rate)
                                                            .weight_decay(options.weight_decay)
                                                            .amsgrad(options.amsgrad));
    case Kind::rmsprop:
      return std::make_unique<optim::RMSprop>(parameters, optim::RMSpropOptions(options.learning_rate)
                                                              .weight_decay(options.weight_decay)
                                                              .momentum(options.momentum)
                                                              .centered(options.centered));
    case Kind::adagrad:
      return std::make_unique<optim::Adagrad>(
          parameters, optim::AdagradOptions(options.learning_rate).weight_decay(options.weight_decay));
  }
  throw std::logic_error("a kind of optimizer without a torch::optim class");
}

}  // namespace

AutogradTwin::AutogradTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
                           const at::TensorOptions& options)
    : spec_(spec), clip_norm_(optimizer.clip_norm) {
  for (const LayerSpec& layer : layers_of(spec)) {
    push_layer(network_, spec, layer);
  }
  network_->to(options.device(), c10::typeMetaToScalarType(options.dtype()));
  const torch::NoGradGuard no_grad;
  const std::vector<ParameterSpec> specs = parameters_of(spec);
  std::vector<Tensor> parameters = network_->parameters();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    parameters[i].copy_(initial.narrow(0, specs[i].offset, specs[i].size).view(specs[i].shape));
  }
  optimizer_ = make_optimizer(optimizer, parameters);
}

Tensor AutogradTwin::loss_of(const Tensor& output, const Tensor& labels) const {
  if (spec_.loss == LossKind::cross_entropy) {
    const auto reduction = spec_.reduction == Reduction::mean
                               ? nn::functional::CrossEntropyFuncOptions::reduction_t(torch::kMean)
                               : nn::functional::CrossEntropyFuncOptions::reduction_t(torch::kSum);
    return nn::functional::cross_entropy(
        output, labels,
        nn::functional::CrossEntropyFuncOptions().reduction(reduction).label_smoothing(
            spec_.label_smoothing));
  }
  const Tensor one_hot = torch::zeros_like(output).scatter_(1, labels.unsqueeze(1), 1);
  const Tensor losses = -(one_hot * output).sum(1);
  return spec_.reduction == Reduction::mean ? losses.mean() : losses.sum();
}

double AutogradTwin::forward(const Tensor& images, const Tensor& labels) {
  outputs_.clear();
  Tensor x = images;
  for (auto& module : *network_) {
    x = module.forward(x);
    if (keep_intermediate_gradients_ && x.requires_grad()) {
      x.retain_grad();
    }
    outputs_.push_back(x);
  }
  loss_ = loss_of(x, labels);
  const double rows = spec_.reduction == Reduction::sum ? static_cast<double>(images.size(0)) : 1;
  return loss_.item<double>() / rows;
}

void AutogradTwin::backward() {
  optimizer_->zero_grad();
  loss_.backward();
  output_gradients_.clear();
  if (keep_intermediate_gradients_) {
    for (const Tensor& output : outputs_) {
      output_gradients_.push_back(output.requires_grad() ? output.grad() : Tensor());
    }
  }
}

void AutogradTwin::update() {
  if (clip_norm_ > 0) {
    torch::nn::utils::clip_grad_norm_(network_->parameters(), clip_norm_);
  }
  optimizer_->step();
}

void AutogradTwin::set_learning_rate(double learning_rate) {
  for (torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
    group.options().set_lr(learning_rate);
  }
}

void AutogradTwin::set_training(bool training) { network_->train(training); }

void AutogradTwin::set_dropout_masks(const std::vector<Tensor>& masks) {
  std::size_t next = 0;
  for (const auto& module : network_->children()) {
    if (auto* dropout = module->as<MaskedDropoutImpl>()) {
      dropout->set_mask(masks.at(next++));
    }
  }
}

Tensor AutogradTwin::logits() const { return outputs_[logits_index(spec_)].detach(); }

std::vector<NamedTensor> AutogradTwin::intermediates() const {
  std::vector<NamedTensor> named;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    named.push_back({output_name(spec_, i), outputs_[i].detach()});
  }
  return named;
}

std::vector<NamedTensor> AutogradTwin::parameters() const {
  std::vector<NamedTensor> named;
  for (const auto& parameter : network_->named_parameters()) {
    named.push_back({parameter.key(), parameter.value().detach()});
  }
  return named;
}

std::vector<NamedTensor> AutogradTwin::gradients() const {
  std::vector<NamedTensor> named;
  for (const auto& parameter : network_->named_parameters()) {
    named.push_back({parameter.key(), parameter.value().grad()});
  }
  for (std::size_t i = first_learning_layer(spec_); i < output_gradients_.size(); ++i) {
    named.push_back({output_name(spec_, i), output_gradients_[i]});
  }
  return named;
}

}  // namespace twingrad
