#include "twingrad/ops/thread_pool.h"

#include <ATen/Parallel.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "twingrad/runtime/signals.h"

namespace twingrad {
namespace {

/// How long a thread spins before it sleeps. Sleeping and waking takes about 50 µs, which is longer than the
/// pauses within a small step. During longer pauses (an evaluation, the step of the other twin) threads
/// sleep.
constexpr auto kSpinTime = std::chrono::microseconds(150);

/// Waits until `value` differs from `old`: spins first, then sleeps.
void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  const auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int spin = 0; spin < 32; ++spin) {
      if (changed()) {
        return;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
  value.wait(old, std::memory_order_acquire);
}

/// The core that this thread runs on, or −1.
int core_in_use() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

}  // namespace

ThreadPool::ThreadPool(int count) {
  if (count < 1) {
    throw std::invalid_argument("ThreadPool: the number of threads must be at least 1");
  }
  failures_.resize(static_cast<std::size_t>(count));
  taken_ = std::vector<std::atomic<std::uint32_t>>(static_cast<std::size_t>(count));
  cores_ = std::vector<std::atomic<int>>(static_cast<std::size_t>(count));
  std::fill(cores_.begin(), cores_.end(), -1);
  for (int index = 1; index < count; ++index) {
    threads_.emplace_back([this, index] { serve(index); });
  }
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void ThreadPool::run(int tasks, const std::function<void(int)>& task) {
  if (tasks < 1 || tasks > count()) {
    throw std::invalid_argument("ThreadPool: the number of tasks must be between 1 and count()");
  }
  if (tasks == 1) {
    task(0);
    return;
  }
  const std::uint32_t round = round_.load(std::memory_order_relaxed) + 1;
  task_ = &task;
  unfinished_.store(static_cast<std::uint32_t>(tasks), std::memory_order_relaxed);
  for (std::size_t idle = static_cast<std::size_t>(tasks); idle < taken_.size(); ++idle) {
    taken_[idle].store(round, std::memory_order_relaxed);
  }
  cores_[0].store(core_in_use(), std::memory_order_relaxed);
  round_.store(round, std::memory_order_release);
  round_.notify_all();
  for (int index = 0; index < tasks; ++index) {
    take(index, round);
  }
  for (std::uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    wait_for_change(unfinished_, left);
  }
  for (int index = 0; index < tasks; ++index) {
    if (const std::exception_ptr failure =
            std::exchange(failures_[static_cast<std::size_t>(index)], nullptr)) {
      for (std::exception_ptr& other : failures_) {
        other = nullptr;
      }
      std::rethrow_exception(failure);
    }
  }
}

void ThreadPool::serve(int index) {
  at::set_num_threads(1);             // per thread; otherwise each would start an OpenMP pool
  const SignalBlockGuard no_signals;  // other threads handle them
  std::uint32_t seen = 0;
  while (true) {
    wait_for_change(round_, seen);
    seen = round_.load(std::memory_order_acquire);
    if (closing_) {
      return;
    }
    keep_apart(index);
    take(index, seen);
  }
}

void ThreadPool::keep_apart([[maybe_unused]] int index) {
#if defined(__linux__)
  // The scheduler rarely migrates threads that spin: two of them can share a core for a tenth of a second
  // while another core is idle. Removing the shared core from the affinity mask moves the thread immediately.
  const auto before = cores_.begin() + index;
  const int core = core_in_use();
  before->store(core, std::memory_order_relaxed);
  if (std::find(cores_.begin(), before, core) == before) {
    return;
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return;
  }
  cpu_set_t free = allowed;
  std::for_each(cores_.begin(), before, [&](int other) { CPU_CLR(static_cast<std::size_t>(other), &free); });
  if (CPU_COUNT(&free) > 0 && sched_setaffinity(0, sizeof free, &free) == 0) {
    sched_setaffinity(0, sizeof allowed, &allowed);
  }
#endif
}

void ThreadPool::take(int index, std::uint32_t round) noexcept {
  // A round ends when all its tasks have been taken and run. A late thread with an old round number
  // therefore finds its task taken, and a thread that takes a task may read task_.
  std::uint32_t before = round - 1;
  if (!taken_[static_cast<std::size_t>(index)].compare_exchange_strong(before, round,
                                                                       std::memory_order_acq_rel)) {
    return;
  }
  try {
    (*task_)(index);
  } catch (...) {
    failures_[static_cast<std::size_t>(index)] = std::current_exception();
  }
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    unfinished_.notify_one();
  }
}

}  // namespace twingrad
