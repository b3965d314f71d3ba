#pragma once

#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"

namespace twingrad {

/// What only some losses take.
enum class LossOption {
  label_smoothing,
  class_weights,
  ignore_index,
  positive_weights,
  beta,
  delta,
  batch_mean,
  log_target
};

/// What a loss asks of the network, of the labels and of the options: the one place that knows.
struct LossEntry {
  /// As what the labels reach the loss.
  enum class Target {
    class_index,  ///< [N], as they are
    row,          ///< [N, C]: 1 at the label, 0 elsewhere
    smooth_row,   ///< [N, C]: the same with label smoothing, and logarithms of it where log_target says so
  };
  LossKind kind;
  std::string name;                   ///< "huber", as --loss takes it
  std::string text;                   ///< for --help, behind the name
  std::vector<LayerSpec::Kind> tail;  ///< the layers between the logits and the loss
  Target target = Target::class_index;
  bool is_entrywise = false;  ///< one loss ℓ an entry, [N, C]; otherwise one a row, [N]
  std::vector<LossOption> options = {};

  bool takes(LossOption option) const;
};

/// All losses that a network can be trained with.
const std::vector<LossEntry>& losses();

const LossEntry& entry_of(LossKind kind);

/// What the loss is given beside the network's result: from labels [N], int64, of the dtype and device of `like` [N, C].
at::Tensor target_of(const MlpSpec& spec, const at::Tensor& labels, const at::Tensor& like);

/// Whether what the mean divides by depends on the labels: class weights or an ignored class, with a class index as the
/// target. Then the mean over a batch is not that of the means over its parts.
bool mean_depends_on_labels(const MlpSpec& spec);

/// The mean loss of a batch, from the loss L that its reduction gave. L itself if that was the mean; a sum is divided by
/// what the mean would have divided it by: the rows N, the entries N · C, or the weights of the labels Σ w_t over rows
/// that are not ignored. A batch whose rows are all ignored has the mean 0 (LibTorch: 0/0), and the gradient 0.
double mean_loss(const MlpSpec& spec, double reduced, const at::Tensor& labels);

}  // namespace twingrad
