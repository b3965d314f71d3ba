#pragma once

#include <functional>
#include <string>
#include <vector>

#include "twingrad/gradcheck/detail/numerical.h"

namespace twingrad::gradcheck_detail {

/// An input whose gradient is checked.
struct CheckedInput {
  std::size_t index = 0;  // among the inputs of fn
  Tensor tensor;
  std::string name;
  double step = 0;  // h of the differences
};

/// vᵀJ by a backward pass: from an upstream gradient per slot (undefined: none) to the gradient of each
/// checked input (undefined: none).
using Vjp = std::function<Tensors(const Tensors& upstream)>;

/// The gradients that a backward pass returns, validated, as rows of real numbers.
class AnalyticalRows {
 public:
  /// All arguments must outlive the object.
  AnalyticalRows(const Vjp& vjp, const OutputLayout& layout, const std::vector<CheckedInput>& checked)
      : vjp_(vjp), layout_(layout), checked_(checked), changes_(checked.size()) {}

  /// vᵀJ [C] of each checked input, for an upstream gradient v of one output. Runs the backward twice, for
  /// changes(). Throws CheckStopped for a gradient of the wrong shape or kind, or if
  /// the backward changes `upstream`.
  Tensors rows_for(std::size_t slot, const Tensor& upstream);

  /// J [R, C] for each checked input, row by row from one-hot upstream gradients.
  Tensors jacobians();

  /// How much the gradient of a checked input changed at most when backward ran again.
  struct Change {
    double largest = 0;            ///< |second − first|
    double first = 0, second = 0;  ///< the two values
    std::string output;
  };
  const std::vector<Change>& changes() const { return changes_; }
  /// A message for each gradient whose dtype or device is not its input's.
  const std::vector<std::string>& wrong_dtypes() const { return wrong_dtypes_; }

 private:
  Tensors run(const Tensors& upstreams);
  Tensor validated_reals(const CheckedInput& input, Tensor gradient);

  const Vjp& vjp_;
  const OutputLayout& layout_;
  const std::vector<CheckedInput>& checked_;
  std::vector<Change> changes_;
  std::vector<std::string> wrong_dtypes_;
};

}  // namespace twingrad::gradcheck_detail
