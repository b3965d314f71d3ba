#pragma once

#include <signal.h>

namespace twingrad {

/// Blocks all signals in this thread until the end of the scope, except those for a fault of the thread
/// itself (SIGSEGV, …). A blocked signal arrives afterwards. The outermost guard costs half a microsecond,
/// nested ones nothing.
class SignalBlockGuard {
 public:
  SignalBlockGuard();
  SignalBlockGuard(const SignalBlockGuard&) = delete;
  SignalBlockGuard& operator=(const SignalBlockGuard&) = delete;
  ~SignalBlockGuard();

 private:
  sigset_t before_;
};

}  // namespace twingrad
