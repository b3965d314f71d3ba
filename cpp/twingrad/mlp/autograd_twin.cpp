#include "twingrad/mlp/autograd_twin.h"

#include <c10/core/GradMode.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/functional.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <functional>
#include <limits>

#include "twingrad/mlp/kinks.h"
#include "twingrad/mlp/rounding_noise.h"
#include "twingrad/mlp/torch_reference.h"
#include "twingrad/mlp/torch_reference_optimizer.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/mlp/visit_loss.h"

namespace twingrad {

using at::Tensor;

namespace {

/// x W without a bias, W [inputs, outputs], as in the classroom exercise.
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

/// Dropout with a given mask, which torch::nn::Dropout cannot do.
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

/// torch_reference::rms_norm as a module.
class RMSNormImpl final : public torch::nn::Module {
 public:
  RMSNormImpl(std::int64_t width, bool affine, std::optional<double> epsilon) : epsilon_(epsilon) {
    if (affine) {
      weight_ = register_parameter("weight", torch::ones({width}));
    }
  }
  Tensor forward(const Tensor& x) { return torch_reference::rms_norm(x, weight_, epsilon_); }

 private:
  Tensor weight_;
  std::optional<double> epsilon_;
};
TORCH_MODULE(RMSNorm);

/// What happens to the result of each module.
struct RunOptions {
  bool keep_gradients = false;     ///< retain its gradient
  RoundingNoise* noise = nullptr;  ///< add this
};

/// Runs the modules of these layers and stores the output of each.
Tensor run(torch::nn::SequentialImpl& modules, const std::vector<LayerSpec>& layers,
           const RunOptions& options, Tensor x, std::vector<Tensor>& outputs) {
  outputs.clear();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Tensor y = (modules.begin() + static_cast<std::ptrdiff_t>(i))->forward(x);
    x = options.noise == nullptr ? y : options.noise->perturb(layers[i], x, y);
    if (options.keep_gradients && x.requires_grad()) {
      x.retain_grad();
    }
    outputs.push_back(x);
  }
  return x;
}

/// x + F(x), where F is this Sequential.
class ResidualImpl final : public torch::nn::SequentialImpl {
 public:
  explicit ResidualImpl(const LayerSpec& layer) : branch_(layer.branch) {}
  Tensor forward(const Tensor& x) { return x + run(*this, branch_, options_, x, outputs_); }
  void set_options(const RunOptions& options) { options_ = options; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  std::vector<LayerSpec> branch_;
  RunOptions options_;
  std::vector<Tensor> outputs_;
};

void push_layer(torch::nn::SequentialImpl& network, const MlpSpec& spec, const LayerSpec& layer,
                std::optional<double> rms_epsilon) {
  using Kind = LayerSpec::Kind;
  namespace nn = torch::nn;
  namespace reference = torch_reference;
  switch (layer.kind) {
    case Kind::linear:
      return network.push_back(
          nn::Linear(nn::LinearOptions(layer.inputs, layer.outputs).bias(layer.has_bias)));
    case Kind::matmul:
      return network.push_back(Matmul(layer.inputs, layer.outputs));
    case Kind::add_bias:
      return network.push_back(AddBias(layer.outputs));
    case Kind::append_ones:
      return network.push_back(nn::Functional(reference::append_ones));
    case Kind::batch_norm:
      return network.push_back(nn::BatchNorm1d(nn::BatchNorm1dOptions(layer.outputs)
                                                   .affine(spec.normalization_affine)
                                                   .track_running_stats(spec.normalization_statistics)));
    case Kind::layer_norm:
      return network.push_back(
          nn::LayerNorm(nn::LayerNormOptions({layer.outputs}).elementwise_affine(spec.normalization_affine)));
    case Kind::rms_norm:
      return network.push_back(RMSNorm(layer.outputs, spec.normalization_affine, rms_epsilon));
    case Kind::dropout:
      return network.push_back(MaskedDropout(layer.dropped));
    case Kind::activation:
      return network.push_back(nn::Functional(reference::activation(spec.activation)));
    case Kind::softmax:
      return network.push_back(nn::Softmax(/*dim=*/1));
    case Kind::exercise_softmax:
      return network.push_back(nn::Functional(reference::unshifted_softmax, kExerciseEpsilon));
    case Kind::log:
      return network.push_back(nn::Functional(reference::log, kExerciseEpsilon));
    case Kind::log_softmax:
      return network.push_back(nn::LogSoftmax(/*dim=*/1));
    case Kind::residual: {
      const auto block = std::make_shared<ResidualImpl>(layer);
      for (const LayerSpec& inner : layer.branch) {
        push_layer(*block, spec, inner, rms_epsilon);
      }
      return network.push_back(block);
    }
  }
}

/// The reduced loss of an output and a target.
using LossFunction = std::function<Tensor(const Tensor& output, const Tensor& target)>;

LossFunction make_loss_function(const MlpSpec& spec, const at::TensorOptions& options) {
  const auto bind = [](auto /*type*/, const auto& reference, const auto&... arguments) -> LossFunction {
    return
        [=](const Tensor& output, const Tensor& target) { return reference(output, target, arguments...); };
  };
  return visit_loss(spec, options, bind);
}

std::vector<Tensor> detached(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : tensors) {
    result.push_back(tensor.detach());
  }
  return result;
}

/// Detached tensors that share memory.
std::vector<NamedTensor> named_tensors(const torch::OrderedDict<std::string, Tensor>& tensors) {
  std::vector<NamedTensor> named;
  for (const auto& item : tensors) {
    named.push_back({item.key(), item.value().detach()});
  }
  return named;
}

}  // namespace

