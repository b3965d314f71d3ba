#include "twingrad/mlp/spec.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>

namespace twingrad {

namespace {

LayerSpec::Kind kind_of(Normalization normalization) {
  switch (normalization) {
    case Normalization::batch:
      return LayerSpec::Kind::batch_norm;
    case Normalization::layer:
      return LayerSpec::Kind::layer_norm;
    case Normalization::rms:
      return LayerSpec::Kind::rms_norm;
    case Normalization::none:
      break;
  }
  throw std::logic_error("a normalization without a layer");
}

}  // namespace

std::vector<LayerSpec> layers_of(const MlpSpec& spec) {
  using Kind = LayerSpec::Kind;
  std::vector<LayerSpec> layers;
  std::int64_t width = spec.inputs;
  if (spec.bias == Bias::column_of_ones) {
    layers.push_back({Kind::append_ones, width, width + 1});
    ++width;
  }
  const Kind product = spec.bias == Bias::column_of_ones ? Kind::matmul : Kind::linear;
  for (const std::int64_t hidden : spec.hidden) {
    layers.push_back({product, width, hidden, spec.normalization != Normalization::batch});
    if (spec.normalization != Normalization::none) {
      layers.push_back({kind_of(spec.normalization), hidden, hidden});
    }
    layers.push_back({Kind::activation, hidden, hidden});
    if (spec.dropout > 0) {
      layers.push_back({Kind::dropout, hidden, hidden});
    }
    width = hidden;
  }
  layers.push_back({product, width, spec.classes});
  if (spec.loss != LossKind::cross_entropy) {
    const Kind softmax = spec.loss == LossKind::softmax_log ? Kind::softmax : Kind::exercise_softmax;
    layers.push_back({softmax, spec.classes, spec.classes});
    layers.push_back({Kind::log, spec.classes, spec.classes});
  }
  return layers;
}

std::size_t logits_index(const MlpSpec& spec) {
  return layers_of(spec).size() - (spec.loss == LossKind::cross_entropy ? 1 : 3);
}

std::size_t first_learning_layer(const MlpSpec& spec) { return spec.bias == Bias::column_of_ones ? 1 : 0; }

std::string output_name(const MlpSpec& spec, std::size_t index) {
  return index == logits_index(spec) ? "logits" : fmt::format("{}.output", index);
}

std::vector<ParameterSpec> parameters_of(const MlpSpec& spec) {
  using Kind = LayerSpec::Kind;
  using Role = ParameterSpec::Role;
  std::vector<ParameterSpec> parameters;
  std::int64_t offset = 0;
  const auto add = [&](std::string name, std::vector<std::int64_t> shape, std::int64_t inputs, Role role) {
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) {
      size *= extent;
    }
    parameters.push_back({std::move(name), std::move(shape), offset, size, inputs, role});
    offset += size;
  };
  const std::vector<LayerSpec> layers = layers_of(spec);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& [kind, inputs, outputs, has_bias] = layers[i];
    if (kind == LayerSpec::Kind::linear) {
      add(fmt::format("{}.weight", i), {outputs, inputs}, inputs, Role::weight);
      if (has_bias) {
        add(fmt::format("{}.bias", i), {outputs}, inputs, Role::bias);
      }
    } else if (kind == LayerSpec::Kind::matmul) {
      add(fmt::format("{}.weight", i), {inputs, outputs}, inputs, Role::weight);
    } else if (kind == Kind::batch_norm || kind == Kind::layer_norm || kind == Kind::rms_norm) {
      add(fmt::format("{}.weight", i), {outputs}, inputs, Role::scale);
      if (kind != Kind::rms_norm) {
        add(fmt::format("{}.bias", i), {outputs}, inputs, Role::shift);
      }
    }
  }
  return parameters;
}

std::int64_t parameter_count(const MlpSpec& spec) {
  const ParameterSpec last = parameters_of(spec).back();
  return last.offset + last.size;
}

std::string describe_widths(const MlpSpec& spec) {
  std::string text = std::to_string(spec.inputs);
  for (const std::int64_t hidden : spec.hidden) {
    text += fmt::format("-{}", hidden);
  }
  return text + fmt::format("-{}", spec.classes);
}

at::Tensor draw_initial_parameters(const MlpSpec& spec, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  at::Tensor flat = at::zeros({parameter_count(spec)}, at::kDouble);
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    at::Tensor view = flat.narrow(0, parameter.offset, parameter.size);
    using Role = ParameterSpec::Role;
    if (parameter.role == Role::scale) {
      view.fill_(1);
    } else if (parameter.role == Role::shift) {
      view.zero_();
    } else if (spec.initialization == Initialization::uniform) {
      const double bound = 1 / std::sqrt(static_cast<double>(parameter.inputs));
      view.uniform_(-bound, bound, generator);
    } else if (parameter.role == Role::weight) {
      view.normal_(0, 1, generator);
    }
  }
  return flat;
}

std::vector<at::Tensor> draw_dropout_masks(const MlpSpec& spec, std::int64_t rows, std::uint64_t seed,
                                           std::int64_t step) {
  std::vector<at::Tensor> masks;
  if (spec.dropout == 0) {
    return masks;
  }
  // An odd constant keeps the seeds of neighbouring steps and runs apart.
  const std::uint64_t mixed = seed * 0x9E3779B97F4A7C15 + static_cast<std::uint64_t>(step);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(mixed);
  for (const LayerSpec& layer : layers_of(spec)) {
    if (layer.kind == LayerSpec::Kind::dropout) {
      masks.push_back(at::empty({rows, layer.outputs}, at::kBool).bernoulli_(1 - spec.dropout, generator));
    }
  }
  return masks;
}

}  // namespace twingrad
