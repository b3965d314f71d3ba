#include "twingrad/mlp/training_loss.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "twingrad/runtime/fields.h"

namespace twingrad {
namespace {

/// "cross_entropy (fused, from logits), …"
std::string describe_losses() {
  std::vector<std::string> texts;
  for (const LossEntry& entry : losses()) {
    texts.push_back(entry.name + (entry.text.empty() ? "" : " (" + entry.text + ")"));
  }
  return join_alternatives(texts);
}

}  // namespace

const std::vector<LossEntry>& losses() {
  using Kind = LayerSpec::Kind;
  using enum LossEntry::Target;
  // clang-format off
  static const std::vector<LossEntry> entries = {
    // kind, name, text, layers before the loss, target, whether there is one loss per entry
    {LossKind::cross_entropy, "cross_entropy", "fused, from logits", {}, class_index, false},
    {LossKind::class_probabilities, "class_probabilities", "the same, with labels as rows of probabilities",
     {}, row, false},
    {LossKind::softmax_log, "softmax_log", "softmax, log and mean as separate layers",
     {Kind::softmax, Kind::log}, row, false},
    {LossKind::exercise_softmax_log, "exercise", "the same, with the exercise's unshifted softmax",
     {Kind::exercise_softmax, Kind::log}, row, false},
    {LossKind::nll, "nll", "after a log-softmax", {Kind::log_softmax}, class_index, false},
    {LossKind::kl_divergence, "kl_divergence", "after a log-softmax, with labels as rows of probabilities",
     {Kind::log_softmax}, smooth_row, true},
    {LossKind::bce_with_logits, "bce_with_logits", "one binary decision per class", {}, row, true},
    {LossKind::mse, "mse", "from logits and one-hot labels, like the following", {}, row, true},
    {LossKind::l1, "l1", "", {}, row, true},
    {LossKind::smooth_l1, "smooth_l1", "", {}, row, true},
    {LossKind::huber, "huber", "", {}, row, true},
  };
  // clang-format on
  return entries;
}

const Names<LossKind>& loss_kinds() {
  static const Names<LossKind> names = [] {
    Names<LossKind> list;
    for (const LossEntry& entry : losses()) {
      list.emplace_back(entry.name, entry.kind);
    }
    return list;
  }();
  return names;
}

const FieldTable<MlpSpec>& loss_fields() {
  using O = MlpSpec;
  constexpr NumberRange kWeights = {1e-6, 1e6};  // a weight of 0 could make the mean of a batch 0/0
  static const Names<nn::Reduction> reductions = {{"mean", nn::Reduction::mean}, {"sum", nn::Reduction::sum}};
  // clang-format off
  static const FieldTable<O> table = {"Loss", "--loss", {
    // option, member, range, kinds, label in the heading, help
    choice("--loss", &O::loss, loss_kinds(), {}, "{}", describe_losses()).in_json_as("kind").always_shown(),
    choice("--reduction", &O::reduction, reductions, {}, "reduction {}",
           "minimize the mean or the sum of the batch's losses; the loss shown is the mean"),
    number("--label-smoothing", &O::label_smoothing, {0, 1},
           {"cross_entropy", "class_probabilities", "kl_divergence"}, "label smoothing {}",
           "fraction of each label spread evenly over all classes"),
    numbers("--class-weights", &O::class_weights, kWeights,
            {"cross_entropy", "class_probabilities", "nll", "bce_with_logits"}, "class weights {}",
            "weights of the classes, one per class").without_default(),
    integer("--ignore-index", &O::ignore_index, {0, 255}, {"cross_entropy", "nll"}, "ignoring class {}",
            "class to exclude from the loss; a batch of only this class has loss and gradient 0")
        .without_default(),
    numbers("--positive-weights", &O::positive_weights, kWeights, {"bce_with_logits"}, "positive weights {}",
            "weights of positive examples, one per class").without_default(),
    number("--smooth-l1-beta", &O::smooth_l1_beta, {0, 1e6}, {"smooth_l1"}, "beta {}",
           "error at which the loss changes from quadratic to linear"),
    number("--huber-delta", &O::huber_delta, {1e-6, 1e6}, {"huber"}, "delta {}",
           "error at which the loss changes from quadratic to linear"),
    flag("--batch-mean", &O::batch_mean, {"kl_divergence"}, "mean over images",
         "take the mean over the images, not over images and classes"),
    flag("--log-target", &O::log_target, {"kl_divergence"}, "logarithms of the labels",
         "use the logarithms of the smoothed labels as the target").needs("--label-smoothing 0.1"),
  }};
  // clang-format on
  return table;
}

const LossEntry& entry_of(LossKind kind) {
  for (const LossEntry& entry : losses()) {
    if (entry.kind == kind) {
      return entry;
    }
  }
  throw std::logic_error("unknown loss kind");
}

at::Tensor target_of(const MlpSpec& spec, const at::Tensor& labels, const at::Tensor& like) {
  const LossEntry::Target target = entry_of(spec.loss).target;
  if (target == LossEntry::Target::class_index) {
    return labels;
  }
  at::Tensor rows = at::zeros_like(like).scatter_(1, labels.unsqueeze(1), 1);
  if (target == LossEntry::Target::smooth_row && spec.label_smoothing > 0) {
    rows.mul_(1 - spec.label_smoothing).add_(spec.label_smoothing / static_cast<double>(rows.size(1)));
  }
  return spec.log_target ? rows.log_() : rows;
}

bool mean_depends_on_labels(const MlpSpec& spec) {
  return entry_of(spec.loss).target == LossEntry::Target::class_index &&
         (spec.ignore_index || !spec.class_weights.empty());
}

double mean_divisor(const MlpSpec& spec, const at::Tensor& labels) {
  if (!mean_depends_on_labels(spec)) {
    const std::int64_t rows = labels.size(0);
    const bool by_entry = entry_of(spec.loss).is_entrywise && !spec.batch_mean;
    return static_cast<double>(by_entry ? rows * spec.classes : rows);
  }
  const at::Tensor counted = spec.ignore_index ? labels.masked_select(labels != *spec.ignore_index) : labels;
  if (spec.class_weights.empty()) {
    return static_cast<double>(counted.numel());
  }
  return at::tensor(spec.class_weights, at::TensorOptions(at::kDouble))
      .to(labels.device())
      .index_select(0, counted)
      .sum()
      .item<double>();
}

double mean_loss(const MlpSpec& spec, double reduced, const at::Tensor& labels) {
  const bool may_be_empty = spec.ignore_index.has_value();
  if (spec.reduction == nn::Reduction::mean && !may_be_empty) {
    return reduced;
  }
  const double count = mean_divisor(spec, labels);
  if (may_be_empty && count == 0) {
    return 0;
  }
  return spec.reduction == nn::Reduction::mean ? reduced : reduced / count;
}

at::Tensor mean_loss(const MlpSpec& spec, const at::Tensor& reduced, const at::Tensor& labels) {
  if (mean_depends_on_labels(spec)) {
    return at::full({}, mean_loss(spec, reduced.item<double>(), labels), reduced.options());
  }
  return spec.reduction == nn::Reduction::mean ? reduced : reduced / mean_divisor(spec, labels);
}

}  // namespace twingrad
