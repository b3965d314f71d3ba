#include "twingrad/mlp/weights.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "twingrad/mlp/training_loss.h"
#include "twingrad/mlp/weight_names.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kNetwork = "twingrad.network";
constexpr std::size_t kDifferencesShown = 4;

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

using Shape = std::vector<std::int64_t>;
using Shapes = std::map<std::string, Shape, decltype(&natural_less)>;

/// Names and shapes of all tensors in a file of such a network, in order.
std::vector<std::pair<std::string, Shape>> named_shapes_of(const MlpSpec& spec) {
  std::vector<std::pair<std::string, Shape>> tensors;
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    tensors.emplace_back(parameter.name, parameter.shape);
  }
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    if (layer.kind == LayerSpec::Kind::batch_norm && spec.normalization_statistics) {
      tensors.emplace_back(layer.name + ".running_mean", Shape{layer.outputs});
      tensors.emplace_back(layer.name + ".running_var", Shape{layer.outputs});
      tensors.emplace_back(layer.name + ".num_batches_tracked", Shape{});
    }
  }
  return tensors;
}

Shapes shapes_of(const MlpSpec& spec) {
  const auto tensors = named_shapes_of(spec);
  return {tensors.begin(), tensors.end(), &natural_less};
}

Shapes shapes_of(const std::vector<NamedTensor>& tensors) {
  Shapes shapes(&natural_less);
  for (const auto& [name, tensor] : tensors) {
    shapes[name] = tensor.sizes().vec();
  }
  return shapes;
}

// ---- Differences, for messages -------------------------------------------------------------------------

std::string with_shape(const std::string& name, const Shape& shape) {
  return fmt::format("\"{}\" [{}]", printable(name), fmt::join(shape, ", "));
}

/// What a file has instead of the expected tensors: "no \"0.bias\" [16]".
std::vector<std::string> differences_of(const Shapes& expected, const Shapes& found) {
  std::vector<std::string> differences;
  for (const auto& [name, shape] : found) {
    const auto other = expected.find(name);
    if (other == expected.end()) {
      differences.push_back("the unknown " + with_shape(name, shape));
    } else if (other->second != shape) {
      differences.push_back(
          fmt::format("{} instead of [{}]", with_shape(name, shape), fmt::join(other->second, ", ")));
    }
  }
  for (const auto& [name, shape] : expected) {
    if (!found.contains(name)) {
      differences.push_back("no " + with_shape(name, shape));
    }
  }
  return differences;
}

std::string join_differences(std::vector<std::string> differences) {
  const std::size_t hidden = differences.size() - std::min(differences.size(), kDifferencesShown);
  differences.resize(differences.size() - hidden);
  return fmt::format("{}{}", fmt::join(differences, ", "),
                     hidden == 0 ? "" : fmt::format(" and {} more", hidden));
}

// ---- Networks without metadata -------------------------------------------------------------------------

/// The combinations of dropout layers, which have no weights but count in the names of the others.
constexpr std::array<std::pair<double, double>, 4> kDropouts{
    {{0.0, 0.0}, {0.0, 0.5}, {0.5, 0.0}, {0.5, 0.5}}};

/// The names of the matrices of linear layers in order.
std::vector<std::string> matrices_in(const Shapes& shapes) {
  std::vector<std::string> names;
  for (const auto& [name, shape] : shapes) {
    if (shape.size() == 2 && name.ends_with(".weight")) {
      names.push_back(name);
    }
  }
  return names;
}

/// A network with these names and shapes, or the one with the fewest differences.
struct Recognition {
  MlpSpec spec;
  std::vector<std::string> differences = {};
};

/// std::nullopt if the matrices are not those of linear layers that follow each other.
std::optional<Recognition> recognize(const Shapes& shapes, const std::string& activation) {
  MlpSpec spec;
  spec.activation = activation;
  spec.hidden.clear();
  const std::vector<std::string> matrices = matrices_in(shapes);
  for (const std::string& name : matrices) {
    const Shape& shape = shapes.at(name);
    if (name == matrices.front()) {
      spec.inputs = shape[1];
    } else if (shape[1] != spec.classes) {
      return std::nullopt;
    } else {
      spec.hidden.push_back(spec.classes);
    }
    spec.classes = shape[0];
  }
  if (matrices.empty() || !are_possible(spec, shapes.size())) {
    return std::nullopt;
  }
  std::optional<Recognition> best;
  for (const auto& [name, normalization] : normalizations()) {
    for (const auto& [input_dropout, dropout] : kDropouts) {
      for (const bool affine : {true, false}) {
        spec.normalization = normalization;
        spec.input_dropout = input_dropout;
        spec.dropout = dropout;
        spec.normalization_affine = affine;
        Recognition candidate{spec, differences_of(shapes_of(spec), shapes)};
        if (!best || candidate.differences.size() < best->differences.size()) {
          best = std::move(candidate);
        }
      }
    }
  }
  return best;
}

/// Why a file without metadata contains no network.
std::string describe_unrecognized(const Shapes& shapes, const std::optional<Recognition>& nearest) {
  for (const auto& [name, shape] : shapes) {
    if (shape.size() > 2) {
      return with_shape(name, shape) + ", which belongs to no linear layer or normalization";
    }
  }
  if (nearest) {
    return join_differences(nearest->differences);
  }
  const std::vector<std::string> matrices = matrices_in(shapes);
  for (std::size_t i = 1; i < matrices.size(); ++i) {
    const Shape& before = shapes.at(matrices[i - 1]);
    const Shape& shape = shapes.at(matrices[i]);
    if (shape[1] != before[0]) {
      return fmt::format("{} behind {}, which has {} outputs", with_shape(matrices[i], shape),
                         with_shape(matrices[i - 1], before), before[0]);
    }
  }
  std::vector<std::string> all;
  for (const auto& [name, shape] : shapes) {
    all.push_back(with_shape(name, shape));
  }
  return all.empty() ? "no tensors" : join_differences(all);
}

