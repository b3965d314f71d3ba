#include "twingrad/catalogue/planted_bugs.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "twingrad/catalogue/entry.h"
#include "twingrad/catalogue/optimizers.h"
#include "twingrad/catalogue/schedules.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/fields.h"

namespace twingrad::catalogue {
namespace {

using LayerKind = LayerSpec::Kind;

/// A layer whose backward pass has the bug.
class BuggyLayer final : public nn::Layer {
 public:
  BuggyLayer(std::unique_ptr<nn::Layer> layer, LayerKind kind, std::vector<nn::Parameter> parameters, Bug bug)
      : layer_(std::move(layer)), kind_(kind), parameters_(std::move(parameters)), bug_(std::move(bug)) {}

  Tensor forward(const Tensor& x) override {
    x_ = x;
    return y_ = layer_->forward(x);
  }

  Tensor backward(const Tensor& grad_y) override {
    Tensors inputs = {x_};
    if (kind_ == LayerKind::dropout) {
      inputs.push_back(layer_->backward(at::ones_like(grad_y)) != 0);  // the mask
    }
    Tensors grads = {layer_->backward(grad_y)};
    for (const nn::Parameter& parameter : parameters_) {
      inputs.push_back(parameter.value);
      grads.push_back(parameter.grad.clone());
    }
    const Tensors wrong = bug_.wrong({inputs, y_, grad_y, grads});
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      parameters_[i].grad.copy_(wrong[i + 1]);
    }
    return wrong[0].defined() ? wrong[0].to(grad_y.scalar_type()) : wrong[0];
  }

  void train(bool on = true) override { layer_->train(on); }

 private:
  std::unique_ptr<nn::Layer> layer_;
  LayerKind kind_;
  std::vector<nn::Parameter> parameters_;
  Bug bug_;
  Tensor x_, y_;
};

/// A loss whose backward pass has the bug.
class BuggyLoss final : public nn::Loss {
 public:
  BuggyLoss(std::unique_ptr<nn::Loss> loss, Bug bug)
      : nn::Loss(nn::Reduction::none), loss_(std::move(loss)), bug_(std::move(bug)) {}

 protected:
  Tensor value(const Tensor& input, const Tensor& target) override {
    inputs_ = {input, target};
    return y_ = loss_->forward(input, target);
  }

  Tensor derivative() override {
    const Tensor one = at::ones_like(y_);
    const Tensors grads = {loss_->backward(one).clone()};
    return bug_.wrong({inputs_, y_, one, grads})[0].to(inputs_[0].scalar_type()).clone();
  }

