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
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::string_view storage;           ///< name of its file; points into the pickle
  std::int64_t storage_size = 0;      ///< in elements
  std::int64_t offset = 0;            ///< of the first element, in elements
  std::vector<std::int64_t> shape;    ///< at most 64 dimensions
  std::vector<std::int64_t> strides;  ///< one per dimension
};

/// The value that a pickle builds, and all values inside it. They are in one array and refer to each other by
/// index, so they can be nested to any depth and even contain themselves.
struct Pickle {
  using Handle = std::uint32_t;

  enum class Kind {
    kNone,
    kBoolean,
    kInteger,
    kFloat,
    kString,
    kTuple,
    kList,
    kDict,
    kModule,  ///< of TorchScript or of LibTorch's torch::save
    kFunction,
    kModuleClass,
    kType,
    kStorage,
    kTensor,
    kOther  ///< a torch.device, a dtype, a Counter, bytes, an int of more than 64 bits
  };

  struct Value {
    Kind kind = Kind::kNone;
    std::int64_t number = 0;    ///< an integer, or the index of an ElementType, storage or tensor
    std::string_view text;      ///< of a string; points into the pickle
    std::vector<Handle> items;  ///< of a tuple or list; of a dict or module: key, value, key, value, …
  };

  std::vector<Value> values;
  std::vector<PickledTensor> tensors;  ///< without names; also storages, which have no shape
  Handle result = 0;
};

/// "a dict", for messages.
std::string_view describe(Pickle::Kind kind);

/// Runs a pickle, which is a program for a stack machine (Python, Lib/pickletools.py).
///
/// This machine implements the instructions of protocols 2 to 5 that build strings, numbers, tuples, lists,
/// dicts and modules, and a few functions: those that rebuild a tensor, a torch.nn.Parameter, an OrderedDict,
/// a Counter, bytes, a torch.Size and a torch.device, and LibTorch's type tag. It runs no Python code. Throws
/// UserError naming `where` and the byte for everything else.
Pickle run_pickle(std::string_view pickle, const std::string& where);

}  // namespace twingrad
