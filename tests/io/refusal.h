#pragma once

#include <string>

#include "twingrad/runtime/error.h"

namespace twingrad::testing {

/// The message of the UserError that the function throws.
template <typename Function>
std::string refusal_of(const Function& function) {
  try {
    function();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(it was accepted)";
}

}  // namespace twingrad::testing
