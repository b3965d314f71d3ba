#include "twingrad/mlp/spec.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "twingrad/layers/activations.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/fields.h"

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

/// Adds a product with its bias.
void add_product(std::vector<LayerSpec>& layers, Bias bias, std::int64_t inputs, std::int64_t outputs,
                 bool has_bias) {
  using Kind = LayerSpec::Kind;
  if (bias == Bias::every_layer) {
    layers.push_back({Kind::linear, inputs, outputs, has_bias});
    return;
  }
  layers.push_back({Kind::matmul, inputs, outputs});
  if (bias == Bias::separate_layer && has_bias) {
    layers.push_back({Kind::add_bias, inputs, outputs});
  }
}

LayerSpec dropout_layer(std::int64_t width, double dropped) {
  return {.kind = LayerSpec::Kind::dropout, .inputs = width, .outputs = width, .dropped = dropped};
}

std::vector<LayerSpec> hidden_layer(const MlpSpec& spec, std::int64_t inputs, std::int64_t outputs) {
  using Kind = LayerSpec::Kind;
  std::vector<LayerSpec> layers;
  add_product(layers, spec.bias, inputs, outputs, spec.normalization != Normalization::batch);
  if (spec.normalization != Normalization::none) {
    layers.push_back({kind_of(spec.normalization), outputs, outputs});
  }
  layers.push_back({Kind::activation, outputs, outputs});
  if (spec.dropout > 0) {
    layers.push_back(dropout_layer(outputs, spec.dropout));
  }
  return layers;
}

/// Sets the name of every layer and the index of its result: those inside blocks follow all others.
void name_layers(std::vector<LayerSpec>& layers) {
  std::size_t inside = layers.size();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].name = fmt::format("{}", i);
    layers[i].result = i;
    for (std::size_t j = 0; j < layers[i].branch.size(); ++j) {
      layers[i].branch[j].name = fmt::format("{}.{}", i, j);
      layers[i].branch[j].result = inside++;
    }
  }
}

Names<std::string> activation_choices() {
  Names<std::string> names;
  for (const nn::ActivationEntry& entry : nn::activations()) {
    names.emplace_back(entry.name, entry.name);
  }
  return names;
}

}  // namespace

const Names<Bias>& biases() {
  static const Names<Bias> names = {
      {"layers", Bias::every_layer}, {"own", Bias::separate_layer}, {"ones", Bias::column_of_ones}};
  return names;
}

const Names<Initialization>& initializations() {
  static const Names<Initialization> names = {{"uniform", Initialization::uniform},
                                              {"normal", Initialization::normal}};
  return names;
}

const Names<Normalization>& normalizations() {
  static const Names<Normalization> names = {{"none", Normalization::none},
                                             {"batch", Normalization::batch},
                                             {"layer", Normalization::layer},
                                             {"rms", Normalization::rms}};
  return names;
}

const FieldTable<MlpSpec>& network_fields() {
  using O = MlpSpec;
  // clang-format off
  static const FieldTable<O> table = {"Network", "--normalization", {
    // option, member, range, kinds, label in the heading, help
    parsed("--hidden", "N,N", &O::hidden, parse_widths, {}, "",
           "widths of the hidden layers; none: a linear model"),
    choice("--activation", &O::activation, activation_choices(), {}, "", ""),
    choice("--bias", &O::bias, biases(), {}, "bias {}",
           "layers: a bias in every layer; own: the same as separate layers; ones: a column of ones "
           "appended to the input, and no other bias"),
    choice("--normalization", &O::normalization, normalizations(), {}, "{} normalization",
           "before each activation: none, batch, layer or rms"),
    negated_flag("--no-affine", &O::normalization_affine, {"batch", "layer", "rms"},
                 "without scale and shift", "do not learn a scale and a shift").in_json_as("affine"),
    negated_flag("--no-running-statistics", &O::normalization_statistics, {"batch"},
                 "without running statistics", "use batch statistics in evaluation too")
        .in_json_as("running_statistics"),
    number("--input-dropout", &O::input_dropout, {0, 0.99}, {}, "input dropout {}",
           "fraction of the pixels dropped in training"),
    number("--dropout", &O::dropout, {0, 0.99}, {}, "dropout {}",
           "fraction of each hidden layer's activations dropped in training"),
    flag("--residual", &O::residual, {}, "residual",
         "each hidden layer F with as many outputs as inputs becomes y = x + F(x)"),
  }};
  // clang-format on
  return table;
}

