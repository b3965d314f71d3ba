#include "twingrad/mlp/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/fields.h"

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kNetwork = "twingrad.network";

Json metadata_of(const MlpSpec& spec) {
  Json json = {{"inputs", spec.inputs}, {"classes", spec.classes}};
  json.update(fields_to_json(network_fields(), spec));
  json["loss"] = entry_of(spec.loss).name;
  return json;
}

/// Throws an exception of nlohmann, std::invalid_argument or UserError.
MlpSpec parse_network(const std::string& metadata) {
  Json json = Json::parse(metadata);
  json.emplace("input_dropout", 0.0);  // missing in old files
  MlpSpec spec;
  spec.inputs = json.at("inputs");
  spec.classes = json.at("classes");
  fields_from_json(network_fields(), json, spec);
  spec.loss = choose("loss", json.at("loss").get<std::string>(), loss_kinds());
  return spec;
}

/// Whether the shapes can be computed from the widths without overflow.
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

/// Names and shapes of all tensors in a file of such a network.
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

/// The network with the names and shapes of the file.
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
  file.metadata[kNetwork] = metadata_of(spec).dump();
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
                    "'0.bias' [out] and so on, found {} other tensors",
                    file.tensors.size()),
        "save the state dict of such a network, or train it with twingrad");
  }
  std::optional<MlpSpec> spec;
  try {
    spec = parse_network(metadata->second);
  } catch (const std::exception&) {
    throw UserError(where,
                    fmt::format("expected a network in the metadata '{}', found something else", kNetwork),
                    "write the file again");
  }
  // Compare shapes before building anything: a wrong width in the metadata must not allocate memory.
  if (are_possible(*spec, file.tensors.size()) && shapes_of(*spec) == shapes_of(file)) {
    return *spec;
  }
  throw UserError(
      where, fmt::format("expected the tensors of the network in the metadata '{}', found others", kNetwork),
      "write the file again");
}

void load_weights(const Twin& twin, const TensorFile& file, const std::string& where) {
  try {
    load_network(twin, file.tensors);
  } catch (const std::invalid_argument& error) {
    throw UserError(where, error.what(), "choose the network of the file with --hidden and --normalization");
  }
}

}  // namespace twingrad
