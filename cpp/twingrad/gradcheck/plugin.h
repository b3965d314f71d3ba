#pragma once

#include <torch/version.h>

#include <cstddef>
#include <string>
#include <vector>

#include "twingrad/gradcheck/gradcheck.h"

/// Functions of a shared library that `twingrad check --plugin` checks: see TWINGRAD_GRADCHECK_PLUGIN.
namespace twingrad {

/// A function, and where and how it is checked.
struct GradcheckCase {
  std::string name;
  GradcheckFunction function;
  std::vector<at::Tensor> inputs;   ///< as for gradcheck()
  bool second_derivatives = false;  ///< also gradgradcheck()
  GradcheckOptions options = {};
};

/// What the program reads from the library. The first two must be those of the program.
struct GradcheckPlugin {
  const char* libtorch_version;
  std::size_t case_size;
  std::vector<GradcheckCase> (*cases)();
};

}  // namespace twingrad

/// TWINGRAD_GRADCHECK_PLUGIN { return {{"my_op", my_op, {x, weight}}}; }
/// defines the cases of a library, once. The library needs these headers and LibTorch.
#define TWINGRAD_GRADCHECK_PLUGIN                                                                        \
  static std::vector<::twingrad::GradcheckCase> twingrad_gradcheck_cases();                              \
  extern "C" __attribute__((visibility("default"))) const ::twingrad::GradcheckPlugin*                   \
  twingrad_gradcheck_plugin() {                                                                          \
    static const ::twingrad::GradcheckPlugin plugin = {TORCH_VERSION, sizeof(::twingrad::GradcheckCase), \
                                                       &twingrad_gradcheck_cases};                       \
    return &plugin;                                                                                      \
  }                                                                                                      \
  static std::vector<::twingrad::GradcheckCase> twingrad_gradcheck_cases()
