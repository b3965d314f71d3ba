#include "twingrad/mlp/weight_names.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// Layers with other names are numbered with a limited effort. Networks that people train need little.
constexpr int kMostSearchSteps = 100'000;
constexpr std::size_t kMostChainedLayers = 200;
constexpr std::size_t kLayersShown = 8;
constexpr std::string_view kWrapper = "_orig_mod.";  // torch.compile, also around single layers

struct NaturalOrder {
  bool operator()(const std::string& a, const std::string& b) const { return natural_less(a, b); }
};

/// The tensors of one layer by the last part of their names, "weight".
using LayerTensors = std::map<std::string, at::Tensor>;
/// By the first part of their names: "fc1", "0".
using Layers = std::map<std::string, LayerTensors, NaturalOrder>;

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

std::string quoted_name(const std::string& name) { return fmt::format("\"{}\"", printable(name)); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The number at `position`, without leading zeros. Moves the position behind it.
std::string_view take_digits(std::string_view text, std::size_t& position) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789", position), text.size());
  const std::size_t begin = std::min(text.find_first_not_of('0', position), end);
  position = end;
  return text.substr(begin, end - begin);
}

// ---- Prefixes ------------------------------------------------------------------------------------------

bool all_start_with(const std::vector<NamedTensor>& tensors, const std::string& prefix) {
  return std::all_of(tensors.begin(), tensors.end(), [&](const NamedTensor& named) {
    return named.name.starts_with(prefix) && named.name.find('.', prefix.size()) != std::string::npos;
  });
}

/// Strips the first part of the names, as long as all have the same and a layer follows it. Returns it.
std::string strip_prefix(std::vector<NamedTensor>& tensors) {
  std::string stripped;
  while (!tensors.empty()) {
    const std::string prefix = tensors.front().name.substr(0, tensors.front().name.find('.') + 1);
    if (prefix.empty() || !all_start_with(tensors, prefix)) break;
    for (NamedTensor& named : tensors) named.name.erase(0, prefix.size());
    stripped += prefix;
  }
  return stripped;
}

/// Removes the wrapper anywhere in the names, unless two would become equal. Returns whether it did.
bool remove_wrapper(std::vector<NamedTensor>& tensors) {
  std::set<std::string> names;
  std::vector<NamedTensor> renamed = tensors;
  for (NamedTensor& named : renamed) {
    for (std::size_t at = 0; (at = named.name.find(kWrapper, at)) != std::string::npos;) {
      named.name.erase(at, kWrapper.size());
    }
    if (!names.insert(named.name).second) return false;
  }
  const bool is_changed = !std::equal(tensors.begin(), tensors.end(), renamed.begin(),
                                      [](const auto& a, const auto& b) { return a.name == b.name; });
  tensors = std::move(renamed);
  return is_changed;
}

// ---- Layers --------------------------------------------------------------------------------------------

Layers layers_in(const TensorFile& file) {
  Layers layers;
  for (const auto& [name, tensor] : file.tensors) {
    const std::size_t dot = name.rfind('.');
    const std::string layer = dot == std::string::npos ? "" : name.substr(0, dot);
    layers[layer].emplace(name.substr(dot + 1), tensor);
  }
  return layers;
}

std::vector<NamedTensor> tensors_in(const Layers& layers) {
  constexpr std::array<const char*, 5> kOrder{"weight", "bias", "running_mean", "running_var",
                                              "num_batches_tracked"};
  std::vector<NamedTensor> tensors;
  for (const auto& [layer, members] : layers) {
    const auto add = [&, &prefix = layer](const std::string& name, const at::Tensor& tensor) {
      tensors.push_back({prefix.empty() ? name : prefix + "." + name, tensor});
    };
    for (const char* name : kOrder) {
      if (const auto found = members.find(name); found != members.end()) add(name, found->second);
    }
    for (const auto& [name, tensor] : members) {
      if (std::find(kOrder.begin(), kOrder.end(), name) == kOrder.end()) add(name, tensor);
    }
  }
  return tensors;
}

bool is_linear(const LayerTensors& layer) {
  const auto weight = layer.find("weight");
  return weight != layer.end() && weight->second.dim() == 2;
}

/// Whether the layer has no other tensors than these.
bool has_only(const LayerTensors& layer, const std::set<std::string>& names) {
  return std::all_of(layer.begin(), layer.end(),
                     [&](const auto& member) { return names.contains(member.first); });
}