struct AutogradTwin::Modules {
  torch::nn::Sequential network;
  std::vector<LayerSpec> layers;
  LossFunction loss;
  std::unique_ptr<torch_reference::Optimizer> optimizer;
  std::vector<std::string> parameter_names;
  bool keep_gradients = false;
  std::unique_ptr<RoundingNoise> noise;

  /// Calls visit(block) for each residual block.
  void for_each_block(const auto& visit) {
    for (const auto& module : network->children()) {
      if (auto* block = module->as<ResidualImpl>()) {
        visit(*block);
      }
    }
  }
};

AutogradTwin::AutogradTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
                           const at::TensorOptions& options, const ThreadSettings& threads,
                           std::optional<double> rms_epsilon)
    : spec_(spec),
      optimizer_options_(optimizer),
      threads_(threads),
      dtype_(c10::typeMetaToScalarType(options.dtype())),
      modules_(std::make_unique<Modules>()) {
  torch::nn::Sequential& network = modules_->network;
  modules_->layers = layers_of(spec);
  for (const LayerSpec& layer : modules_->layers) {
    push_layer(*network, spec, layer, rms_epsilon);
  }
  network->to(options.device(), dtype_);
  modules_->loss = make_loss_function(spec, options);
  const torch::NoGradGuard no_grad;
  const std::vector<Tensor> parameters = network->parameters();
  const std::vector<ParameterSpec> specs = parameters_of(spec);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    parameters[i].copy_(initial.narrow(0, specs[i].offset, specs[i].size).view(specs[i].shape));
    modules_->parameter_names.push_back(specs[i].name);
  }
  modules_->optimizer = std::make_unique<torch_reference::Optimizer>(optimizer, parameters);
}

AutogradTwin::~AutogradTwin() = default;

Tensor AutogradTwin::run_modules(const Tensor& images, bool keep_gradients) {
  use_threads(threads_);
  const RunOptions options = {keep_gradients, modules_->noise.get()};
  modules_->for_each_block([&](ResidualImpl& block) { block.set_options(options); });
  const Tensor output = run(*modules_->network, modules_->layers, options, images, outputs_);
  modules_->for_each_block([&](const ResidualImpl& block) {
    outputs_.insert(outputs_.end(), block.outputs().begin(), block.outputs().end());
  });
  return output;
}

void AutogradTwin::run_forward(const Tensor& images, const Tensor& labels) {
  const Tensor output = run_modules(images, modules_->keep_gradients);
  labels_ = labels;
  loss_ = modules_->loss(output, target_of(spec_, labels, output.detach()));
  if (modules_->noise) {
    modules_->noise->set_loss_terms(modules_->layers.size() - 1, loss_terms(output.detach()));
  }
}

double AutogradTwin::forward(const Tensor& images, const Tensor& labels) {
  run_forward(images, labels);
  return mean_loss(spec_, loss_.item<double>(), labels);
}

Tensor AutogradTwin::enqueue_gradients(const Tensor& images, const Tensor& labels) {
  run_forward(images, labels);
  backward();
  return mean_loss(spec_, loss_.detach(), labels);
}

Tensor AutogradTwin::predict(const Tensor& images) {
  const c10::NoGradGuard no_grad;
  run_modules(images, /*keep_gradients=*/false);
  return logits();
}

