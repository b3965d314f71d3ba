#include "twingrad/runtime/signals.h"

#include <initializer_list>

namespace twingrad {
namespace {

thread_local int depth = 0;  ///< the number of guards in this thread

sigset_t all_but_faults() {
  sigset_t set;
  sigfillset(&set);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
    sigdelset(&set, fault);
  }
  return set;
}

}  // namespace

SignalBlockGuard::SignalBlockGuard() {
  if (depth++ == 0) {
    static const sigset_t set = all_but_faults();
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
}

SignalBlockGuard::~SignalBlockGuard() {
  if (--depth == 0) {
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
}

}  // namespace twingrad
