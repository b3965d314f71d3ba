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

LargestDifference compare_one_step(Twin& expected, Twin& actual, const Batch& batch) {
  std::vector<NamedTensor> results[2];
  Twin* const twins[2] = {&expected, &actual};
  const auto append = [&](int i, const std::vector<NamedTensor>& tensors, const char* suffix) {
    for (const auto& [name, tensor] : tensors) {
      results[i].push_back({name + suffix, tensor.clone()});
    }
  };
  for (int i = 0; i < 2; ++i) {
    twins[i]->set_dropout_masks(batch.masks);
    twins[i]->forward(batch.images, batch.labels);
    twins[i]->backward();
    append(i, twins[i]->gradients(), ".grad");
    twins[i]->update();
    append(i, twins[i]->parameters(), "");
  }
  if (!expected.optimizer_state().empty() && !actual.optimizer_state().empty()) {
    append(0, expected.optimizer_state(), "");
    append(1, actual.optimizer_state(), "");
  }
  return largest_difference(results[0], results[1]);
}

LargestDifference compare_weights(const Twin& autograd, const Twin& manual) {
  return largest_difference(autograd.parameters(), manual.parameters());
}

}  // namespace twingrad