 private:
  std::unique_ptr<nn::Loss> loss_;
  Bug bug_;
  Tensors inputs_;
  Tensor y_;
};

// ---- The entries of a network -----------------------------------------------------------------------------

std::string entry_of_layer(const MlpSpec& network, const LayerSpec& layer) {
  const std::string affine = network.normalization_affine ? "" : ".no_affine";
  switch (layer.kind) {
    case LayerKind::linear:
      return layer.has_bias ? "linear" : "linear.no_bias";
    case LayerKind::batch_norm:
      return "batch_norm" + (affine.empty() && !network.normalization_statistics ? ".no_statistics" : affine);
    case LayerKind::layer_norm:
      return "layer_norm" + affine;
    case LayerKind::rms_norm:
      return "rms_norm" + affine;
    case LayerKind::exercise_softmax:
      return "unshifted_softmax";
    default:
      return describe_layer(network, layer.name);
  }
}

std::string entry_of_loss(const MlpSpec& network) {
  const bool weights = !network.class_weights.empty();
  const bool ignores = network.ignore_index.has_value();
  const bool smooths = network.label_smoothing > 0;
  const std::string sum = network.reduction == nn::Reduction::sum ? ".sum" : "";
  switch (network.loss) {
    case LossKind::cross_entropy: {
      const bool several = int{weights} + int{ignores} + int{smooths} > 1;
      return std::string("cross_entropy") +
             (several   ? ".all_options"
              : weights ? ".class_weights"
              : ignores ? ".ignore_index"
              : smooths ? ".label_smoothing"
                        : "") +
             sum;
    }
    case LossKind::class_probabilities:
      return std::string("cross_entropy.class_probabilities") + (weights || smooths ? ".weighted" : "") + sum;
    case LossKind::softmax_log:
    case LossKind::exercise_softmax_log:
      return "negative_log_likelihood" + sum;
    case LossKind::nll:
      return std::string("nll") + (weights ? ".class_weights" : ignores ? ".ignore_index" : "") + sum;
    case LossKind::bce_with_logits:
      return std::string("bce_with_logits") +
             (weights                             ? ".weight"
              : !network.positive_weights.empty() ? ".pos_weight"
                                                  : "") +
             sum;
    case LossKind::kl_divergence:
      return std::string("kl_divergence") +
             (network.log_target   ? ".log_target"
              : network.batch_mean ? ".batch_mean"
                                   : "") +
             sum;
    default:
      return entry_of(network.loss).name + sum;
  }
}

/// The fields that are not the default of their kind, without the learning rate: "--weight-decay 0.1".
std::string special_options(const OptimizerOptions& options) {
  const OptimizerOptions usual = default_options(options.kind);
  std::string text;
  for (const Field<OptimizerOptions>& field : optimizer_fields().fields) {
    const nlohmann::ordered_json value = field.write(options);
    if (field.option != "--lr" && field.option != "--optimizer" && value != field.write(usual)) {
      text += " " + field.option;
      text += value.is_boolean() ? "" : fmt::format(" {}", value.dump());
    }
  }
  return text;
}

std::string options_of(const OptimizerOptions& options) {
  return "--optimizer " + name_of(optimizer_kinds(), options.kind) + special_options(options);
}

[[noreturn]] void refuse_absent(const std::string& bug, const std::string& entry) {
  const auto& entries = entries_in_networks();
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const EntryInNetwork& known) { return known.entry == entry; });
  const std::string where = "--bug " + bug;
  if (found == entries.end()) {
    throw UserError(where,
                    fmt::format("expected a bug in the training step of a network, found one in {}", entry),
                    fmt::format("use 'twingrad check --bug {}'", bug));
  }
  throw UserError(
      where, fmt::format("expected a network that contains {}, found one without it", entry),
      "add " + (found->options.empty() ? "no options; the default network has it" : found->options));
}

template <typename Entry>
const Entry* entry_with(const std::vector<Entry>& entries, const std::string& bug, std::size_t& index,
                        std::vector<std::string>& known) {
  const Entry* found = nullptr;
  for (const Entry& entry : entries) {
    for (std::size_t i = 0; i < entry.bugs.size(); ++i) {
      known.push_back(entry.bugs[i].name);
      if (entry.bugs[i].name == bug) {
        found = &entry;
        index = i;
      }
    }
  }
  return found;
}

}  // namespace

