#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/pickle_machine.h"

namespace twingrad {

/// Reads the named tensors of a data.pkl, in order:
///
///   - of a state dict: a dict or OrderedDict of names and tensors
///   - of a checkpoint: a dict that contains a state dict under "model_state_dict", "state_dict" or "model",
///     or under another key if it is the only one
///   - of a module saved by TorchScript or by LibTorch's torch::save: parameters and buffers with the names
///     of its state dict, "0.weight"
///   - of a tuple or list of (name, tensor) pairs
///
/// No code is run; pickle_machine.h describes what a pickle may contain. Throws UserError naming `where` and
/// the byte for everything else, for a name that is a duplicate or not UTF-8, and for a pickle of more than
/// 4 MiB (150 bytes per tensor are typical).
std::vector<PickledTensor> read_tensor_pickle(std::string_view pickle, const std::string& where);

/// Returns the data.pkl of a state dict: a dict of names and contiguous tensors, each with its own storage,
/// "0", "1", …. Offsets and strides are ignored. Python loads it under torch.load's weights_only.
std::string write_tensor_pickle(const std::vector<StoredTensor>& tensors);

}  // namespace twingrad
