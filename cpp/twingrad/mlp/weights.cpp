#include "twingrad/mlp/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "twingrad/layers/activations.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kNetwork = "twingrad.network";

Json to_json(const MlpSpec& spec) {
  return {{"inputs", spec.inputs},
          {"hidden", spec.hidden},
          {"classes", spec.classes},
          {"activation", spec.activation},
          {"bias", name_of(biases(), spec.bias)},
          {"normalization", name_of(normalizations(), spec.normalization)},
          {"affine", spec.normalization_affine},
          {"running_statistics", spec.normalization_statistics},
          {"input_dropout", spec.input_dropout},
          {"dropout", spec.dropout},
          {"residual", spec.residual},
          {"loss", entry_of(spec.loss).name}};
}

template <typename Value>
Value value_of(const Names<Value>& names, const std::string& text) {
  for (const auto& [name, value] : names) {
    if (name == text) {
      return value;
    }
  }
  throw std::invalid_argument("'" + text + "'");
}

/// Throws an exception of JSON's, or std::invalid_argument.
MlpSpec spec_of(const Json& json) {
  Names<LossKind> loss_names;
  for (const LossEntry& entry : losses()) {
    loss_names.emplace_back(entry.name, entry.kind);
  }
  MlpSpec spec;
  spec.inputs = json.at("inputs");
  spec.hidden = json.at("hidden").get<std::vector<std::int64_t>>();
  spec.classes = json.at("classes");
  spec.activation = json.at("activation");
  spec.bias = value_of(biases(), json.at("bias"));
  spec.normalization = value_of(normalizations(), json.at("normalization"));
  spec.normalization_affine = json.at("affine");
  spec.normalization_statistics = json.at("running_statistics");
  spec.input_dropout = json.value("input_dropout", 0.0);  // a file from before there was one has none
  spec.dropout = json.at("dropout");
  spec.residual = json.at("residual");
  spec.loss = value_of(loss_names, json.at("loss"));
  const auto is_share = [](double dropped) { return dropped >= 0 && dropped < 1; };
  if (nn::find_activation(spec.activation) == nullptr || !is_share(spec.dropout) ||
      !is_share(spec.input_dropout)) {
    throw std::invalid_argument("an activation or a dropout that does not exist");
  }
  return spec;
}

/// Whether the widths are such that shapes can be computed from them.
bool are_possible(const MlpSpec& spec, std::size_t tensors) {
  std::vector<std::int64_t> widths = spec.hidden;
  widths.push_back(spec.inputs);
  widths.push_back(spec.classes);
  constexpr std::int64_t kLargest = std::int64_t{1} << 31;
  return spec.hidden.size() <= tensors && std::all_of(widths.begin(), widths.end(), [](std::int64_t width) {
           return width >= 1 && width < kLargest;
         });
}

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

/// Names and shapes of all that a file of such a network holds.
Shapes shapes_of(const MlpSpec& spec) {
  Shapes shapes;
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    shapes[parameter.name] = parameter.shape;
  }
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    if (layer.kind == LayerSpec::Kind::batch_norm && spec.normalization_statistics) {
      shapes[layer.name + ".running_mean"] = shapes[layer.name + ".running_var"] = {layer.outputs};
      shapes[layer.name + ".num_batches_tracked"] = {};
    }
  }
  return shapes;
}

Shapes shapes_of(const TensorFile& file) {
  Shapes shapes;
  for (const auto& [name, tensor] : file.tensors) {
    shapes[name] = tensor.sizes().vec();
  }
  return shapes;
}

/// The network whose names and shapes are those of the file.
std::optional<MlpSpec> recognized(const TensorFile& file, const std::string& activation) {
  MlpSpec spec;
  spec.activation = activation;
  spec.hidden.clear();
  bool is_first = true;
  for (const auto& [name, tensor] : file.tensors) {
    if (tensor.dim() == 2) {
      if (is_first) {
        spec.inputs = tensor.size(1);
      } else {
        spec.hidden.push_back(spec.classes);
      }
      spec.classes = tensor.size(0);
      is_first = false;
    }
  }
  const Shapes shapes = shapes_of(file);
  for (const auto& [name, normalization] : normalizations()) {
    for (const auto& [input_dropout, dropout] : {std::pair(0.0, 0.0), {0.0, 0.5}, {0.5, 0.0}, {0.5, 0.5}}) {
      for (const bool affine : {true, false}) {
        spec.normalization = normalization;
        spec.input_dropout = input_dropout;
        spec.dropout = dropout;
        spec.normalization_affine = affine;
        if (!is_first && shapes_of(spec) == shapes) {
          return spec;
        }
      }
    }
  }
  return std::nullopt;
}

}  // namespace

TensorFile weights_of(const Twin& twin, const MlpSpec& spec,
                      const std::map<std::string, std::string>& about) {
  TensorFile file{twin.parameters(), about};
  file.metadata["format"] = "pt";
  file.metadata[kNetwork] = to_json(spec).dump();
  for (NamedTensor& buffer : twin.buffers()) {
    file.tensors.push_back(std::move(buffer));
  }
  return file;
}

MlpSpec network_of(const TensorFile& file, const std::string& where, const std::string& activation) {
  const auto metadata = file.metadata.find(kNetwork);
  if (metadata == file.metadata.end()) {
    if (std::optional<MlpSpec> spec = recognized(file, activation)) {
      return *spec;
    }
    throw UserError(
        where,
        fmt::format("expected the weights of linear layers in a torch.nn.Sequential, '0.weight' [out, in], "
                    "'0.bias' [out] and so on, found {} tensors that are no such network",
                    file.tensors.size()),
        "save the state dict of one, or train it with twingrad");
  }
  std::optional<MlpSpec> spec;
  try {
    spec = spec_of(Json::parse(metadata->second));
  } catch (const std::exception&) {  // of JSON, or a name that does not exist
    throw UserError(where,
                    fmt::format("expected a network in the metadata '{}', found something else", kNetwork),
                    "write the file anew");
  }
  // A width that is only claimed must not cost memory: shapes are compared before anything is built.
  if (are_possible(*spec, file.tensors.size()) && shapes_of(*spec) == shapes_of(file)) {
    return *spec;
  }
  throw UserError(
      where, fmt::format("expected the tensors of the network in the metadata '{}', found others", kNetwork),
      "write the file anew");
}

void load_weights(const Twin& twin, const TensorFile& file, const std::string& where) {
  try {
    load_network(twin, file.tensors);
  } catch (const std::invalid_argument& error) {
    throw UserError(where, error.what(), "name the network that the file is of: --hidden, --normalization");
  }
}

}  // namespace twingrad