/// The width of a batch or layer normalization, if the layer is one. A weight alone could be that of a PReLU.
std::optional<std::int64_t> normalized_width(const LayerTensors& layer) {
  const bool is_batch = layer.contains("running_mean") && layer.contains("running_var");
  const bool is_layer = layer.contains("weight") && layer.contains("bias") && layer.size() == 2;
  if ((!is_batch && !is_layer) ||
      !has_only(layer, {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})) {
    return std::nullopt;
  }
  const at::Tensor& tensor = layer.at(is_batch ? "running_mean" : "weight");
  return tensor.dim() == 1 ? std::optional(tensor.size(0)) : std::nullopt;
}

/// Whether all names are those of a torch.nn.Sequential, also nested: "0", "2.1".
bool are_numbers(const Layers& layers) {
  return std::all_of(layers.begin(), layers.end(), [](const auto& layer) {
    const std::string& name = layer.first;
    return !name.empty() && is_digit(name.front()) &&
           name.find_first_not_of("0123456789.") == std::string::npos;
  });
}

// ---- Layers with other names ---------------------------------------------------------------------------

/// Finds the orders of linear layers in which each takes the outputs of the one before it.
class ChainSearch {
 public:
  explicit ChainSearch(const std::vector<const LayerTensors*>& layers) : is_used_(layers.size()) {
    for (const LayerTensors* layer : layers) weights_.push_back(layer->at("weight"));
    if (layers.size() <= kMostChainedLayers) extend();
  }

  /// Of the layers, in order; empty if there is no chain.
  const std::vector<std::size_t>& chain() const { return chain_; }
  bool is_unique() const { return found_ == 1 && steps_ < kMostSearchSteps; }

 private:
  void extend() {
    if (++steps_ >= kMostSearchSteps || found_ > 1) return;
    if (order_.size() == weights_.size() && ++found_ == 1) chain_ = order_;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const bool fits = order_.empty() || weights_[order_.back()].size(0) == weights_[i].size(1);
      if (is_used_[i] || !fits) continue;
      is_used_[i] = true;
      order_.push_back(i);
      extend();
      order_.pop_back();
      is_used_[i] = false;
    }
  }

  std::vector<at::Tensor> weights_;
  std::vector<bool> is_used_;
  std::vector<std::size_t> order_, chain_;
  int found_ = 0, steps_ = 0;
};

/// Numbers layers with other names as a torch.nn.Sequential does.
class ChainNames {
 public:
  ChainNames(const Layers& layers, const std::string& where) : layers_(layers), where_(where) {
    for (const auto& [name, layer] : layers_) {
      if (is_linear(layer)) linear_.push_back(name);
    }
  }

  /// The new name of each layer. Throws UserError if the order of the layers is ambiguous or unknown.
  std::map<std::string, std::string> find() const {
    require_known_layers();
    std::vector<const LayerTensors*> candidates;
    for (const std::string& name : linear_) candidates.push_back(&layers_.at(name));
    const ChainSearch search(candidates);
    if (!search.is_unique()) {
      refuse(search.chain().empty() ? "layers that fit in no order" : "layers that fit in several orders");
    }
    std::vector<std::string> chain;
    for (const std::size_t index : search.chain()) chain.push_back(linear_[index]);
    return numbered(chain);
  }

 private:
  [[noreturn]] void refuse(const std::string& found) const {
    std::vector<std::string> shapes, renames;
    for (std::size_t i = 0; i < std::min(linear_.size(), kLayersShown); ++i) {
      shapes.push_back(
          fmt::format("{} {}", quoted_name(linear_[i]), shape_of(layers_.at(linear_[i]).at("weight"))));
      renames.push_back(fmt::format("{} to \"{}\"", quoted_name(linear_[i]), i * stride()));
    }
    const char* more = linear_.size() > kLayersShown ? ", …" : "";
    throw UserError(where_,
                    fmt::format("expected layers whose shapes fit in one order, found {}: {}{}", found,
                                fmt::join(shapes, ", "), more),
                    fmt::format("rename them in their order as torch.nn.Sequential does, for example {}{}{}",
                                fmt::join(renames, ", "), more,
                                stride() == 3 ? "; a normalization gets the number after its layer" : ""));
  }

  /// Each linear layer is followed by an activation, and by a normalization if there is one.
  std::size_t stride() const { return linear_.size() == layers_.size() ? 2 : 3; }

  void require_known_layers() const {
    for (const auto& [name, layer] : layers_) {
      const bool is_known =
          is_linear(layer) ? has_only(layer, {"weight", "bias"}) : normalized_width(layer).has_value();
      if (is_known) continue;
      std::vector<std::string> members;
      for (const auto& [member, tensor] : layer) {
        members.push_back(fmt::format("\"{}\" {}", printable(name.empty() ? member : name + "." + member),
                                      shape_of(tensor)));
      }
      throw UserError(
          where_,
          fmt::format("expected linear layers and batch or layer normalizations, found {}",
                      fmt::join(members, ", ")),
          "name the layers as torch.nn.Sequential does, \"0\", \"2\", …, or save another network");
    }
  }