Tensor AutogradTwin::loss_terms(const Tensor& output) const {
  switch (spec_.loss) {
    case LossKind::softmax_log:
    case LossKind::exercise_softmax_log:
    case LossKind::nll:
    case LossKind::kl_divergence:
    case LossKind::l1:
      return {};
    default:
      break;
  }
  const auto gradient = [&](const Tensor& labels) {
    const c10::AutoGradMode enabled(true);
    const Tensor input = output.detach().requires_grad_(true);
    modules_->loss(input, target_of(spec_, labels, output)).backward();
    return input.grad();
  };
  return gradient(labels_).abs() + gradient((labels_ + 1).remainder(spec_.classes)).abs();
}

std::unique_ptr<Twin> AutogradTwin::in_float64() const {
  const std::optional<double> rms_epsilon =
      dtype_ == at::kFloat ? std::optional<double>(std::numeric_limits<float>::epsilon()) : std::nullopt;
  auto twin = std::make_unique<AutogradTwin>(
      spec_, optimizer_options_, at::zeros({parameter_count(spec_)}, at::kDouble),
      parameters().front().tensor.options().dtype(at::kDouble), threads_, rms_epsilon);
  load_network(*twin, network_of(*this));
  return twin;
}

bool AutogradTwin::simulate_rounding(double epsilon, std::uint64_t seed) {
  std::unique_ptr<RoundingNoise>& noise = modules_->noise;
  noise = epsilon == 0
              ? nullptr
              : std::make_unique<RoundingNoise>(spec_, epsilon, parameters(),
                                                noise ? noise->exact_results() : detached(outputs_), seed);
  return true;
}

std::map<std::string, double> AutogradTwin::local_rounding_errors() const {
  return modules_->noise ? modules_->noise->local_errors() : std::map<std::string, double>();
}

double AutogradTwin::normalization_noise() const {
  return modules_->noise ? modules_->noise->normalization_noise() : 0;
}

std::string AutogradTwin::describe_layer(const std::string& layer) const {
  return layer == "optimizer" ? name_of(optimizer_kinds(), optimizer_options_.kind)
                              : twingrad::describe_layer(spec_, layer);
}

std::vector<NamedTensor> AutogradTwin::kink_distances() const {
  return twingrad::kink_distances(spec_, detached(outputs_), labels_);
}

void AutogradTwin::backward() {
  use_threads(threads_);
  modules_->optimizer->zero_grad();
  loss_.backward();
  output_gradients_.clear();
  if (modules_->keep_gradients) {
    for (const Tensor& output : outputs_) {
      output_gradients_.push_back(output.requires_grad() ? output.grad() : Tensor());
    }
  }
}

void AutogradTwin::update() {
  use_threads(threads_);
  modules_->optimizer->step();
}

void AutogradTwin::set_lr(double lr) { modules_->optimizer->set_lr(lr); }

void AutogradTwin::train(bool on) { modules_->network->train(on); }

void AutogradTwin::set_dropout_masks(const std::vector<Tensor>& masks) {
  std::size_t next = 0;
  for (const auto& module : modules_->network->modules(/*include_self=*/false)) {
    if (auto* dropout = module->as<MaskedDropoutImpl>()) {
      dropout->set_mask(masks.at(next++));
    }
  }
}

void AutogradTwin::keep_intermediate_gradients(bool keep) { modules_->keep_gradients = keep; }

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
  return named_tensors(modules_->network->named_parameters());
}

std::vector<NamedTensor> AutogradTwin::buffers() const {
  return named_tensors(modules_->network->named_buffers());
}

std::vector<NamedTensor> AutogradTwin::optimizer_state() const {
  return modules_->optimizer->state(modules_->parameter_names);
}

void AutogradTwin::load_optimizer_state(const std::vector<NamedTensor>& state) {
  modules_->optimizer->load_state(modules_->parameter_names, state);
}

std::vector<Tensor> AutogradTwin::gradient_vectors() {
  std::vector<Tensor> vectors;
  for (Tensor& parameter : modules_->network->parameters()) {
    if (!parameter.grad().defined()) {
      parameter.mutable_grad() = at::zeros_like(parameter);
    }
    vectors.push_back(parameter.grad());
  }
  return vectors;
}

std::vector<NamedTensor> AutogradTwin::gradients() const {
  std::vector<NamedTensor> named;
  for (const auto& parameter : modules_->network->named_parameters()) {
    const Tensor gradient = parameter.value().grad();
    named.push_back({parameter.key(), modules_->noise
                                          ? modules_->noise->perturbed_gradient(parameter.key(), gradient)
                                          : gradient});
  }
  const std::vector<std::string> names = result_names(spec_);
  for (std::size_t i = first_learning_layer(spec_); i < output_gradients_.size(); ++i) {
    named.push_back({names[i], output_gradients_[i]});
  }
  return named;
}

}  // namespace twingrad
