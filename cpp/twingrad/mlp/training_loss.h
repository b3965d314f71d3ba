#pragma once

#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"

namespace twingrad {

/// The layers and the labels that a loss needs.
struct LossEntry {
  /// The form in which the loss receives the labels.
  enum class Target {
    class_index,  ///< [N], unchanged
    row,          ///< [N, C]: 1 at the label, 0 elsewhere
    smooth_row,   ///< [N, C]: the same with label smoothing, or its logarithms if log_target is set
  };
  LossKind kind;
  std::string name;                   ///< "huber", as --loss takes it
  std::string text;                   ///< for --help, after the name
  std::vector<LayerSpec::Kind> tail;  ///< the layers between the logits and the loss
  Target target = Target::class_index;
  bool is_entrywise = false;  ///< one loss ℓ per entry, [N, C]; otherwise one per row, [N]
};

/// All losses that a network can be trained with.
const std::vector<LossEntry>& losses();
const Names<LossKind>& loss_kinds();

const LossEntry& entry_of(LossKind kind);

/// The options of the losses, each with the losses it applies to.
const FieldTable<MlpSpec>& loss_fields();

/// The target of the loss for labels [N], int64. Floating-point targets have the dtype and device of `like`
/// [N, C].
at::Tensor target_of(const MlpSpec& spec, const at::Tensor& labels, const at::Tensor& like);

/// Whether the divisor of the mean depends on the labels: with class weights or an ignored class, if the
/// target is a class index. The mean over a batch then differs from the mean of the means over its parts.
bool mean_depends_on_labels(const MlpSpec& spec);

/// The divisor of the mean over these labels: the number of rows N, the number of entries N · C, or the sum
/// of the weights Σ w_t over the rows that are not ignored.
double mean_divisor(const MlpSpec& spec, const at::Tensor& labels);

/// The mean loss of a batch, given the reduced loss L. This is L if the reduction is the mean; a sum is
/// divided by mean_divisor. The mean of a batch whose rows are all ignored is 0 (LibTorch: 0/0), and so is
/// its gradient.
double mean_loss(const MlpSpec& spec, double reduced, const at::Tensor& labels);

/// The same as a tensor on the device. Waits for a GPU only if the divisor depends on the labels.
at::Tensor mean_loss(const MlpSpec& spec, const at::Tensor& reduced, const at::Tensor& labels);

}  // namespace twingrad
