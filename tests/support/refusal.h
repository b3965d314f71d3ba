#pragma once

#include <string>

#include "twingrad/runtime/error.h"

namespace twingrad::testing {

/// The message of the UserError that the call throws; "(it was accepted)" if it throws none:
///
///   EXPECT_THAT(refusal_of([&] { read_png(path); }), HasSubstr("expected a PNG image"));
template <typename Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(it was accepted)";
}

}  // namespace twingrad::testing
