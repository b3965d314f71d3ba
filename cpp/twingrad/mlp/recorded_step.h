#pragma once

#include <memory>
#include <vector>

#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/mlp/manual_shard.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/optimizer.h"
#include "twingrad/runtime/gpu.h"

namespace twingrad {

/// The manual twin's step on a GPU as two recorded sequences: the gradients of a batch of one size in one
/// place in memory, and the update. The layers have their own buffers, which no other batch resizes.
class RecordedStep {
 public:
  /// Writes gradients to those of `parameters`. spec must outlive the step.
  RecordedStep(const MlpSpec& spec, const FlatParameters& parameters) : shard_(spec, parameters) {}

  /// Whether the step of this network always enqueues the same work: not with dropout masks, running
  /// statistics, or a loss whose divisor depends on the labels.
  static bool is_possible(const MlpSpec& spec);

  /// Computes the gradients, the loss and the logits by replaying. Returns false, without computing anything,
  /// unless this batch has the size and the memory of the previous two.
  bool compute_gradients(const at::Tensor& images, const at::Tensor& labels);
  /// Of the last compute_gradients, valid until the next.
  const at::Tensor& loss() const { return shard_.loss_on_device(); }
  const at::Tensor& logits() const { return logits_; }

  /// One step of the optimizer, which must be the same at each call. Records it at the second call.
  void update(optim::Optimizer& optimizer, at::Tensor& parameters, at::TensorList gradients);
  /// The tensors of the optimizer's state are others now.
  void forget_update();

 private:
  /// A batch's place in memory.
  struct Place {
    const void* images = nullptr;
    const void* labels = nullptr;
    std::int64_t rows = 0;
    bool operator==(const Place&) const = default;
  };
  void record_gradients(const at::Tensor& images, const at::Tensor& labels);

  ManualShard shard_;
  at::Tensor logits_;
  Place recorded_, last_;
  int times_ = 0;    ///< that the last batch's place was seen in sequence
  int updates_ = 0;  ///< since the state of the optimizer was created
  std::unique_ptr<gpu::Graph> gradients_, update_;
};

}  // namespace twingrad
