#include "twingrad/mlp/training_loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>

namespace twingrad {
namespace {

/// What the mean over these labels divides the sum of their losses by.
double count_of(const MlpSpec& spec, const at::Tensor& labels) {
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

}  // namespace

bool LossEntry::takes(LossOption option) const {
  return std::find(options.begin(), options.end(), option) != options.end();
}

const std::vector<LossEntry>& losses() {
  using Kind = LayerSpec::Kind;
  using Target = LossEntry::Target;
  using Option = LossOption;
  static const std::vector<LossEntry> entries = {
      {.kind = LossKind::cross_entropy,
       .name = "cross_entropy",
       .text = "fused, from the logits",
       .tail = {},
       .options = {Option::label_smoothing, Option::class_weights, Option::ignore_index}},
      {.kind = LossKind::class_probabilities,
       .name = "class_probabilities",
       .text = "the same, the labels as rows of probabilities",
       .tail = {},
       .target = Target::row,
       .options = {Option::label_smoothing, Option::class_weights}},
      {.kind = LossKind::softmax_log,
       .name = "softmax_log",
       .text = "the chain softmax, log, mean",
       .tail = {Kind::softmax, Kind::log},
       .target = Target::row},
      {.kind = LossKind::exercise_softmax_log,
       .name = "exercise",
       .text = "the same with the exercise's own softmax, which is not shifted",
       .tail = {Kind::exercise_softmax, Kind::log},
       .target = Target::row},
      {.kind = LossKind::nll,
       .name = "nll",
       .text = "behind a log-softmax",
       .tail = {Kind::log_softmax},
       .options = {Option::class_weights, Option::ignore_index}},
      {.kind = LossKind::kl_divergence,
       .name = "kl_divergence",
       .text = "the same, of labels as rows of probabilities",
       .tail = {Kind::log_softmax},
       .target = Target::smooth_row,
       .is_entrywise = true,
       .options = {Option::label_smoothing, Option::batch_mean, Option::log_target}},
      {.kind = LossKind::bce_with_logits,
       .name = "bce_with_logits",
       .text = "one yes or no a class",
       .tail = {},
       .target = Target::row,
       .is_entrywise = true,
       .options = {Option::class_weights, Option::positive_weights}},
      {.kind = LossKind::mse,
       .name = "mse",
       .text = "the logits against one-hot labels, like the rest",
       .tail = {},
       .target = Target::row,
       .is_entrywise = true},
      {.kind = LossKind::l1,
       .name = "l1",
       .text = "",
       .tail = {},
       .target = Target::row,
       .is_entrywise = true},
      {.kind = LossKind::smooth_l1,
       .name = "smooth_l1",
       .text = "",
       .tail = {},
       .target = Target::row,
       .is_entrywise = true,
       .options = {Option::beta}},
      {.kind = LossKind::huber,
       .name = "huber",
       .text = "",
       .tail = {},
       .target = Target::row,
       .is_entrywise = true,
       .options = {Option::delta}},
  };
  return entries;
}

const LossEntry& entry_of(LossKind kind) {
  for (const LossEntry& entry : losses()) {
    if (entry.kind == kind) {
      return entry;
    }
  }
  throw std::logic_error("a kind of loss without an entry");
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

double mean_loss(const MlpSpec& spec, double reduced, const at::Tensor& labels) {
  const bool may_be_empty = spec.ignore_index.has_value();
  if (spec.reduction == nn::Reduction::mean && !may_be_empty) {
    return reduced;
  }
  const double count = count_of(spec, labels);
  if (may_be_empty && count == 0) {
    return 0;
  }
  return spec.reduction == nn::Reduction::mean ? reduced : reduced / count;
}

}  // namespace twingrad
