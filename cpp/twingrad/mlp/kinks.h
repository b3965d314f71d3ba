#pragma once

#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/mlp/spec.h"

namespace twingrad {

/// The signed distances x − kink of the last forward, for each result x of a layer that a function with kinks
/// receives: the input of each ReLU, LeakyReLU, SELU and Hardtanh, and the input of an L1 loss, whose kink is
/// the target. Each [N, D · kinks].
///
/// intermediates: in the order of result_names(spec); labels [N], int64.
std::vector<NamedTensor> kink_distances(const MlpSpec& spec, const std::vector<at::Tensor>& intermediates,
                                        const at::Tensor& labels);

/// The kinks of the activation that receives the result at this index of result_names; {} if none does or if
/// it has no kinks.
std::vector<double> kinks_after(const MlpSpec& spec, std::size_t result);

}  // namespace twingrad
