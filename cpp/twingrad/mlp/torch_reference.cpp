#include "twingrad/mlp/torch_reference.h"

#include <torch/nn/modules/activation.h>

#include <limits>
#include <map>
#include <stdexcept>

namespace twingrad::torch_reference {
namespace {

using Function = std::function<Tensor(const Tensor&)>;

template <typename Module>
Function function_of(Module module) {
  return [module](const Tensor& x) mutable { return module->forward(x); };
}

std::int64_t reduction_code(nn::Reduction reduction) {
  switch (reduction) {
    case nn::Reduction::mean:
      return at::Reduction::Mean;
    case nn::Reduction::sum:
      return at::Reduction::Sum;
    case nn::Reduction::none:
      break;
  }
  return at::Reduction::None;
}

}  // namespace

Function activation(const std::string& name) {
  static const std::map<std::string, Function> functions = {
      {"relu", function_of(torch::nn::ReLU())},
      {"leaky_relu", function_of(torch::nn::LeakyReLU())},
      {"elu", function_of(torch::nn::ELU())},
      {"selu", function_of(torch::nn::SELU())},
      {"gelu", function_of(torch::nn::GELU())},
      {"gelu_tanh", function_of(torch::nn::GELU(torch::nn::GELUOptions().approximate("tanh")))},
      {"silu", function_of(torch::nn::SiLU())},
      {"softplus", function_of(torch::nn::Softplus())},
      {"sigmoid", function_of(torch::nn::Sigmoid())},
      {"tanh", function_of(torch::nn::Tanh())},
      {"hardtanh", function_of(torch::nn::Hardtanh())},
      {"softsign", function_of(torch::nn::Softsign())},
  };
  const auto found = functions.find(name);
  if (found == functions.end()) {
    throw std::logic_error("no torch::nn module for the activation " + name);
  }
  return found->second;
}

Tensor append_ones(const Tensor& x) { return at::cat({x, at::ones({x.size(0), 1}, x.options())}, 1); }

Tensor unshifted_softmax(const Tensor& x, double epsilon) {
  const Tensor e = x.exp();
  return e / (e.sum(1, /*keepdim=*/true) + epsilon);
}

Tensor log(const Tensor& x, double epsilon) { return at::log(x + epsilon); }

Tensor rms_norm(const Tensor& x, const Tensor& weight, std::optional<double> epsilon) {
  const double machine_epsilon = x.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                                : std::numeric_limits<float>::epsilon();
  const Tensor mean_square = x.square().mean(1, /*keepdim=*/true);
  const Tensor normalized = x * (mean_square + epsilon.value_or(machine_epsilon)).rsqrt();
  return weight.defined() ? normalized * weight : normalized;
}

Tensor plain_cross_entropy(const Tensor& logits, const Tensor& target, nn::Reduction reduction) {
  return cross_entropy(logits, target, {.reduction = reduction});
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const nn::ClassLossOptions& options,
                     double label_smoothing) {
  return at::cross_entropy_loss(logits, target, options.class_weights, reduction_code(options.reduction),
                                options.ignore_index, label_smoothing);
}

Tensor soft_cross_entropy(const Tensor& logits, const Tensor& target,
                          const nn::SoftCrossEntropyLossOptions& options) {
  return at::cross_entropy_loss(logits, target, options.class_weights, reduction_code(options.reduction),
                                /*ignore_index=*/-100, options.label_smoothing);
}

Tensor nll(const Tensor& log_probabilities, const Tensor& target, const nn::ClassLossOptions& options) {
  return at::nll_loss(log_probabilities, target, options.class_weights, reduction_code(options.reduction),
                      options.ignore_index);
}

Tensor log_likelihood(const Tensor& log_probabilities, const Tensor& labels, nn::Reduction reduction) {
  Tensor losses = -(labels * log_probabilities).sum(1);
  switch (reduction) {
    case nn::Reduction::mean:
      return losses.mean();
    case nn::Reduction::sum:
      return losses.sum();
    case nn::Reduction::none:
      break;
  }
  return losses;
}

Tensor kl_div(const Tensor& log_probabilities, const Tensor& target, const nn::KLDivLossOptions& options) {
  const bool batch_mean = options.batch_mean && options.reduction == nn::Reduction::mean;
  const auto reduction = reduction_code(batch_mean ? nn::Reduction::sum : options.reduction);
  const Tensor loss = at::kl_div(log_probabilities, target, reduction, options.log_target);
  return batch_mean ? loss / static_cast<double>(target.size(0)) : loss;
}

Tensor bce_with_logits(const Tensor& logits, const Tensor& target,
                       const nn::BCEWithLogitsLossOptions& options) {
  return at::binary_cross_entropy_with_logits(logits, target, options.weight, options.pos_weight,
                                              reduction_code(options.reduction));
}

Tensor mse(const Tensor& input, const Tensor& target, nn::Reduction reduction) {
  return at::mse_loss(input, target, reduction_code(reduction));
}

Tensor l1(const Tensor& input, const Tensor& target, nn::Reduction reduction) {
  return at::l1_loss(input, target, reduction_code(reduction));
}

Tensor smooth_l1(const Tensor& input, const Tensor& target, nn::Reduction reduction, double beta) {
  return at::smooth_l1_loss(input, target, reduction_code(reduction), beta);
}

Tensor huber(const Tensor& input, const Tensor& target, nn::Reduction reduction, double delta) {
  return at::huber_loss(input, target, reduction_code(reduction), delta);
}

}  // namespace twingrad::torch_reference
