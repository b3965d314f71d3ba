#include "twingrad/compare/distance.h"

#include <algorithm>
#include <limits>

namespace twingrad {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const NamedTensor* find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

}  // namespace

LargestDifference largest_difference(const std::vector<NamedTensor>& expected,
                                     const std::vector<NamedTensor>& actual) {
  if (actual.empty() && expected.empty()) {
    return {kInfinity, kInfinity, ""};
  }
  LargestDifference largest;
  const auto add = [&](const std::string& name, const Difference& difference) {
    largest.absolute = std::max(largest.absolute, difference.absolute);
    if (largest.worst.empty() || difference.relative > largest.relative) {
      largest.relative = difference.relative;
      largest.worst = name;
    }
  };
  for (const auto& [name, tensor] : actual) {
    const NamedTensor* other = find(expected, name);
    add(name, difference(other == nullptr ? at::Tensor() : other->tensor, tensor));
  }
  for (const auto& [name, tensor] : expected) {
    if (find(actual, name) == nullptr) {
      add(name, {kInfinity, kInfinity});
    }
  }
  return largest;
}

LargestDifference compare_optimizer_state(const Twin& autograd, const Twin& manual) {
  const std::vector<NamedTensor> theirs = autograd.optimizer_state();
  const std::vector<NamedTensor> ours = manual.optimizer_state();
  return theirs.empty() && ours.empty() ? LargestDifference{} : largest_difference(theirs, ours);
}

LargestDifference compare_weights(const Twin& autograd, const Twin& manual) {
  return largest_difference(autograd.parameters(), manual.parameters());
}

}  // namespace twingrad
