#include "twingrad/compare/compare_twins.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/layers/activations.h"

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

void compare_gradients(const Twin& autograd, const Twin& manual, Agreement& agreement) {
  const LargestDifference largest = largest_difference(autograd.gradients(), manual.gradients());
  agreement.max_abs_gradient_difference = largest.absolute;
  agreement.max_rel_gradient_difference = largest.relative;
  agreement.worst = largest.worst;
  agreement.loss_difference = relative_to(std::abs(agreement.autograd_loss - agreement.manual_loss),
                                          std::abs(agreement.autograd_loss));
}

LargestDifference compare_optimizer_state(const Twin& autograd, const Twin& manual) {
  const std::vector<NamedTensor> theirs = autograd.optimizer_state();
  const std::vector<NamedTensor> ours = manual.optimizer_state();
  return theirs.empty() && ours.empty() ? LargestDifference{} : largest_difference(theirs, ours);
}

void compare_weights(const Twin& autograd, const Twin& manual, Agreement& agreement) {
  agreement.max_abs_weight_difference =
      largest_difference(autograd.parameters(), manual.parameters()).absolute;
}

void count_flips(const MlpSpec& spec, const Twin& autograd, const Twin& manual, Agreement& agreement) {
  const std::vector<double>& kinks = nn::find_activation(spec.activation)->kinks;
  if (kinks.empty() || spec.hidden.empty()) {
    return;
  }
  const std::vector<NamedTensor> ours = manual.intermediates();
  const std::vector<NamedTensor> theirs = autograd.intermediates();
  const std::vector<LayerSpec> layers = flat_layers_of(spec);
  for (std::size_t i = 1; i < layers.size(); ++i) {
    if (layers[i].kind != LayerSpec::Kind::activation) {
      continue;
    }
    const std::size_t input = layers[i - 1].result;  // a product or a normalization, in a block and outside
    for (const double kink : kinks) {
      const at::Tensor flipped = (theirs[input].tensor > kink) != (ours[input].tensor > kink);
      if (const auto count = flipped.sum().item<std::int64_t>(); count > 0) {
        agreement.flips[ours[layers[i].result].name] += count;
      }
    }
  }
}

double agreement_bound(const MlpSpec& spec, at::ScalarType dtype, double largest_logit,
                       bool weights_are_given) {
  const bool is_double = dtype == at::kDouble;
  if (!weights_are_given && spec.initialization == Initialization::uniform &&
      spec.normalization == Normalization::none && spec.hidden.size() <= 3) {
    return is_double ? 1e-13 : 1e-6;
  }
  const double epsilon =
      is_double ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon();
  return 64 * epsilon * std::max(1.0, largest_logit);
}

}  // namespace twingrad
