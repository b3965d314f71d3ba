#include "twingrad/mlp/autograd_twin.h"

#include <torch/nn.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <functional>
#include <limits>

#include "twingrad/mlp/training_loss.h"

namespace twingrad {

using at::Tensor;

namespace {

/// x W without a bias, W stored as [inputs, outputs]: the exercise's product as a module.
class MatmulImpl final : public torch::nn::Module {
 public:
  MatmulImpl(std::int64_t inputs, std::int64_t outputs)
      : weight_(register_parameter("weight", torch::zeros({inputs, outputs}))) {}
  Tensor forward(const Tensor& x) { return torch::matmul(x, weight_); }

 private:
  Tensor weight_;
};
TORCH_MODULE(Matmul);

/// x + b: the second half of torch::nn::Linear.
class AddBiasImpl final : public torch::nn::Module {
 public:
  explicit AddBiasImpl(std::int64_t width) : bias_(register_parameter("bias", torch::zeros({width}))) {}
  Tensor forward(const Tensor& x) { return x + bias_; }

 private:
  Tensor bias_;
};
TORCH_MODULE(AddBias);

/// Dropout with a mask from outside: torch::nn::Dropout does not show its own.
class MaskedDropoutImpl final : public torch::nn::Module {
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
class RMSNormImpl final : public torch::nn::Module {
 public:
  RMSNormImpl(std::int64_t width, bool affine) {
    if (affine) {
      weight_ = register_parameter("weight", torch::ones({width}));
    }
  }
  Tensor forward(const Tensor& x) {
    const double epsilon = x.scalar_type() == torch::kDouble ? std::numeric_limits<double>::epsilon()
                                                             : std::numeric_limits<float>::epsilon();
    const Tensor normalized = x * (x.square().mean(1, /*keepdim=*/true) + epsilon).rsqrt();
    return weight_.defined() ? normalized * weight_ : normalized;
  }

