#include "twingrad/mlp/spec.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>

namespace twingrad {

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
    layers.push_back({product, width, hidden});
    layers.push_back({Kind::activation, hidden, hidden});
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
  std::vector<ParameterSpec> parameters;
  std::int64_t offset = 0;
  const auto add = [&](std::string name, std::vector<std::int64_t> shape, std::int64_t inputs, bool is_bias) {
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) {
      size *= extent;
    }
    parameters.push_back({std::move(name), std::move(shape), offset, size, inputs, is_bias});
    offset += size;
  };
  const std::vector<LayerSpec> layers = layers_of(spec);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& [kind, inputs, outputs] = layers[i];
    if (kind == LayerSpec::Kind::linear) {
      add(fmt::format("{}.weight", i), {outputs, inputs}, inputs, false);
      add(fmt::format("{}.bias", i), {outputs}, inputs, true);
    } else if (kind == LayerSpec::Kind::matmul) {
      add(fmt::format("{}.weight", i), {inputs, outputs}, inputs, false);
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
    if (spec.initialization == Initialization::uniform) {
      const double bound = 1 / std::sqrt(static_cast<double>(parameter.inputs));
      view.uniform_(-bound, bound, generator);
    } else if (!parameter.is_bias) {
      view.normal_(0, 1, generator);
    }
  }
  return flat;
}

}  // namespace twingrad