const std::vector<EntryInNetwork>& entries_in_networks() {
  static const std::vector<EntryInNetwork> entries = [] {
    const std::string weights = "--class-weights 1,2,1,2,1,2,1,2,1,2";
    std::vector<EntryInNetwork> list = {
        {"linear", ""},
        {"linear.no_bias", "--normalization batch"},
        {"matmul", "--bias own"},
        {"bias", "--bias own"},
        {"append_ones", "--bias ones"},
        {"softmax", "--loss softmax_log"},
        {"unshifted_softmax", "--loss exercise"},
        {"log", "--loss softmax_log"},
        {"log_softmax", "--loss nll"},
        {"dropout", "--dropout 0.3"},
        {"residual", "--hidden 64,64 --residual"},
        {"batch_norm", "--normalization batch"},
        {"batch_norm.no_affine", "--normalization batch --no-affine"},
        {"batch_norm.no_statistics", "--normalization batch --no-running-statistics"},
        {"layer_norm", "--normalization layer"},
        {"layer_norm.no_affine", "--normalization layer --no-affine"},
        {"rms_norm", "--normalization rms"},
        {"rms_norm.no_affine", "--normalization rms --no-affine"},
        {"cross_entropy.label_smoothing", "--label-smoothing 0.1"},
        {"cross_entropy.class_weights", weights},
        {"cross_entropy.ignore_index", "--ignore-index 3"},
        {"cross_entropy.all_options", "--label-smoothing 0.1 --ignore-index 3 " + weights},
        {"cross_entropy.class_probabilities", "--loss class_probabilities"},
        {"cross_entropy.class_probabilities.weighted", "--loss class_probabilities --label-smoothing 0.1"},
        {"negative_log_likelihood", "--loss softmax_log"},
        {"nll.class_weights", "--loss nll " + weights},
        {"nll.ignore_index", "--loss nll --ignore-index 3"},
        {"bce_with_logits.weight", "--loss bce_with_logits " + weights},
        {"bce_with_logits.pos_weight", "--loss bce_with_logits --positive-weights 1,2,1,2,1,2,1,2,1,2"},
        {"kl_divergence.log_target", "--loss kl_divergence --label-smoothing 0.1 --log-target"},
        {"kl_divergence.batch_mean", "--loss kl_divergence --batch-mean"}};
    for (const char* loss :
         {"cross_entropy", "nll", "mse", "l1", "smooth_l1", "huber", "bce_with_logits", "kl_divergence"}) {
      list.push_back({loss, std::string("--loss ") + loss});
    }
    const std::size_t count = list.size();
    for (std::size_t i = 0; i < count;
         ++i) {  // the same with the other reduction, where the catalogue has it
      const std::string sum = list[i].entry + ".sum";
      for (const FunctionEntry& entry : loss_entries()) {
        if (entry.name == sum) {
          list.push_back({sum, list[i].options + (list[i].options.empty() ? "" : " ") + "--reduction sum"});
        }
      }
    }
    for (const nn::ActivationEntry& activation : nn::activations()) {
      list.push_back({activation.name, "--activation " + activation.name});
    }
    for (const OptimizerEntry& entry : optimizer_entries()) {
      list.push_back({entry.name, options_of(entry.options)});
    }
    return list;
  }();
  return entries;
}

std::vector<std::string> entries_of(const MlpSpec& network, const OptimizerOptions& optimizer) {
  std::vector<std::string> entries = {entry_of_loss(network)};
  for (const LayerSpec& layer : flat_layers_of(network)) {
    entries.push_back(entry_of_layer(network, layer));
  }
  for (const OptimizerEntry& entry : optimizer_entries()) {
    if (options_of(entry.options) == options_of(optimizer)) {
      entries.push_back(entry.name);
    }
  }
  return entries;
}

ManualParts plant_bug(const std::string& name, const MlpSpec& network, const OptimizerOptions& optimizer) {
  const std::vector<std::string> present = entries_of(network, optimizer);
  const auto require_present = [&](const std::string& entry) {
    if (std::find(present.begin(), present.end(), entry) == present.end()) {
      refuse_absent(name, entry);
    }
  };
  std::vector<std::string> known;
  std::size_t index = 0;
  const std::vector<FunctionEntry> layers = layer_entries();
  if (const FunctionEntry* entry = entry_with(layers, name, index, known)) {
    require_present(entry->name);
    return {.layer = [bug = entry->bugs[index], of = entry->name, network](
                         std::unique_ptr<nn::Layer> layer, const LayerSpec& spec,
                         const std::vector<nn::Parameter>& parameters) -> std::unique_ptr<nn::Layer> {
      if (entry_of_layer(network, spec) != of) {
        return layer;
      }
      return std::make_unique<BuggyLayer>(std::move(layer), spec.kind, parameters, bug);
    }};
  }
  const std::vector<FunctionEntry> losses = loss_entries();
  if (const FunctionEntry* entry = entry_with(losses, name, index, known)) {
    require_present(entry->name);
    return {.loss = [bug = entry->bugs[index]](std::unique_ptr<nn::Loss> loss) -> std::unique_ptr<nn::Loss> {
      return std::make_unique<BuggyLoss>(std::move(loss), bug);
    }};
  }
  const std::vector<OptimizerEntry> optimizers = optimizer_entries();
  if (const OptimizerEntry* entry = entry_with(optimizers, name, index, known)) {
    require_present(entry->name);
    return {.optimizer = entry->bugs[index].make};
  }
  for (const auto& entries : {schedule_entries(), clipping_entries()}) {
    if (const ValuesEntry* entry = entry_with(entries, name, index, known)) {
      refuse_absent(name, entry->name);
    }
  }
  throw UserError("--bug", fmt::format("expected the name of a planted bug, found '{}'", name),
                  "see 'twingrad check --list-bugs'" + suggestion(name, known));
}

}  // namespace twingrad::catalogue
