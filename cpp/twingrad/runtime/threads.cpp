#include "twingrad/runtime/threads.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/ones.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <future>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/control_groups.h"
#include "twingrad/runtime/signals.h"

namespace twingrad {
namespace {

/// A function of a library that is already loaded, or nullptr. These cannot be linked: the matrix library and
/// OpenMP runtime that LibTorch uses are known only at run time.
template <typename Function>
Function* loaded_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

/// "OpenBLAS 0.3.21 NO_LAFC DYNAMIC_ARCH … MAX_THREADS=128" → "OpenBLAS 0.3.21"
std::string first_two_words(const char* config) {
  std::istringstream words(config);
  std::string name;
  std::string version;
  words >> name >> version;
  return name + " " + version;
}

/// Floating-point operations per step above which matrix products are faster with more than one thread of the
/// matrix library. Measured time with one thread relative to two, for the autograd twin 784-98-10 on cores
/// that share a cache: 1.09 at batch size 16 (7e6), 1.04 at 24 (1.1e7), 1.16 at 32 (1.5e7), 1.21 at 48, 1.25
/// at 64, 1.4 at 128. On cores that do not share a cache: 0.82, 0.83, 0.91, 0.98, 1.0 and more.
constexpr double kManyOperations = 1.2e7;

/// The same for oneDNN, which computes on LibTorch's threads. Measured for the manual twin 784-98-10 with
/// batch normalization: 1.08 at batch size 32, 1.15 at 48 (2.2e7), 1.20 at 64, 1.36 at 128. On cores that do
/// not share a cache: 0.64, 0.69, 0.73, 0.84.
constexpr double kManyOperationsWithOneDnn = 2e7;

/// The same for twins that alternate within a step: the library's threads are still spinning when the manual
/// twin begins. At 1.6e8 the autograd twin gains 5 % while the manual twin loses half its speed; at 2.4e8 the
/// autograd twin gains 15 %.
constexpr double kManyOperationsInLockstep = 2e8;

/// Waking a thread for fewer operations takes longer than it saves.
constexpr double kLeastOperationsPerThread = 6e6;

/// The matrix library and those of its functions that were found.
struct Blas {
  std::string name = "reference BLAS (slow: install libopenblas0-pthread)";
  void (*set_threads)(int) = nullptr;
  void (*end_threads)() = nullptr;  ///< ends idle threads; the next set_threads starts them again
};

Blas find_blas() {
  Blas blas;
  if (auto* set = loaded_function<void(int)>("openblas_set_num_threads")) {
    auto* config = loaded_function<char*()>("openblas_get_config");
    auto* parallel = loaded_function<int()>("openblas_get_parallel");
    const int kind = parallel != nullptr ? parallel() : 0;
    blas.name = fmt::format("{}{}", config != nullptr ? first_two_words(config()) : "OpenBLAS",
                            kind == 1   ? " (pthread)"
                            : kind == 2 ? " (OpenMP)"
                                        : "");
    blas.set_threads = set;
    if (kind == 1) {
      blas.end_threads = loaded_function<void()>("blas_thread_shutdown_");
    }
  } else if (auto* set_mkl = loaded_function<void(int)>("MKL_Set_Num_Threads")) {
    blas.name = "MKL";
    blas.set_threads = set_mkl;
  } else if (auto* set_blis = loaded_function<void(int)>("bli_thread_set_num_threads")) {
    blas.name = "BLIS";
    blas.set_threads = set_blis;
  }
  return blas;
}

const Blas& blas() {
  static const Blas found = find_blas();
  return found;
}

/// Throws ThreadsRefused unless there is address space for the buffers of this many threads of OpenBLAS,
/// which waits for them forever.
void require_address_space(int threads) {
  constexpr std::size_t kMegabyte = 1 << 20, kBufferSize = 128 * kMegabyte;
  const std::size_t size = static_cast<std::size_t>(threads) * kBufferSize;
  void* address = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw ThreadsRefused(fmt::format("{} MB of address space", size / kMegabyte));
  }
  munmap(address, size);
}

/// Throws ThreadsRefused unless the system allows this many more threads at once. OpenMP would end the
/// program, and the pool that at::set_num_threads starts would wait for a missing thread forever.
void require_more_threads(int count) {
  const SignalBlockGuard no_signals;
  std::promise<void> all_started;
  const std::shared_future<void> end = all_started.get_future().share();
  std::vector<std::thread> threads;
  bool is_refused = false;
  try {
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([end] { end.wait(); });
    }
  } catch (const std::system_error&) {
    is_refused = true;
  }
  all_started.set_value();
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (is_refused) {
    throw ThreadsRefused(fmt::format("{} more threads", count));
  }
}

