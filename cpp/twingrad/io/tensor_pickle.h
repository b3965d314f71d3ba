#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/stored_tensor.h"

namespace twingrad {

/// A tensor as described by a pickle: a view of a storage, which is a separate file. The numbers are
/// unchecked and may be negative.
struct PickledTensor {
  std::string_view name;  ///< points into the pickle
  ElementType type = ElementType::kFloat32;
  std::string_view storage;           ///< name of its file
  std::int64_t storage_size = 0;      ///< in elements
  std::int64_t offset = 0;            ///< of the first element, in elements
  std::vector<std::int64_t> shape;    ///< at most 64 dimensions
  std::vector<std::int64_t> strides;  ///< one per dimension
};

/// Reads the named tensors of a data.pkl, in order: from a dict or OrderedDict of names and tensors, or from
/// a tuple or list of (name, tensor) pairs.
///
/// A pickle is a program for a stack machine (Python, Lib/pickletools.py). This machine implements the
/// instructions of protocol 2 that build strings, numbers, tuples, lists and dicts, and four functions: those
/// that rebuild a tensor, a torch.nn.Parameter and an OrderedDict, and LibTorch's type tag. It runs no Python
/// code. Throws UserError naming `where` and the byte for everything else, for a name that is a duplicate or
/// not UTF-8, and for a pickle of more than 4 MiB (150 bytes per tensor are typical).
std::vector<PickledTensor> read_tensor_pickle(std::string_view pickle, const std::string& where);

}  // namespace twingrad
