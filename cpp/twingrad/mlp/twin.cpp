#include "twingrad/mlp/twin.h"

#include <c10/core/GradMode.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <stdexcept>

#include "twingrad/runtime/monotonic_clock.h"

namespace twingrad {

at::Tensor Twin::enqueue_gradients(const at::Tensor& images, const at::Tensor& labels) {
  return at::full({}, compute_gradients(images, labels),
                  at::TensorOptions(images.device()).dtype(at::kDouble));
}

double Twin::compute_gradients(const at::Tensor& images, const at::Tensor& labels) {
  const double start = monotonic_seconds();
  const double loss = forward(images, labels);
  seconds_in_forward_ = monotonic_seconds() - start;
  backward();
  return loss;
}

std::vector<at::Tensor> Twin::gradient_vectors() {
  const std::vector<NamedTensor> all = gradients();
  std::vector<at::Tensor> vectors;
  for (const auto& [name, parameter] : parameters()) {
    vectors.push_back(find_tensor(all, name, parameter.sizes()));
  }
  return vectors;
}

const at::Tensor& find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name,
                              at::IntArrayRef shape) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& tensor) { return tensor.name == name; });
  if (found == tensors.end()) {
    throw std::invalid_argument(c10::str("expected a tensor ", name, " ", shape, ", found none"));
  }
  if (found->tensor.sizes() != shape) {
    throw std::invalid_argument(
        c10::str("expected ", name, " of shape ", shape, ", found ", found->tensor.sizes()));
  }
  return found->tensor;
}

std::vector<NamedTensor> network_of(const Twin& twin) {
  std::vector<NamedTensor> network = twin.parameters();
  for (NamedTensor& buffer : twin.buffers()) {
    network.push_back(std::move(buffer));
  }
  return network;
}

void load_network(const Twin& twin, const std::vector<NamedTensor>& tensors) {
  const std::vector<NamedTensor> network = network_of(twin);
  std::vector<at::Tensor> sources;
  for (const auto& [name, tensor] : network) {
    sources.push_back(find_tensor(tensors, name, tensor.sizes()));
  }
  const c10::NoGradGuard no_gradient;
  for (std::size_t i = 0; i < network.size(); ++i) {
    network[i].tensor.copy_(sources[i]);
  }
}

}  // namespace twingrad
