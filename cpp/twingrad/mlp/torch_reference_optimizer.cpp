#include "twingrad/mlp/torch_reference_optimizer.h"

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/schedulers/step_lr.h>
#include <torch/optim/sgd.h>
// clang-format off: clip_grad.h needs torch::Tensor from the headers above
#include <torch/nn/utils/clip_grad.h>
// clang-format on

#include <sstream>
#include <stdexcept>
#include <type_traits>

#include "twingrad/mlp/twin.h"

namespace twingrad::torch_reference {
namespace {

using at::Tensor;
using Kind = OptimizerOptions::Kind;

template <typename Options>
Options adam_options(const OptimizerOptions& options) {
  return Options(options.lr)
      .betas({options.beta1, options.beta2})
      .eps(options.eps)
      .weight_decay(options.weight_decay)
      .amsgrad(options.amsgrad);
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const OptimizerOptions& options,
                                                        const std::vector<Tensor>& parameters) {
  switch (options.kind) {
    case Kind::sgd:
      return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(options.lr)
                                                                 .momentum(options.momentum)
                                                                 .dampening(options.dampening)
                                                                 .nesterov(options.nesterov)
                                                                 .weight_decay(options.weight_decay));
    case Kind::adam:
      return std::make_unique<torch::optim::Adam>(parameters,
                                                  adam_options<torch::optim::AdamOptions>(options));
    case Kind::adamw:
      return std::make_unique<torch::optim::AdamW>(parameters,
                                                   adam_options<torch::optim::AdamWOptions>(options));
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
  throw std::logic_error("unknown optimizer kind");
}

/// Whether the state has a step count.
template <typename State>
constexpr bool kHasStep = !std::is_same_v<State, torch::optim::SGDParamState>;

/// Calls visit(name, tensor) for each tensor in the state of a parameter that these options use.
template <typename State, typename Visit>
void for_each_tensor(const OptimizerOptions& options, State& state, const Visit& visit) {
  const auto visit_if = [&](bool is_used, const char* name, auto& tensor) {
    if (is_used) {
      visit(name, tensor);
    }
  };
  if constexpr (std::is_same_v<State, torch::optim::SGDParamState>) {
    visit_if(options.momentum != 0, "momentum_buffer", state.momentum_buffer());
  } else if constexpr (std::is_same_v<State, torch::optim::RMSpropParamState>) {
    visit("square_avg", state.square_avg());
    visit_if(options.momentum != 0, "momentum_buffer", state.momentum_buffer());
    visit_if(options.centered, "grad_avg", state.grad_avg());
  } else if constexpr (std::is_same_v<State, torch::optim::AdagradParamState>) {
    visit("sum", state.sum());
  } else {
    visit("exp_avg", state.exp_avg());
    visit("exp_avg_sq", state.exp_avg_sq());
    visit_if(options.amsgrad, "max_exp_avg_sq", state.max_exp_avg_sq());
  }
}

/// Calls `use` with a new state of the type that this kind of optimizer has.
template <typename Use>
void with_state_type(Kind kind, const Use& use) {
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

/// The key of a parameter's state: its address, which is a string in older releases of LibTorch.
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

}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters)
    : options_(options),
      parameters_(std::move(parameters)),
      optimizer_(make_optimizer(options_, parameters_)) {}

Optimizer::~Optimizer() = default;

void Optimizer::zero_grad() { optimizer_->zero_grad(); }

void Optimizer::step() {
  if (options_.clip_norm > 0) {
    torch::nn::utils::clip_grad_norm_(parameters_, options_.clip_norm, options_.clip_norm_type);
  }
  optimizer_->step();
}

void Optimizer::set_lr(double lr) {
  for (torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
    group.options().set_lr(lr);
  }
}

std::vector<NamedTensor> Optimizer::state(const std::vector<std::string>& names) const {
  std::vector<NamedTensor> named;
  auto& states = optimizer_->state();
  with_state_type(options_.kind, [&]<typename State>(const State& /*type*/) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const auto found = states.find(key_of(states, parameters_[i]));
      if (found == states.end()) {
        continue;
      }
      auto& state = static_cast<State&>(*found->second);
      if constexpr (kHasStep<State>) {
        if (state.step() == 0) {
          return;
        }
        named.push_back({names[i] + ".step", at::scalar_tensor(state.step(), at::kLong)});
      }
      for_each_tensor(options_, state, [&](const char* name, const Tensor& value) {
        named.push_back({names[i] + "." + name, value.detach()});
      });
    }
  });
  return named;
}

void Optimizer::load_state(const std::vector<std::string>& names, const std::vector<NamedTensor>& state) {
  if (state.empty()) {
    return;
  }
  auto& states = optimizer_->state();
  with_state_type(options_.kind, [&]<typename State>(const State& /*type*/) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      auto loaded = std::make_unique<State>();
      if constexpr (kHasStep<State>) {
        loaded->step(find_tensor(state, names[i] + ".step", {}).template item<std::int64_t>());
      }
      for_each_tensor(options_, *loaded, [&](const char* name, Tensor& value) {
        value = find_tensor(state, names[i] + "." + name, parameters_[i].sizes())
                    .to(parameters_[i].options().requires_grad(false), false, /*copy=*/true);
      });
      states[key_of(states, parameters_[i])] = std::move(loaded);
    }
  });
}

double clip_grad_norm(const std::vector<Tensor>& gradients, double max_norm, double norm_type) {
  std::vector<Tensor> parameters;
  for (const Tensor& gradient : gradients) {
    parameters.push_back(at::zeros_like(gradient).set_requires_grad(true));
    parameters.back().mutable_grad() = gradient;
  }
  return torch::nn::utils::clip_grad_norm_(parameters, max_norm, norm_type);
}

std::vector<double> step_lr(double lr, unsigned step_size, double gamma, int steps) {
  const Tensor parameter = at::zeros({1}).requires_grad_(true);
  torch::optim::SGD optimizer(std::vector<Tensor>{parameter}, torch::optim::SGDOptions(lr));
  torch::optim::StepLR scheduler(optimizer, step_size, gamma);
  std::vector<double> rates;
  for (int t = 0; t < steps; ++t) {
    scheduler.step();  // Python calls it after an update, C++ before it: the first call changes nothing
    rates.push_back(optimizer.param_groups()[0].options().get_lr());
  }
  return rates;
}

}  // namespace twingrad::torch_reference
