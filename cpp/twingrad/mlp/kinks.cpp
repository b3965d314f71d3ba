#include "twingrad/mlp/kinks.h"

#include <ATen/ATen.h>

#include "twingrad/layers/activations.h"
#include "twingrad/mlp/training_loss.h"

namespace twingrad {

std::vector<double> kinks_after(const MlpSpec& spec, std::size_t result) {
  const std::vector<LayerSpec> layers = flat_layers_of(spec);
  for (std::size_t i = 1; i < layers.size(); ++i) {
    // An activation follows a product or a normalization, in a block and outside.
    if (layers[i].kind == LayerSpec::Kind::activation && layers[i - 1].result == result) {
      return nn::find_activation(spec.activation)->kinks;
    }
  }
  return {};
}

std::vector<NamedTensor> kink_distances(const MlpSpec& spec, const std::vector<at::Tensor>& intermediates,
                                        const at::Tensor& labels) {
  const std::vector<std::string> names = result_names(spec);
  std::vector<NamedTensor> distances;
  for (std::size_t i = 0; i < intermediates.size(); ++i) {
    std::vector<at::Tensor> parts;
    for (const double kink : kinks_after(spec, i)) {
      parts.push_back(intermediates[i] - kink);
    }
    if (!parts.empty()) {
      distances.push_back({names[i], at::cat(parts, 1)});
    }
  }
  const bool has_sharp_loss =
      spec.loss == LossKind::l1 || (spec.loss == LossKind::smooth_l1 && spec.smooth_l1_beta == 0);
  if (const std::size_t last = logits_index(spec); has_sharp_loss && last < intermediates.size()) {
    const at::Tensor& input = intermediates[last];
    distances.push_back({names[last], input - target_of(spec, labels, input)});
  }
  return distances;
}

}  // namespace twingrad
