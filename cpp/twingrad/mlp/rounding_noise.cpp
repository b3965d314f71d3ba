#include "twingrad/mlp/rounding_noise.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/mlp/kinks.h"

namespace twingrad {

using at::Tensor;
using Kind = LayerSpec::Kind;

namespace {

bool is_normalization(Kind kind) {
  return kind == Kind::batch_norm || kind == Kind::layer_norm || kind == Kind::rms_norm;
}

/// What a normalization subtracts and what it multiplies by: y = (x − mean) · scale.
struct Standardization {
  std::int64_t dimension;
  Tensor mean, scale;
};

Standardization standardization_of(Kind kind, const Tensor& x) {
  const std::int64_t dimension = kind == Kind::batch_norm ? 0 : 1;
  const Tensor mean = kind == Kind::rms_norm ? at::zeros({1}, x.options()) : x.mean(dimension, true);
  const double epsilon = kind == Kind::rms_norm ? 1.2e-7 : 1e-5;
  return {dimension, mean, ((x - mean).square().mean(dimension, true) + epsilon).rsqrt()};
}

}  // namespace

RoundingNoise::RoundingNoise(const MlpSpec& spec, double epsilon, const std::vector<NamedTensor>& parameters,
                             std::vector<Tensor> results, std::uint64_t seed)
    : spec_(spec),
      epsilon_(epsilon),
      has_float_range_(epsilon > std::numeric_limits<double>::epsilon()),
      underflow_(has_float_range_ ? std::numeric_limits<float>::min() : std::numeric_limits<double>::min()),
      pattern_(seed),
      results_(std::move(results)),
      generator_(at::make_generator<at::CPUGeneratorImpl>(seed)),
      names_(result_names(spec)),
      gradient_terms_(names_.size()) {
  for (const auto& [name, tensor] : parameters) {
    parameters_[name] = tensor;
  }
  int before = -1;
  for (const LayerSpec& layer : layers_of(spec)) {
    input_of_[layer.name] = before;
    int before_inside = before;
    for (const LayerSpec& inner : layer.branch) {
      input_of_[inner.name] = before_inside;
      before_inside = static_cast<int>(inner.result);
    }
    before = static_cast<int>(layer.result);
  }
}

Tensor RoundingNoise::noise(const Tensor& terms) {
  Tensor size = (terms * epsilon_).add_(underflow_);
  std::vector<std::int64_t> shape = terms.sizes().vec();
  if (shape.empty() || pattern_ == 2) {
    return size;
  }
  if (pattern_ == 0) {
    shape.back() = 1;
  } else if (pattern_ == 3) {
    shape.front() = 1;
  }
  const Tensor signs = at::rand(shape, generator_, terms.options().device(at::kCPU)).sub_(0.5).sign_();
  return signs.to(terms.device()) * size;
}

Tensor RoundingNoise::parameter(const LayerSpec& layer, const char* name) const {
  const auto found = parameters_.find(layer.name + "." + name);
  return found == parameters_.end() ? Tensor() : found->second;
}

Tensor RoundingNoise::perturb(const LayerSpec& layer, const Tensor& x, const Tensor& y) {
  const Tensor input = x.detach(), result = y.detach();
  const Tensor terms = forward_terms(layer, input, result);
  record(names_[layer.result], terms);
  if (const int before = input_of_.at(layer.name); is_normalization(layer.kind) && before >= 0) {
    const Tensor& exact = results_[static_cast<std::size_t>(before)];
    const Tensor noise = (input - exact).abs() * standardization_of(layer.kind, exact).scale;
    normalization_noise_ =
        std::max(normalization_noise_, noise.numel() == 0 ? 0 : noise.max().item<double>());
  }
  Tensor change = noise(terms);
  for (const double kink : kinks_after(spec_, layer.result)) {
    const Tensor& exact = results_[layer.result];
    const Tensor crosses = (result + change - kink).sign() != (exact - kink).sign();
    change = at::where(crosses, exact - result, change);
  }
  Tensor noisy = y + change;
  if (noisy.requires_grad()) {
    noisy.register_hook([this, layer, input, result = noisy.detach()](const Tensor& grad) {
      return on_gradient(layer, input, result, grad);
    });
  }
  return noisy;
}

Tensor RoundingNoise::forward_terms(const LayerSpec& layer, const Tensor& x, const Tensor& y) const {
  const Tensor weight = parameter(layer, "weight"), bias = parameter(layer, "bias");
  const auto magnitude = [](const Tensor& t) { return t.defined() ? t.abs() : t; };
  switch (layer.kind) {
    case Kind::linear:
      return at::linear(x.abs(), weight.abs(), magnitude(bias));
    case Kind::matmul:
      return at::matmul(x.abs(), weight.abs());
    case Kind::add_bias:
      return x.abs() + bias.abs();
    case Kind::batch_norm:
    case Kind::layer_norm:
    case Kind::rms_norm: {
      const auto [dimension, mean, scale] = standardization_of(layer.kind, x);
      const Tensor terms = (x.abs() + mean.abs()) * scale;
      const Tensor scaled = weight.defined() ? terms * weight.abs() : terms;
      return bias.defined() ? scaled + bias.abs() : scaled;
    }
    case Kind::activation:
      if (spec_.activation.starts_with("gelu")) {  // x Φ(x), where Φ(x) = (1 + erf …) / 2 cancels for x < 0
        return y.abs().maximum(x.abs() / 2);
      }
      if (spec_.activation == "elu" || spec_.activation == "selu") {  // exp(x) − 1, as LibTorch computes it
        return y.abs().maximum((x < 0).to(y.dtype()));
      }
      return y.abs();
    case Kind::softmax:
      return y * (1 + (x - x.amax(1, true)).abs());
    case Kind::exercise_softmax:
      return y * (1 + x.abs());
    case Kind::log_softmax:
      return (x - x.amax(1, true)).abs() + 1;
    case Kind::residual:
      return x.abs() + (y - x).abs();
    case Kind::append_ones:
    case Kind::dropout:
    case Kind::log:
      break;
  }
  return y.abs();
}

Tensor RoundingNoise::input_gradient_terms(const LayerSpec& layer, const Tensor& x, const Tensor& y,
                                           const Tensor& grad_y) const {
  const Tensor weight = parameter(layer, "weight");
  Tensor size = grad_y.abs();
  switch (layer.kind) {
    case Kind::linear:
      return size.mm(weight.abs());
    case Kind::matmul:
      return size.mm(weight.abs().t());
    case Kind::batch_norm:
    case Kind::layer_norm:
    case Kind::rms_norm: {
      const auto [dimension, mean, scale] = standardization_of(layer.kind, x);
      const Tensor standardized = (x - mean).abs() * scale;
      const Tensor scaled = weight.defined() ? size * weight.abs() : size;
      return scale * (scaled + scaled.mean(dimension, true) +
                      standardized * (scaled * standardized).mean(dimension, true));
    }
    case Kind::activation:  // 1 − y², σ (1 − σ), …: terms of size 1, times ∂L/∂y
      return kinks_after(spec_, static_cast<std::size_t>(input_of_.at(layer.name))).empty() ? size : Tensor();
    case Kind::softmax:
    case Kind::exercise_softmax: {
      Tensor terms = y.abs() * (size + (size * y.abs()).sum(1, true));
      if (layer.kind == Kind::softmax) {
        return terms;
      }
      // Autograd computes y / Σ exp x, which underflows, and a term is lost entirely.
      const Tensor quotient = y / x.exp().sum(1, true);
      return at::where((quotient < underflow_).any(1, true), terms / epsilon_, terms);
    }
    case Kind::log_softmax:
      return size + y.exp() * size.sum(1, true);
    case Kind::residual:
      return size;
    case Kind::add_bias:
    case Kind::append_ones:
    case Kind::dropout:
    case Kind::log:
      break;
  }
  return {};
}

Tensor RoundingNoise::on_gradient(const LayerSpec& layer, const Tensor& x, const Tensor& y,
                                  const Tensor& grad_y) {
  Tensor& added = gradient_terms_[layer.result];
  const Tensor terms = added.defined() ? grad_y.abs().maximum(added) : grad_y.abs();
  record(names_[layer.result] + ".grad", terms);
  const Tensor grad = grad_y + noise(terms);
  add_parameter_noise(layer, x, grad);
  if (const int input = input_of_.at(layer.name); input >= 0) {
    if (const Tensor of_input = input_gradient_terms(layer, x, y, grad); of_input.defined()) {
      Tensor& sum = gradient_terms_[static_cast<std::size_t>(input)];
      sum = sum.defined() ? sum + of_input : of_input;
    }
  }
  return grad;
}

void RoundingNoise::add_parameter_noise(const LayerSpec& layer, const Tensor& x, const Tensor& grad_y) {
  const auto add = [&](const char* name, const auto& terms_of) {
    if (parameter(layer, name).defined()) {
      const Tensor terms = terms_of();
      record(layer.name + "." + name + ".grad", terms);
      parameter_noise_[layer.name + "." + name] = noise(terms);
    }
  };
  const Tensor size = grad_y.abs();
  add("weight", [&] {
    if (is_normalization(layer.kind)) {
      const auto [dimension, mean, scale] = standardization_of(layer.kind, x);
      return (size * (x.abs() + mean.abs()) * scale).sum(0);
    }
    return layer.kind == Kind::linear ? size.t().mm(x.abs()) : x.abs().t().mm(size);
  });
  add("bias", [&] { return size.sum(0); });
}

void RoundingNoise::record(const std::string& name, const Tensor& terms) {
  local_errors_[name] = terms.numel() == 0 ? 0 : epsilon_ * terms.max().item<double>() + underflow_;
}

Tensor RoundingNoise::perturbed_gradient(const std::string& parameter, const Tensor& gradient) const {
  const auto found = parameter_noise_.find(parameter);
  return found == parameter_noise_.end() ? gradient : gradient + found->second;
}

}  // namespace twingrad
