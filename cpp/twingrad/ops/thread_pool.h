#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace twingrad {

/// A team of threads that do one piece of work together, over and over: the shards of a batch, the rows of a gather, the
/// slices of an update.
///
/// LibTorch's operations run on one thread inside a task, so a team of N computes on N threads and no more. Between two
/// pieces of work a thread spins for some microseconds, since the next one usually follows at once, and then sleeps: a core
/// that another process wants is given back. A task whose thread has not begun when the caller's own is done (the system has
/// given its core to somebody else) is the caller's; and a thread that the system has put on the caller's core moves away.
class ThreadPool {
 public:
  /// count ≥ 1 threads, the caller's own among them: with 1 no thread is started.
  explicit ThreadPool(int count);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int count() const { return static_cast<int>(threads_.size()) + 1; }

  /// Runs task(0) … task(tasks − 1), task(0) on the caller's thread and each of the others on one of its own or the
  /// caller's, and returns when all are done. tasks is at most count(). Throws what a task threw, the first in their order.
  void run(int tasks, const std::function<void(int)>& task);

 private:
  void serve(int index);
  /// Moves this thread to another core than those of the ones before it, as far as it may use one.
  void keep_apart(int index);
  /// Runs a task of this round, unless it is taken already.
  void take(int index, std::uint32_t round) noexcept;

  const std::function<void(int)>* task_ = nullptr;
  std::vector<std::exception_ptr> failures_;  ///< one a task
  std::atomic<std::uint32_t> round_ = 0;      ///< counts the pieces of work; a thread waits for it to change
  std::vector<std::atomic<std::uint32_t>> taken_;  ///< by task: the last round in which somebody took it
  std::atomic<std::uint32_t> unfinished_ = 0;      ///< tasks of the piece in hand
  std::vector<std::atomic<int>> cores_;            ///< by thread: where it was in its last round
  std::atomic<bool> closing_ = false;
  std::vector<std::thread> threads_;
};

/// The range of part `index` of `parts` nearly equal parts of 0 … count − 1, the larger ones first. It depends on these
/// three numbers alone.
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