/// at::set_num_threads would also start as many threads of the mobile thread pool, which is unused here.
void set_libtorch_threads(int count) {
  auto* set_openmp = loaded_function<void(int)>("omp_set_num_threads");
  if (set_openmp == nullptr) {
    at::set_num_threads(count);
    return;
  }
  set_openmp(count);
  if (count > 1) {  // start the threads now, with signals blocked for their lifetime: see ops/matmul.cpp
    const SignalBlockGuard no_signals;
    at::ones({count * at::internal::GRAIN_SIZE});  // enough elements for every thread
  }
}

}  // namespace

void use_threads(const ThreadSettings& settings) {
  static ThreadSettings current{-1, -1};
  if (settings == current) {
    return;
  }
  const bool is_first = current.blas == -1;
  // LibTorch's pool has one thread per processor.
  static int most = 0;
  const int pool = static_cast<int>(std::thread::hardware_concurrency());
  const int needed = std::max({pool, settings.aten - 1, settings.blas - 1});
  if (needed > most) {
    require_address_space(settings.blas);
    require_more_threads(needed);
    most = needed;
  }
  if (is_first) {
    at::set_num_threads(1);
    at::get_num_threads();  // applies the setting to this thread; a later first call would undo what follows
  }
  set_libtorch_threads(settings.aten);
  if (blas().set_threads != nullptr && settings.blas != current.blas) {
    blas().set_threads(settings.blas);
    if (is_first && settings.blas == 1 && blas().end_threads != nullptr) {
      blas().end_threads();  // OpenBLAS started one per processor before main
    }
  }
  current = settings;
}

void flush_denormal_numbers() { at::globalContext().setFlushDenormal(true); }

std::string blas_library() { return blas().name; }

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown processor";
}

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int processors = sched_getaffinity(0, sizeof set, &set) == 0
                             ? CPU_COUNT(&set)
                             : static_cast<int>(std::thread::hardware_concurrency());
  const double quota = std::ceil(control_group_limits().processors);
  return std::max(1, quota < processors ? static_cast<int>(quota) : processors);
}

int default_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  const long threads = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  return threads > 0 && threads <= kMaxThreads ? static_cast<int>(threads) : available_processors();
}

ThreadsRefused::ThreadsRefused(const std::string& what)
    : UserError("the system", "expected " + what + ", found a lower limit",
                "raise 'ulimit -u', 'ulimit -v' or the container's limit, or choose fewer --threads") {}

std::string ThreadPlan::describe(bool autograd_twin, bool manual_twin,
                                 const std::string& product_library) const {
  const auto threads = [](int count) { return fmt::format("{} thread{}", count, count == 1 ? "" : "s"); };
  std::string text = blas_library();
  if (autograd_twin) {
    text += fmt::format(" · autograd {}", threads(std::max(autograd.aten, autograd.blas)));
  }
  if (manual_twin) {
    text += workers > 1
                ? fmt::format(" · manual {} × {}", workers, threads(std::max(manual.aten, manual.blas)))
                : fmt::format(" · manual {}", threads(std::max(manual.aten, manual.blas)));
    text += product_library.empty() ? "" : " by " + product_library;
  }
  return text;
}

int StepWork::worthwhile_threads(int most) const {
  const double worthwhile = shardable ? std::min(operations() / kLeastOperationsPerThread, rows) : 1;
  return static_cast<int>(std::clamp(worthwhile, 1.0, static_cast<double>(most)));
}

ThreadPlan plan_threads(int requested, const StepWork& work, Twins twins) {
  const int threads = requested > 0 ? requested : default_threads();
  const bool in_lockstep = twins == Twins::both;
  ThreadPlan plan;
  const auto threads_from = [&](double many) { return work.operations() >= many ? threads : 1; };
  if (twins != Twins::manual) {
    plan.autograd.blas = threads_from(in_lockstep ? kManyOperationsInLockstep : kManyOperations);
  }
  if (twins == Twins::autograd) {
    return plan;  // pool threads that gathered a batch would spin on cores that the products need
  }
  // oneDNN computes on LibTorch's threads. In lockstep, the matrix library's threads keep spinning after the
  // autograd twin's products.
  const bool by_onednn = work.float32 && !ops::product_library().empty();
  if (!work.shardable && !(by_onednn && in_lockstep)) {
    (by_onednn ? plan.manual.aten : plan.manual.blas) =
        threads_from(by_onednn ? kManyOperationsWithOneDnn : kManyOperations);
  }
  plan.workers = work.worthwhile_threads(threads);
  return plan;
}

}  // namespace twingrad
