#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace twingrad {

/// A pool of threads for many short parallel jobs: the shards of a batch, the rows of a gather, the slices of
/// an update.
///
/// Inside a task, LibTorch's operations run on one thread, so a pool of N threads uses N threads. After a job
/// a thread spins for some microseconds, since the next job usually follows immediately, and then sleeps. The
/// calling thread also runs the tasks whose threads have not started when its own is done, for example
/// because another process occupies their cores. A thread that the scheduler placed on the caller's core
/// moves to another core.
class ThreadPool {
 public:
  /// count ≥ 1 threads including the caller's: a pool of 1 starts no thread.
  explicit ThreadPool(int count);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int count() const { return static_cast<int>(threads_.size()) + 1; }

  /// Runs task(0) … task(tasks − 1), with task(0) on the calling thread and each other task on a pool
  /// thread or the calling thread, and returns when all are done. 1 ≤ tasks ≤ count(). Rethrows the
  /// exception of the first task that threw one.
  void run(int tasks, const std::function<void(int)>& task);

 private:
  void serve(int index);
  /// Moves this thread to a core that no earlier thread of the pool runs on, if the process may use one.
  void keep_apart(int index);
  /// Runs a task of this round unless another thread has taken it.
  void take(int index, std::uint32_t round) noexcept;

  const std::function<void(int)>* task_ = nullptr;
  std::vector<std::exception_ptr> failures_;       ///< one per task
  std::atomic<std::uint32_t> round_ = 0;           ///< counts the jobs; threads wait for it to change
  std::vector<std::atomic<std::uint32_t>> taken_;  ///< per task: the last round in which it was taken
  std::atomic<std::uint32_t> unfinished_ = 0;      ///< tasks left in this round
  std::vector<std::atomic<int>> cores_;            ///< per thread: the core of its last round
  std::atomic<bool> closing_ = false;
  std::vector<std::thread> threads_;
};

/// Part `index` of the range 0 … count − 1 divided into `parts` nearly equal parts, the larger ones first.
struct Range {
  std::int64_t first = 0;
  std::int64_t size = 0;
};
inline Range part_of(std::int64_t count, int parts, int index) {
  const std::int64_t size = count / parts;
  const std::int64_t larger = count % parts;
  return {index * size + std::min<std::int64_t>(index, larger), size + (index < larger ? 1 : 0)};
}

}  // namespace twingrad
