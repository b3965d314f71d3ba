#pragma once

#include <cstdint>

#include "twingrad/losses/loss.h"

namespace twingrad::nn {

/// Options of the losses whose target is a class index.
struct ClassLossOptions {
  Reduction reduction = Reduction::mean;
  Tensor class_weights = {};         ///< w [C], of the dtype of the input; {}: all 1
  std::int64_t ignore_index = -100;  ///< a row with this target has ℓ = 0 and no gradient
};

/// A loss whose target t is a class index, with ℓ in proportion to the weight w_t of that class.
///
///   mean   L = Σ_n ℓ / Σ_n w_t,   both sums over the rows that are not ignored
///
/// This is the mean of the unweighted losses, each counted w_t times. If all rows are ignored it is 0/0 =
/// NaN and the gradient is 0, as in LibTorch.
///
/// input [N, C]; target [N], int64, 0 … C − 1 or ignore_index; ℓ [N].
class ClassLoss : public Loss {
 public:
  explicit ClassLoss(const ClassLossOptions& options)
      : Loss(options.reduction), class_weights_(options.class_weights), ignore_index_(options.ignore_index) {}

 protected:
  /// Sets index_, ignored_ and row_weights_ for these targets.
  void read(const Tensor& target, const Tensor& input) {
    ignored_ = target == ignore_index_;
    index_ = target.masked_fill(ignored_, 0).unsqueeze(1);
    row_weights_ = class_weights_.defined() ? class_weights_.index_select(0, index_.squeeze(1))
                                            : at::ones(target.sizes(), input.options().requires_grad(false));
    row_weights_.masked_fill_(ignored_, 0);
  }

  Tensor count(const Tensor& /*losses*/) override { return row_weights_.sum(); }

  Tensor weigh(const Tensor& grad_loss) override {
    return Loss::weigh(grad_loss).expand(ignored_.sizes()).masked_fill(ignored_, 0);
  }

  Tensor class_weights_;
  std::int64_t ignore_index_;
  Tensor index_;        ///< t [N, 1], 0 where ignored
  Tensor ignored_;      ///< [N]
  Tensor row_weights_;  ///< w_t [N], 0 where ignored
};

}  // namespace twingrad::nn
