// Refuses limits of the system under which the program could not even start. OpenBLAS starts its threads
// while it is loaded: without permission for another thread it ends the program, and without memory for a
// thread's buffer it waits forever. LibTorch ends the program if it cannot register its operators. Therefore
// this check runs before the constructors of all shared libraries. Nothing that they set up is available:
// neither the environment of libc nor the C++ streams.

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr std::size_t kMegabyte = 1 << 20;
constexpr std::size_t kBufferSize = 128 * kMegabyte;  // of each of OpenBLAS's threads
constexpr std::size_t kLibrarySize =
    192 * kMegabyte;  // what constructors and a small network were seen to need
constexpr std::size_t kStackSize = 4096;
constexpr int kMaxThreads = 128;  // Debian's OpenBLAS starts no more

const char* environment_value(char** environment, const char* name) {
  const std::size_t length = std::strlen(name);
  for (; *environment != nullptr; ++environment) {
    if (std::strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
      return *environment + length + 1;
    }
  }
  return "";
}

/// The number of threads that OpenBLAS uses from the start, the main thread included.
int openblas_threads(char** environment) {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  const int most = sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 1;
  for (const char* name : {"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"}) {
    if (const int threads = std::atoi(environment_value(environment, name)); threads > 0) {
      return std::min({threads, most, kMaxThreads});
    }
  }
  return std::min(most, kMaxThreads);
}

bool has_address_space(std::size_t size) {
  void* address = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address != MAP_FAILED && munmap(address, size) == 0;
}

int wait_to_be_killed(void*) {
  for (;;) {
    pause();
  }
}

/// Whether this many processes may exist beside this one. A thread counts as a process.
bool has_processes(int count) {
  alignas(64) static char stacks[kMaxThreads][kStackSize];
  pid_t children[kMaxThreads];
  int started = 0;
  for (; started < count; ++started) {
    children[started] = clone(wait_to_be_killed, stacks[started] + kStackSize,
                              CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, nullptr);
    if (children[started] == -1) {
      break;
    }
  }
  for (int i = 0; i < started; ++i) {
    kill(children[i], SIGKILL);
    waitpid(children[i], nullptr, 0);
  }
  return started == count;
}

[[noreturn]] void refuse(unsigned long expected, const char* unit, const char* limit) {
  dprintf(STDERR_FILENO,
          "twingrad: error: the system: expected %lu %s to start, found a lower limit; raise '%s' or the "
          "container's limit, or set OPENBLAS_NUM_THREADS=1\n",
          expected, unit, limit);
  _exit(2);
}

__attribute__((no_sanitize("address", "undefined"))) void check_limits(int, char**, char** environment) {
  const int threads = openblas_threads(environment);
  const std::size_t size = kLibrarySize + static_cast<std::size_t>(threads) * kBufferSize;
  if (!has_address_space(size)) {
    refuse(size / kMegabyte, "MB more address space", "ulimit -v");
  }
  if (!has_processes(threads - 1)) {
    refuse(threads - 1UL, threads == 2 ? "more thread" : "more threads", "ulimit -u");
  }
}

}  // namespace

extern "C" {
/// The dynamic linker calls the functions of this section before all constructors.
[[gnu::section(".preinit_array"), gnu::used]] void (*const twingrad_check_limits)(int, char**,
                                                                                  char**) = check_limits;
}
