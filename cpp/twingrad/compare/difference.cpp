#include "twingrad/compare/difference.h"

#include <cmath>
#include <limits>

namespace twingrad {
namespace {

constexpr Difference kCannotAgree = {std::numeric_limits<double>::infinity(),
                                     std::numeric_limits<double>::infinity()};

double largest(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
}

}  // namespace

double relative_to(double absolute, double scale) {
  if (absolute == 0 && !std::isnan(scale)) {
    return 0;
  }
  return scale > 0 && std::isfinite(absolute) ? absolute / scale : std::numeric_limits<double>::infinity();
}

Difference difference(const at::Tensor& expected, const at::Tensor& actual) {
  if (!expected.defined() || !actual.defined() || expected.sizes() != actual.sizes()) {
    return kCannotAgree;
  }
  const at::Tensor a = expected.to(at::kDouble);
  const double absolute = largest(a - actual.to(at::kDouble));  // NaN spreads through max
  if (!std::isfinite(absolute)) {
    return kCannotAgree;
  }
  return {absolute, relative_to(absolute, largest(a))};
}

}  // namespace twingrad
