#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/compare/batch.h"
#include "twingrad/compare/comparison.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// Compares the gradients of two twins, tensor by tensor, at the weights and buffers of the manual twin.
///
/// **Reference.** In float32 the same network in float64 (Twin::in_float64) judges both twins; its own
/// rounding errors are negligible. In float64 there is no finer reference, so the autograd twin is it.
///
/// **Bound.** The reference also computes its gradients with simulated rounding errors of the twins' dtype
/// (mlp/rounding_noise.h). The largest change of a tensor in several such passes is its noise e. The errors
/// of the two twins, m and a, must satisfy
///
///   a ≤ 5 k e    and    m ≤ k e + 4 min(a, k e)        k = 32
///
/// The manual twin may therefore be a few times less accurate than the autograd twin. Both may have k times
/// the simulated noise, because few passes sample it: in 10,000 random networks, the largest m of most was
/// e / 8 to e, 46 exceeded 2 e, and the largest was 20 e. If k e exceeds the tensor itself, as for a gradient
/// that cancels to 0, k is 1024.
///
/// **Kinks.** A row with an input of an activation on one side of a kink in one twin, and on the other side
/// in the other twin or in the reference, has a legitimately different gradient. Such rows are set aside in
/// all three, but only if the three inputs differ by no more than rounding; the others are computed again
/// without them, until there are none. Only the forward pass decides, so a wrong backward cannot hide.
///
/// **Paths.** The intermediate gradients are those of forward and backward, and the gradients of the
/// parameters those of compute_gradients, the path that trains. If these two disagree, the worse one is
/// shown.
class TwinComparer {
 public:
  /// Both twins must outlive the comparer. They must have the same tensors and dtype; what one lacks differs.
  TwinComparer(Twin& manual, Twin& autograd);
  ~TwinComparer();

  /// Compares loss, logits, buffers and all gradients. Afterwards, both twins have the weights and buffers
  /// that they had before.
  Comparison compare(const Batch& batch);

  /// The same. Then all optimizers make one step with the gradient of the manual twin, and their states and
  /// the updated parameters are compared too. Afterwards, both twins have the updated parameters.
  Comparison compare_with_update(const Batch& batch);

 private:
  struct Pass;

  void run_forward(const Batch& batch);
  /// Removes rows near a kink from the batch of the last run_forward. Returns whether there were any and some
  /// are left.
  bool set_rows_aside(Comparison& comparison, Batch& batch);
  /// Returns false if a normalization divides rounding errors by a standard deviation of their own size.
  bool measure_noise(const Batch& batch, const Pass& exact);
  void compare_gradients(Comparison& comparison, const Batch& batch);
  void compare_update(Comparison& comparison);
  TensorComparison judged(const std::string& name, const at::Tensor& manual, const at::Tensor& autograd,
                          const at::Tensor& reference, double noise) const;
  void append_rows(Comparison& comparison, const Pass& manual, const Pass& autograd, const Pass& exact);
  void use_path_that_trains(Comparison& comparison, const Batch& batch, const Pass& autograd,
                            const Pass& exact);
  void find_fault(Comparison& comparison) const;
  std::string forward_fault(const Pass& manual, const Pass& autograd, const Pass& exact) const;
  std::string described(const std::string& layer) const;
  std::string layer_at_fault(const std::string& gradient) const;
  Twin& judge() { return reference_ ? *reference_ : autograd_; }
  at::ScalarType judge_dtype() const { return reference_ ? at::kDouble : dtype_; }

  Twin& manual_;
  Twin& autograd_;
  std::unique_ptr<Twin> reference_;  ///< null: the autograd twin
  at::ScalarType dtype_;
  double epsilon_ = 0;                    ///< of this dtype
  std::map<const Twin*, double> losses_;  ///< of the last run_forward
  std::vector<NamedTensor> start_;  ///< parameters and buffers of the manual twin, at which all are compared
  std::map<std::string, double> noise_;    ///< by name of the tensor
  std::vector<std::string> result_names_;  ///< in forward order; those inside residual blocks last
  std::string forward_fault_;              ///< the first layer whose result differs
  std::int64_t rows_left_ = 0;             ///< that were not set aside
};

/// One comparison, without an update.
Comparison compare_twins(Twin& manual, Twin& autograd, const Batch& batch);

}  // namespace twingrad
