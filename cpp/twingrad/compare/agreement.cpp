#include "twingrad/compare/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/layers/activations.h"

namespace twingrad {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void compare_gradients(const Twin& autograd, const Twin& manual, Agreement& agreement) {
  const std::vector<NamedTensor> ours = manual.gradients();
  const std::vector<NamedTensor> theirs = autograd.gradients();
  agreement.max_abs_gradient_difference = agreement.max_rel_gradient_difference = -1;
  for (std::size_t i = 0; i < std::max(ours.size(), theirs.size()); ++i) {
    const bool paired = i < ours.size() && i < theirs.size() && ours[i].name == theirs[i].name;
    const auto [absolute, relative] =
        paired ? difference(theirs[i].tensor, ours[i].tensor) : Difference{kInfinity, kInfinity};
    agreement.max_abs_gradient_difference = std::max(agreement.max_abs_gradient_difference, absolute);
    if (relative > agreement.max_rel_gradient_difference) {
      agreement.max_rel_gradient_difference = relative;
      agreement.worst = i < ours.size() ? ours[i].name : theirs[i].name;
    }
  }
  if (ours.empty()) {  // nothing compared is nothing proved
    agreement.max_abs_gradient_difference = agreement.max_rel_gradient_difference = kInfinity;
  }
  agreement.loss_difference = relative_to(std::abs(agreement.autograd_loss - agreement.manual_loss),
                                          std::abs(agreement.autograd_loss));
}

void compare_weights(const Twin& autograd, const Twin& manual, Agreement& agreement) {
  const std::vector<NamedTensor> ours = manual.parameters();
  const std::vector<NamedTensor> theirs = autograd.parameters();
  agreement.max_abs_weight_difference = ours.size() == theirs.size() ? 0 : kInfinity;
  for (std::size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
    agreement.max_abs_weight_difference =
        std::max(agreement.max_abs_weight_difference, difference(theirs[i].tensor, ours[i].tensor).absolute);
  }
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
