#pragma once

#include <string>
#include <vector>

#include "../support/archives.h"
#include "../support/refusal.h"
#include "twingrad/io/tensor_pickle.h"

namespace twingrad::testing {

/// The error message for a complete pickle, with protocol and end.
inline std::string refusal_of_pickle(const std::string& pickle) {
  return refusal_of([&] { read_tensor_pickle(pickle, "data.pkl"); });
}
inline std::string refusal(const std::string& instructions) {
  return refusal_of_pickle(pickled(instructions));
}

/// The names of the tensors.
inline std::vector<std::string> names_in(const std::string& instructions) {
  const std::string pickle = pickled(instructions);
  std::vector<std::string> names;
  for (const PickledTensor& read : read_tensor_pickle(pickle, "data.pkl")) names.emplace_back(read.name);
  return names;
}

}  // namespace twingrad::testing
