#pragma once

#include <signal.h>

namespace twingrad {

/// Blocks all signals in this thread until the end of the scope, except those that report a fault in the
/// thread itself (SIGSEGV, …). Blocked signals are delivered afterwards. The outermost guard costs half a
/// microsecond; nested guards are free.
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