// ---- Loading -------------------------------------------------------------------------------------------

/// The tensors with the names that they have in a network with other dropout layers, if the network with the
/// expected tensors differs in nothing else.
std::vector<NamedTensor> with_other_dropout(const std::vector<NamedTensor>& tensors, const Shapes& expected) {
  std::optional<Recognition> found = recognize(shapes_of(tensors), "relu");
  if (!found || !found->differences.empty()) {
    return tensors;
  }
  const auto before = named_shapes_of(found->spec);
  for (const auto& [input_dropout, dropout] : kDropouts) {
    found->spec.input_dropout = input_dropout;
    found->spec.dropout = dropout;
    if (shapes_of(found->spec) != expected) {
      continue;
    }
    const auto after = named_shapes_of(found->spec);
    std::vector<NamedTensor> renamed;
    for (std::size_t i = 0; i < before.size(); ++i) {
      renamed.push_back({after[i].first, find_tensor(tensors, before[i].first, before[i].second)});
    }
    return renamed;
  }
  return tensors;
}

std::int64_t count_non_finite(const at::Tensor& tensor) {
  if (!tensor.is_floating_point()) {
    return 0;
  }
  const bool is_double = tensor.scalar_type() == at::kDouble;
  return tensor.numel() - (is_double ? tensor : tensor.to(at::kFloat)).isfinite().sum().item<std::int64_t>();
}

/// Refuses entries that overflow in the dtype of the network.
void require_range(const std::vector<NamedTensor>& network, const std::vector<NamedTensor>& tensors,
                   const std::string& where) {
  for (const auto& [name, target] : network) {
    const at::Tensor& source = find_tensor(tensors, name, target.sizes());
    if (const std::int64_t count = count_non_finite(source.to(target.scalar_type())); count > 0) {
      throw UserError(fmt::format("{}: tensor \"{}\"", where, printable(name)),
                      fmt::format("expected numbers in the range of {}, found {} of {} entries outside",
                                  at::toString(target.scalar_type()), count, source.numel()),
                      "use --dtype float64, or smaller weights");
    }
  }
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
    const Shapes shapes = shapes_of(file.tensors);
    const std::optional<Recognition> nearest = recognize(shapes, activation);
    if (nearest && nearest->differences.empty()) {
      return nearest->spec;
    }
    throw UserError(
        where,
        fmt::format("expected the weights of linear layers in a torch.nn.Sequential, \"0.weight\" [out, in], "
                    "\"0.bias\" [out] and so on, found {}",
                    describe_unrecognized(shapes, nearest)),
        "number the layers as torch.nn.Sequential does, activations included: Linear with bias, optional "
        "normalization, activation, optional Dropout, …, Linear");
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
  std::vector<std::string> differences = {"impossible widths"};
  if (are_possible(*spec, file.tensors.size())) {
    differences = differences_of(shapes_of(*spec), shapes_of(file.tensors));
  }
  if (differences.empty()) {
    return *spec;
  }
  throw UserError(where,
                  fmt::format("expected the tensors of the network in the metadata '{}', found {}", kNetwork,
                              join_differences(std::move(differences))),
                  "write the file again");
}

TensorFile read_weights(const std::filesystem::path& path, const std::string& where,
                        std::vector<std::string>& notes) {
  TensorFile file = read_tensor_file(path);
  require_finite(file, where);  // with the names of the file
  for (std::string& note : normalize_names(file, where)) {
    notes.push_back(std::move(note));
  }
  return file;
}

void require_finite(const TensorFile& file, const std::string& where) {
  std::vector<std::string> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    if (const std::int64_t count = count_non_finite(tensor); count > 0) {
      tensors.push_back(fmt::format("{} of {} in \"{}\"", count, tensor.numel(), printable(name)));
    }
  }
  if (!tensors.empty()) {
    throw UserError(where,
                    fmt::format("expected finite weights, found entries that are not: {}",
                                join_differences(std::move(tensors))),
                    "use an earlier checkpoint, or train with a smaller learning rate");
  }
}

void require_finite_logits(const at::Tensor& logits, const std::string& where) {
  if (const std::int64_t count = count_non_finite(logits); count > 0) {
    throw UserError(where,
                    fmt::format("expected weights with finite logits, found {} of {} logits that are not",
                                count, logits.numel()),
                    "use other weights; large ones overflow");
  }
}

void load_weights(const Twin& twin, const TensorFile& file, const std::string& where) {
  const std::vector<NamedTensor> network = network_of(twin);
  const Shapes expected = shapes_of(network);
  const std::vector<NamedTensor> tensors =
      shapes_of(file.tensors) == expected ? file.tensors : with_other_dropout(file.tensors, expected);
  const std::vector<std::string> differences = differences_of(expected, shapes_of(tensors));
  if (!differences.empty()) {
    throw UserError(
        where, fmt::format("expected the tensors of the network, found {}", join_differences(differences)),
        "choose the network of the file with --hidden and --normalization");
  }
  require_range(network, tensors, where);
  load_network(twin, tensors);
}

}  // namespace twingrad
