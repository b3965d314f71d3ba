#include "twingrad/runtime/memory.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <string>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace twingrad {

void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

bool reports_out_of_memory(std::string_view message) {
  // LibTorch has no exception type for the first two, and only some versions have one for the third.
  constexpr std::array<std::string_view, 4> reports{"DefaultCPUAllocator: can't allocate memory",
                                                    "DefaultCPUAllocator: not enough memory",
                                                    "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED"};
  return std::any_of(reports.begin(), reports.end(),
                     [&](std::string_view report) { return message.find(report) != std::string_view::npos; });
}

double memory_of_machine() {
  struct sysinfo info {};
  sysinfo(&info);
  return (static_cast<double>(info.totalram) + static_cast<double>(info.totalswap)) * info.mem_unit;
}

double memory_in_use() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (double kilobytes = 0; word == "RssAnon:" && status >> kilobytes) {
      return 1024 * kilobytes;
    }
  }
  return 0;
}

}  // namespace twingrad