 private:
  Tensor weight_;
};
TORCH_MODULE(RMSNorm);

/// Sends x through the modules and keeps what each of them gave, with its gradient if that is asked for.
Tensor run(torch::nn::SequentialImpl& modules, Tensor x, bool keep_gradients, std::vector<Tensor>& outputs) {
  outputs.clear();
  for (auto& module : modules) {
    x = module.forward(x);
    if (keep_gradients && x.requires_grad()) {
      x.retain_grad();
    }
    outputs.push_back(x);
  }
  return x;
}

/// x + F(x), where F is the Sequential that it is.
class ResidualImpl final : public torch::nn::SequentialImpl {
 public:
  Tensor forward(const Tensor& x) { return x + run(*this, x, keep_gradients_, outputs_); }
  void keep_gradients(bool keep) { keep_gradients_ = keep; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  bool keep_gradients_ = false;
  std::vector<Tensor> outputs_;
};

torch::nn::Functional append_ones() {
  return torch::nn::Functional([](const Tensor& x) {
    return torch::cat({x, torch::ones({x.size(0), 1}, x.options())}, 1);
  });
}

torch::nn::Functional exercise_softmax() {
  return torch::nn::Functional([](const Tensor& x) {
    const Tensor e = torch::exp(x);
    return e / (e.sum(1, /*keepdim=*/true) + kExerciseEpsilon);
  });
}

torch::nn::Functional exercise_log() {
  return torch::nn::Functional([](const Tensor& x) { return torch::log(x + kExerciseEpsilon); });
}

void push_activation(torch::nn::SequentialImpl& network, const std::string& name) {
  const std::vector<std::pair<std::string, std::function<void()>>> modules = {
      {"relu", [&] { network.push_back(torch::nn::ReLU()); }},
      {"leaky_relu", [&] { network.push_back(torch::nn::LeakyReLU()); }},
      {"elu", [&] { network.push_back(torch::nn::ELU()); }},
      {"selu", [&] { network.push_back(torch::nn::SELU()); }},
      {"gelu", [&] { network.push_back(torch::nn::GELU()); }},
      {"gelu_tanh",
       [&] { network.push_back(torch::nn::GELU(torch::nn::GELUOptions().approximate("tanh"))); }},
      {"silu", [&] { network.push_back(torch::nn::SiLU()); }},
      {"softplus", [&] { network.push_back(torch::nn::Softplus()); }},
      {"sigmoid", [&] { network.push_back(torch::nn::Sigmoid()); }},
      {"tanh", [&] { network.push_back(torch::nn::Tanh()); }},
      {"hardtanh", [&] { network.push_back(torch::nn::Hardtanh()); }},
      {"softsign", [&] { network.push_back(torch::nn::Softsign()); }},
  };
  for (const auto& [known, push] : modules) {
    if (known == name) {
      return push();
    }
  }
  throw std::logic_error("an activation without a torch::nn module: " + name);
}

void push_layer(torch::nn::SequentialImpl& network, const MlpSpec& spec, const LayerSpec& layer) {
  using Kind = LayerSpec::Kind;
  switch (layer.kind) {
    case Kind::linear:
      network.push_back(
          torch::nn::Linear(torch::nn::LinearOptions(layer.inputs, layer.outputs).bias(layer.has_bias)));
      return;
    case Kind::matmul:
      network.push_back(Matmul(layer.inputs, layer.outputs));
      return;
    case Kind::add_bias:
      network.push_back(AddBias(layer.outputs));
      return;
    case Kind::append_ones:
      network.push_back(append_ones());
      return;
    case Kind::batch_norm:
      network.push_back(torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(layer.outputs)
                                                   .affine(spec.normalization_affine)
                                                   .track_running_stats(spec.normalization_statistics)));
      return;
    case Kind::layer_norm:
      network.push_back(torch::nn::LayerNorm(
          torch::nn::LayerNormOptions({layer.outputs}).elementwise_affine(spec.normalization_affine)));
      return;
    case Kind::rms_norm:
      network.push_back(RMSNorm(layer.outputs, spec.normalization_affine));
      return;
    case Kind::dropout:
      network.push_back(MaskedDropout(layer.dropped));
      return;
    case Kind::activation:
      push_activation(network, spec.activation);
      return;
    case Kind::softmax:
      network.push_back(torch::nn::Softmax(/*dim=*/1));
      return;
    case Kind::exercise_softmax:
      network.push_back(exercise_softmax());
      return;
    case Kind::log:
      network.push_back(exercise_log());
      return;
    case Kind::log_softmax:
      network.push_back(torch::nn::LogSoftmax(/*dim=*/1));
      return;
    case Kind::residual: {
      const auto block = std::make_shared<ResidualImpl>();
      for (const LayerSpec& inner : layer.branch) {
        push_layer(*block, spec, inner);
      }
      network.push_back(block);
      return;
    }
  }
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const OptimizerOptions& options,
                                                        const std::vector<Tensor>& parameters) {
  using Kind = OptimizerOptions::Kind;
  switch (options.kind) {
    case Kind::sgd:
      return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(options.lr)
                                                                 .momentum(options.momentum)
                                                                 .dampening(options.dampening)
                                                                 .nesterov(options.nesterov)
                                                                 .weight_decay(options.weight_decay));
    case Kind::adam:
      return std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(options.lr)
                                                                  .betas({options.beta1, options.beta2})
                                                                  .eps(options.eps)
                                                                  .weight_decay(options.weight_decay)
                                                                  .amsgrad(options.amsgrad));
    case Kind::adamw:
      return std::make_unique<torch::optim::AdamW>(parameters, torch::optim::AdamWOptions(options.lr)
                                                                   .betas({options.beta1, options.beta2})
                                                                   .eps(options.eps)
                                                                   .weight_decay(options.weight_decay)
                                                                   .amsgrad(options.amsgrad));
    case Kind::rmsprop:
      return std::make_unique<torch::optim::RMSprop>(parameters, torch::optim::RMSpropOptions(options.lr)
                                                                     .alpha(options.alpha)
                                                                     .eps(options.eps)
                                                                     .weight_decay(options.weight_decay)
                                                                     .momentum(options.momentum)
                                                                     .centered(options.centered));
    case Kind::adagrad:
      return std::make_unique<torch::optim::Adagrad>(
          parameters, torch::optim::AdagradOptions(options.lr)
                          .lr_decay(options.lr_decay)
                          .weight_decay(options.weight_decay)
                          .initial_accumulator_value(options.initial_accumulator_value)
                          .eps(options.eps));
  }
  throw std::logic_error("a kind of optimizer without a torch::optim class");
}

/// Hands each part of what torch::optim remembers of one parameter to `take`: (name, tensor or number).
template <typename Take>
void visit(torch::optim::SGDParamState& state, const Take& take) {
  take("momentum_buffer", state.momentum_buffer());
}
template <typename State, typename Take>
void visit_adam(State& state, const Take& take) {
  take("step", state.step());
  take("exp_avg", state.exp_avg());
  take("exp_avg_sq", state.exp_avg_sq());
  take("max_exp_avg_sq", state.max_exp_avg_sq());
}
template <typename Take>
void visit(torch::optim::AdamParamState& state, const Take& take) {
  visit_adam(state, take);
}
template <typename Take>
void visit(torch::optim::AdamWParamState& state, const Take& take) {
  visit_adam(state, take);
}
template <typename Take>
void visit(torch::optim::RMSpropParamState& state, const Take& take) {
  take("step", state.step());
  take("square_avg", state.square_avg());
  take("momentum_buffer", state.momentum_buffer());
  take("grad_avg", state.grad_avg());
}
template <typename Take>
void visit(torch::optim::AdagradParamState& state, const Take& take) {
  take("step", state.step());
  take("sum", state.sum());
}

/// Calls `use` with an (unused) state of the type that this kind of optimizer has.
template <typename Use>
void with_state_type(OptimizerOptions::Kind kind, const Use& use) {
  using Kind = OptimizerOptions::Kind;
  switch (kind) {
    case Kind::sgd:
      return use(torch::optim::SGDParamState());
    case Kind::adam:
      return use(torch::optim::AdamParamState());
    case Kind::adamw:
      return use(torch::optim::AdamWParamState());
    case Kind::rmsprop:
      return use(torch::optim::RMSpropParamState());
    case Kind::adagrad:
      return use(torch::optim::AdagradParamState());
  }
}

/// Where an optimizer keeps the state of a parameter: under its address, which is a text in older releases of LibTorch.
template <typename Map>
typename Map::key_type key_of(const Map& /*states*/, const Tensor& parameter) {
  if constexpr (std::is_same_v<typename Map::key_type, std::string>) {
    std::ostringstream text;
    text << parameter.unsafeGetTensorImpl();
    return text.str();
  } else {
    return parameter.unsafeGetTensorImpl();
  }
}

Tensor weights_of(const std::vector<double>& weights, const at::TensorOptions& options) {
  return weights.empty() ? Tensor() : torch::tensor(weights, torch::kDouble).to(options);
}

}  // namespace

