#pragma once

#include <map>
#include <memory>
#include <string>

#include "twingrad/mlp/training_loss.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/runtime/fields.h"
#include "twins.h"

namespace twingrad::testing {

/// A twin with random weights and, after a step, with statistics of its own.
inline std::unique_ptr<ManualTwin> trained_twin(const MlpSpec& spec, at::ScalarType dtype = at::kDouble) {
  auto twin = std::make_unique<ManualTwin>(spec, OptimizerOptions{.lr = 0.1},
                                           draw_initial_parameters(spec, 3), dtype);
  twin->set_dropout_masks(draw_dropout_masks(spec, 8, 1, 1));
  twin->compute_gradients(at::rand({8, spec.inputs}, dtype), at::arange(8).remainder(spec.classes));
  twin->update();
  return twin;
}

/// The weights of such a twin, which outlive the twin.
inline TensorFile trained_weights(const MlpSpec& spec, const std::map<std::string, std::string>& about = {},
                                  at::ScalarType dtype = at::kDouble) {
  const auto twin = trained_twin(spec, dtype);
  TensorFile file = weights_of(*twin, spec, about);
  for (NamedTensor& named : file.tensors) {
    named.tensor = named.tensor.clone();
  }
  return file;
}

inline TensorFile without_metadata(TensorFile file) {
  file.metadata.clear();
  return file;
}

/// The fields of the network and the loss, for comparisons.
inline std::string fields_of(const MlpSpec& spec) {
  return describe_widths(spec) + fields_to_json(network_fields(), spec).dump() + entry_of(spec.loss).name;
}

}  // namespace twingrad::testing
