#pragma once

#include <string>
#include <vector>

namespace twingrad {

/// Names of tensors and layers, for the order of the backward pass. results: the names of the results of all
/// layers in forward order, those inside residual blocks last (Twin::intermediates).

/// The layer of a tensor: "2" for "2.weight" and "2.output", "2.0" for "2.0.bias"; for "logits", its place in
/// `results`.
std::string layer_of(const std::string& tensor, const std::vector<std::string>& results);

/// Whether this is the name of a layer's result, not of a parameter.
bool is_result(const std::string& tensor);

/// {2, 0} for the layer "2.0"
std::vector<int> path_of(const std::string& layer);

/// The gradients with these names, in the order in which the backward pass computes them.
std::vector<std::string> in_backward_order(std::vector<std::string> names,
                                           const std::vector<std::string>& results);

}  // namespace twingrad
