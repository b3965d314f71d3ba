#pragma once

#include <dlfcn.h>

namespace twingrad {

/// A function of a library that is already loaded, LibTorch's matrix library for instance, or nullptr.
template <typename Function>
Function* loaded_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace twingrad