  std::map<std::string, std::string> numbered(const std::vector<std::string>& chain) const {
    std::map<std::string, std::string> names;
    for (std::size_t i = 0; i < chain.size(); ++i) names[chain[i]] = std::to_string(i * stride());
    std::set<std::string> taken;
    for (const auto& [name, layer] : layers_) {
      if (is_linear(layer)) continue;
      std::vector<std::size_t> places;
      for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
        if (layers_.at(chain[i]).at("weight").size(0) == normalized_width(layer)) places.push_back(i);
      }
      const std::string place = places.size() == 1 ? std::to_string(places.front() * stride() + 1) : "";
      if (place.empty() || !taken.insert(place).second) {
        refuse(fmt::format("no single place for the normalization {} of width {}", quoted_name(name),
                           *normalized_width(layer)));
      }
      names[name] = place;
    }
    return names;
  }

  const Layers& layers_;
  const std::string& where_;
  std::vector<std::string> linear_;
};

/// Renames the layers. Returns a line about it.
std::string number_layers(Layers& layers, const std::string& where) {
  const std::map<std::string, std::string> names = ChainNames(layers, where).find();
  Layers numbered;
  for (const auto& [name, number] : names) numbered[number] = std::move(layers.at(name));
  std::vector<std::string> changes;
  for (const auto& [number, layer] : numbered) {
    const auto old = std::find_if(names.begin(), names.end(),
                                  [&, &wanted = number](const auto& name) { return name.second == wanted; });
    if (changes.size() < kLayersShown)
      changes.push_back(
          fmt::format("{} as {}", old->first.empty() ? "the only one" : quoted_name(old->first), number));
  }
  const char* more = numbered.size() > kLayersShown ? ", …" : "";
  layers = std::move(numbered);
  return fmt::format("{}: numbered the layers by their shapes: {}{}", where, fmt::join(changes, ", "), more);
}

// ---- A bias before a batch normalization ---------------------------------------------------------------

/// "2.0" → "2.1"
std::string next_name(const std::string& name) {
  const std::size_t number = name.rfind('.') + 1;
  return name.substr(0, number) + std::to_string(std::strtoull(name.c_str() + number, nullptr, 10) + 1);
}

/// Subtracts the bias of a layer from the running mean after it. Returns whether it did.
bool fold_bias(LayerTensors& layer, LayerTensors& next) {
  const auto bias = layer.find("bias");
  const auto mean = next.find("running_mean");
  if (!is_linear(layer) || bias == layer.end() || mean == next.end()) return false;
  if (bias->second.dim() != 1 || bias->second.sizes() != mean->second.sizes()) return false;
  const at::ScalarType dtype = at::promote_types(mean->second.scalar_type(), at::kFloat);
  mean->second = mean->second.to(at::kDouble).sub(bias->second.to(at::kDouble)).to(dtype);
  layer.erase(bias);
  return true;
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const std::string_view x = take_digits(a, i), y = take_digits(b, j);
      if (x != y) return std::pair(x.size(), x) < std::pair(y.size(), y);
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i, ++j;
    }
  }
  const bool has_more = i < a.size(), other_has_more = j < b.size();
  return has_more == other_has_more ? a < b : other_has_more;
}

std::vector<std::string> normalize_names(TensorFile& file, const std::string& where) {
  std::vector<std::string> notes;
  if (const std::string prefix = strip_prefix(file.tensors); !prefix.empty()) {
    notes.push_back(fmt::format("{}: stripped the prefix {} from the names of {} tensors", where,
                                quoted_name(prefix), file.tensors.size()));
  }
  if (remove_wrapper(file.tensors)) {
    notes.push_back(fmt::format("{}: removed \"{}\" from the names", where, kWrapper));
  }
  Layers layers = layers_in(file);
  const bool has_linear =
      std::any_of(layers.begin(), layers.end(), [](const auto& layer) { return is_linear(layer.second); });
  if (has_linear && !are_numbers(layers)) notes.push_back(number_layers(layers, where));
  for (auto& [name, layer] : layers) {
    const auto next = layers.find(next_name(name));
    if (next != layers.end() && fold_bias(layer, next->second)) {
      notes.push_back(fmt::format("{}: subtracted {}.bias from {}.running_mean, which has the same effect",
                                  where, name, next->first));
    }
  }
  file.tensors = tensors_in(layers);
  return notes;
}

}  // namespace twingrad
