#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/ops/thread_pool.h"
#include "twingrad/runtime/process_group.h"

namespace twingrad {

/// What a twin computes in a step besides the gradients.
struct StepResult {
  double loss = 0;  ///< mean
  std::int64_t correct = 0;
};

/// The gradient of a batch whose rows are split over processes.
///
///   L = Σ_r w_r/w L_r,    ∂L/∂p = Σ_r w_r/w ∂L_r/∂p       (for the mean; for the sum without w_r/w)
///
/// w_r is the divisor of the mean over the rows of rank r (training_loss.h): their number, or the sum of
/// their class weights, and w = Σ_r w_r. The gradients of all twins, their losses and everything else that
/// the ranks need to know are summed in one all-reduce.
class GradientExchange {
 public:
  /// All references must outlive the exchange.
  GradientExchange(ProcessGroup& group, const MlpSpec& spec, const std::vector<Twin*>& twins);

  /// The rows of this process in a batch of this many. There are none if the batch has fewer rows than ranks.
  Range rows_of(std::int64_t batch) const { return part_of(batch, group_.size(), group_.rank()); }

  /// Replaces gradients and results by those of the entire batch. labels: of this process's rows; batch: the
  /// number of all rows. Returns whether any process wants to stop. Throws OtherRankFailed if one announced a
  /// failure.
  bool sum(const at::Tensor& labels, std::int64_t batch, bool stop, std::vector<StepResult>& results);

  /// Ends the other processes in place of `sum`.
  void announce_failure();

 private:
  /// Sums `numbers` and the gradients in buffer_ over all ranks.
  void sum_buffer(std::vector<double>& numbers);
  /// Calls visit(gradient, part of buffer_ with its shape) for each vector of each twin's gradient.
  void for_each_gradient(const auto& visit);

  ProcessGroup& group_;
  const MlpSpec& spec_;
  std::vector<Twin*> twins_;
  at::Tensor buffer_;  ///< the gradients of all twins, then the numbers
};

}  // namespace twingrad
