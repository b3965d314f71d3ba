#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/tensor_file.h"

namespace twingrad {

/// Natural order: numbers in the names are compared by value, so "2.weight" comes before "10.weight".
bool natural_less(std::string_view a, std::string_view b);

/// Gives the tensors of a state dict the names and the order of the same network in a torch.nn.Sequential:
///
///   - A prefix of all names, such as "module.", "_orig_mod." or "model.", is stripped.
///   - Layers with other names, such as "fc1" and "fc2", are numbered if their shapes fit in exactly one
///     order. Each may be followed by a batch or layer normalization, if only one fits. An activation is
///     assumed after each layer but the last, behind the normalization.
///   - The bias b of a linear layer directly before a batch normalization with running statistics is
///     subtracted from the running mean μ: (W x + b) − μ = W x − (μ − b). (In training it has no effect,
///     because the mean of the batch contains it too.)
///   - Tensors are sorted by name, layer by layer.
///
/// Returns one line for the user about each change of the first three kinds. Throws UserError, beginning with
/// `where`, for layers with other names whose order is ambiguous or unknown; the message shows how to rename
/// them.
std::vector<std::string> normalize_names(TensorFile& file, const std::string& where);

}  // namespace twingrad
