#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/stored_tensor.h"

namespace twingrad {

/// A tensor as a pickle tells of it: a view into a storage, which is another file. The numbers are as the
/// pickle has them, even negative.
struct PickledTensor {
  std::string_view name;  ///< the texts are parts of the pickle
  ElementType type = ElementType::kFloat32;
  std::string_view storage;         ///< the name of its file
  std::int64_t storage_size = 0;    ///< in elements
  std::int64_t offset = 0;          ///< of the first element in the storage, in elements
  std::vector<std::int64_t> shape;  ///< at most 64 dimensions, as many strides
  std::vector<std::int64_t> strides;
};

/// The named tensors of a data.pkl, in its order: of a dict or OrderedDict from name to tensor, or of a tuple
/// or list of (name, tensor) pairs.
///
/// A pickle is a program for a stack machine (Python, Lib/pickletools.py). This machine knows the
/// instructions of protocol 2 that build strings, numbers, tuples, lists and dicts, and four functions that
/// it does itself: those that rebuild a tensor, a torch.nn.Parameter and an OrderedDict, and LibTorch's type
/// tag. It calls nothing. Throws UserError naming `where` and the byte for everything else, for a name that
/// is no UTF-8 or that two tensors have, and for a pickle of more than 4 MiB (150 bytes a tensor are usual).
std::vector<PickledTensor> read_tensor_pickle(std::string_view pickle, const std::string& where);

}  // namespace twingrad
