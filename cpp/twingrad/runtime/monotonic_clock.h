#pragma once

#include <chrono>

namespace twingrad {

/// Seconds of a clock that is never set back, for differences.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace twingrad