std::vector<LayerSpec> layers_of(const MlpSpec& spec) {
  using Kind = LayerSpec::Kind;
  std::vector<LayerSpec> layers;
  std::int64_t width = spec.inputs;
  if (spec.input_dropout > 0) {
    layers.push_back(dropout_layer(width, spec.input_dropout));
  }
  if (spec.bias == Bias::column_of_ones) {
    layers.push_back({Kind::append_ones, width, width + 1});
    ++width;
  }
  for (const std::int64_t hidden : spec.hidden) {
    std::vector<LayerSpec> block = hidden_layer(spec, width, hidden);
    if (spec.residual && hidden == width) {
      layers.push_back({.kind = Kind::residual, .inputs = width, .outputs = hidden, .branch = block});
    } else {
      layers.insert(layers.end(), block.begin(), block.end());
    }
    width = hidden;
  }
  add_product(layers, spec.bias, width, spec.classes, /*has_bias=*/true);
  for (const Kind kind : entry_of(spec.loss).tail) {
    layers.push_back({kind, spec.classes, spec.classes});
  }
  name_layers(layers);
  return layers;
}

std::vector<LayerSpec> flat_layers_of(const MlpSpec& spec) {
  std::vector<LayerSpec> flat;
  for (const LayerSpec& layer : layers_of(spec)) {
    flat.push_back(layer);
    flat.insert(flat.end(), layer.branch.begin(), layer.branch.end());
  }
  return flat;
}

bool has_residual_block(const MlpSpec& spec) {
  const std::vector<LayerSpec> layers = layers_of(spec);
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerSpec& layer) { return layer.kind == LayerSpec::Kind::residual; });
}

std::size_t logits_index(const MlpSpec& spec) {
  return layers_of(spec).size() - entry_of(spec.loss).tail.size() - 1;
}

std::size_t first_learning_layer(const MlpSpec& spec) {
  return (spec.input_dropout > 0 ? 1 : 0) + (spec.bias == Bias::column_of_ones ? 1 : 0);
}

std::vector<std::string> result_names(const MlpSpec& spec) {
  const std::vector<LayerSpec> flat = flat_layers_of(spec);
  std::vector<std::string> names(flat.size());
  for (const LayerSpec& layer : flat) {
    names[layer.result] = layer.name + ".output";
  }
  names[logits_index(spec)] = "logits";
  return names;
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
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    const std::string weight = layer.name + ".weight";
    const std::string bias = layer.name + ".bias";
    switch (layer.kind) {
      case Kind::linear:
        add(weight, {layer.outputs, layer.inputs}, layer.inputs, Role::weight);
        if (layer.has_bias) {
          add(bias, {layer.outputs}, layer.inputs, Role::bias);
        }
        break;
      case Kind::matmul:
        add(weight, {layer.inputs, layer.outputs}, layer.inputs, Role::weight);
        break;
      case Kind::add_bias:
        add(bias, {layer.outputs}, layer.inputs, Role::bias);
        break;
      case Kind::batch_norm:
      case Kind::layer_norm:
      case Kind::rms_norm:
        if (spec.normalization_affine) {
          add(weight, {layer.outputs}, layer.inputs, Role::scale);
          if (layer.kind != Kind::rms_norm) {
            add(bias, {layer.outputs}, layer.inputs, Role::shift);
          }
        }
        break;
      default:  // nothing to learn
        break;
    }
  }
  return parameters;
}

std::int64_t parameter_count(const MlpSpec& spec) {
  const ParameterSpec last = parameters_of(spec).back();
  return last.offset + last.size;
}

bool can_be_sharded(const MlpSpec& spec) {
  return spec.normalization != Normalization::batch && !mean_depends_on_labels(spec);
}

StepWork work_of(const MlpSpec& spec, std::int64_t rows, at::ScalarType dtype) {
  return {.rows = static_cast<double>(rows),
          .parameters = static_cast<double>(parameter_count(spec)),
          .shardable = can_be_sharded(spec),
          .float32 = dtype == at::kFloat};
}

std::string describe_layer(const MlpSpec& spec, const std::string& name) {
  static const std::map<LayerSpec::Kind, std::string> words = {
      {LayerSpec::Kind::linear, "linear"},
      {LayerSpec::Kind::matmul, "matmul"},
      {LayerSpec::Kind::add_bias, "bias"},
      {LayerSpec::Kind::append_ones, "append_ones"},
      {LayerSpec::Kind::batch_norm, "batch_norm"},
      {LayerSpec::Kind::layer_norm, "layer_norm"},
      {LayerSpec::Kind::rms_norm, "rms_norm"},
      {LayerSpec::Kind::dropout, "dropout"},
      {LayerSpec::Kind::softmax, "softmax"},
      {LayerSpec::Kind::exercise_softmax, "softmax.exercise"},
      {LayerSpec::Kind::log, "log"},
      {LayerSpec::Kind::log_softmax, "log_softmax"},
      {LayerSpec::Kind::residual, "residual"}};
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    if (layer.name == name) {
      return layer.kind == LayerSpec::Kind::activation ? spec.activation : words.at(layer.kind);
    }
  }
  return name == "loss" ? entry_of(spec.loss).name : "";
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

}  // namespace twingrad