AutogradTwin::AutogradTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
                           const at::TensorOptions& options, const ThreadSettings& threads)
    : spec_(spec),
      threads_(threads),
      optimizer_kind_(optimizer.kind),
      class_weights_(weights_of(spec.class_weights, options)),
      positive_weights_(weights_of(spec.positive_weights, options)),
      clip_norm_(optimizer.clip_norm),
      clip_norm_type_(optimizer.clip_norm_type) {
  for (const LayerSpec& layer : layers_of(spec)) {
    push_layer(*network_, spec, layer);
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
  const Tensor target = target_of(spec_, labels, output.detach());
  const bool is_mean = spec_.reduction == nn::Reduction::mean;
  const auto reduction = is_mean ? torch::Reduction::Mean : torch::Reduction::Sum;
  const std::int64_t ignored = spec_.ignore_index.value_or(-100);  // LibTorch's default: no class
  switch (spec_.loss) {
    case LossKind::cross_entropy:
    case LossKind::class_probabilities:
      return torch::cross_entropy_loss(output, target, class_weights_, reduction, ignored,
                                       spec_.label_smoothing);
    case LossKind::softmax_log:
    case LossKind::exercise_softmax_log: {
      const Tensor losses = -(target * output).sum(1);
      return is_mean ? losses.mean() : losses.sum();
    }
    case LossKind::nll:
      return torch::nll_loss(output, target, class_weights_, reduction, ignored);
    case LossKind::kl_divergence:
      if (is_mean && spec_.batch_mean) {
        return torch::kl_div(output, target, torch::Reduction::Sum, spec_.log_target) /
               static_cast<double>(output.size(0));
      }
      return torch::kl_div(output, target, reduction, spec_.log_target);
    case LossKind::bce_with_logits:
      return torch::binary_cross_entropy_with_logits(output, target, class_weights_, positive_weights_,
                                                     reduction);
    case LossKind::mse:
      return torch::mse_loss(output, target, reduction);
    case LossKind::l1:
      return torch::l1_loss(output, target, reduction);
    case LossKind::smooth_l1:
      return torch::smooth_l1_loss(output, target, reduction, spec_.smooth_l1_beta);
    case LossKind::huber:
      return torch::huber_loss(output, target, reduction, spec_.huber_delta);
  }
  throw std::logic_error("a kind of loss without a function of LibTorch");
}

double AutogradTwin::forward(const Tensor& images, const Tensor& labels) {
  use_threads(threads_);
  for (const auto& module : network_->children()) {
    if (auto* block = module->as<ResidualImpl>()) {
      block->keep_gradients(keep_intermediate_gradients_);
    }
  }
  const Tensor output = run(*network_, images, keep_intermediate_gradients_, outputs_);
  for (const auto& module : network_->children()) {
    if (const auto* block = module->as<ResidualImpl>()) {
      outputs_.insert(outputs_.end(), block->outputs().begin(), block->outputs().end());
    }
  }
  loss_ = loss_of(output, labels);
  return mean_loss(spec_, loss_.item<double>(), labels);
}

at::Tensor AutogradTwin::predict(const Tensor& images) {
  use_threads(threads_);
  const at::NoGradGuard no_grad;
  run(*network_, images, /*keep_gradients=*/false, outputs_);
  return logits();
}

void AutogradTwin::backward() {
  use_threads(threads_);
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
  use_threads(threads_);
  if (clip_norm_ > 0) {
    torch::nn::utils::clip_grad_norm_(network_->parameters(), clip_norm_, clip_norm_type_);
  }
  optimizer_->step();
}

void AutogradTwin::set_lr(double learning_rate) {
  for (torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
    group.options().set_lr(learning_rate);
  }
}

void AutogradTwin::train(bool training) { network_->train(training); }

void AutogradTwin::set_dropout_masks(const std::vector<Tensor>& masks) {
  std::size_t next = 0;
  for (const auto& module : network_->modules(/*include_self=*/false)) {
    if (auto* dropout = module->as<MaskedDropoutImpl>()) {
      dropout->set_mask(masks.at(next++));
    }
  }
}

Tensor AutogradTwin::logits() const { return outputs_[logits_index(spec_)].detach(); }

std::vector<NamedTensor> AutogradTwin::intermediates() const {
  std::vector<NamedTensor> named;
  const std::vector<std::string> names = result_names(spec_);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    named.push_back({names[i], outputs_[i].detach()});
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

std::vector<NamedTensor> AutogradTwin::buffers() const {
  std::vector<NamedTensor> named;
  for (const auto& buffer : network_->named_buffers()) {
    named.push_back({buffer.key(), buffer.value()});
  }
  return named;
}

std::vector<NamedTensor> AutogradTwin::optimizer_state() const {
  std::vector<NamedTensor> named;
  auto& states = optimizer_->state();
  with_state_type(optimizer_kind_, [&]<typename State>(const State& /*type*/) {
    for (const auto& parameter : network_->named_parameters()) {
      const auto found = states.find(key_of(states, parameter.value()));
      if (found == states.end()) {
        continue;
      }
      visit(static_cast<State&>(*found->second), [&](const char* name, auto& value) {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Tensor>) {
          if (value.defined()) {
            named.push_back({parameter.key() + "." + name, value.detach()});
          }
        } else {
          named.push_back({parameter.key() + "." + name, at::scalar_tensor(value, at::kLong)});
        }
      });
    }
  });
  return named;
}

void AutogradTwin::load_optimizer_state(const std::vector<NamedTensor>& state) {
  if (state.empty()) {
    return;
  }
  auto& states = optimizer_->state();
  with_state_type(optimizer_kind_, [&]<typename State>(const State& /*type*/) {
    for (const auto& parameter : network_->named_parameters()) {
      auto loaded = std::make_unique<State>();
      visit(*loaded, [&](const char* name, auto& value) {
        const std::string key = parameter.key() + "." + name;
        const bool is_there = std::any_of(state.begin(), state.end(),
                                          [&](const NamedTensor& tensor) { return tensor.name == key; });
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, Tensor>) {
          if (is_there) {
            value = find_tensor(state, key, parameter.value().sizes())
                        .to(parameter.value().options().requires_grad(false), false, /*copy=*/true);
          }
        } else {
          value = find_tensor(state, key, {}).template item<std::int64_t>();
        }
      });
      states[key_of(states, parameter.value())] = std::move(loaded);
    }
  });
}

std::vector<NamedTensor> AutogradTwin::gradients() const {
  std::vector<NamedTensor> named;
  for (const auto& parameter : network_->named_parameters()) {
    named.push_back({parameter.key(), parameter.value().grad()});
  }
  const std::vector<std::string> names = result_names(spec_);
  for (std::size_t i = first_learning_layer(spec_); i < output_gradients_.size(); ++i) {
    named.push_back({names[i], output_gradients_[i]});
  }
  return named;
}

}  // namespace twingrad
