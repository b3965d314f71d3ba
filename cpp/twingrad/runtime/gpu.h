#pragma once

#include <functional>
#include <memory>
#include <string>

/// What training on a GPU needs beyond tensor operations. Only a build with a LibTorch for CUDA has it; in
/// any other, a constructor throws std::logic_error. (There, require_available in training/options.h refuses
/// --device cuda.)
namespace twingrad::gpu {

/// "NVIDIA H100 80GB HBM3"
std::string name();

/// Waits until the GPU has finished all work.
void synchronize();

/// A point in the queue of the GPU's work, to measure the time between two of them.
class Event {
 public:
  Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;
  ~Event();

  /// Moves the event to the current end of the queue.
  void record();
  /// The seconds from this event to a later one. The GPU must have passed both (synchronize).
  double seconds_until(const Event& later) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A sequence of GPU work that is recorded once and then launched as a whole (a CUDA graph). A small
/// network's step consists of dozens of kernels of a few microseconds each, and launching one takes the CPU
/// as long.
class Graph {
 public:
  Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph();

  /// Runs `work` once without recording, so that all its buffers exist.
  void warm_up(const std::function<void()>& work);
  /// Records the GPU work that `work` enqueues, without executing it. `work` must not wait for the GPU, and
  /// the memory that it reads and writes must outlive the graph.
  void record(const std::function<void()>& work);
  /// Enqueues the recorded work.
  void replay();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// While an object of this class exists, waiting for the GPU throws c10::Error. For tests.
class NoWaitGuard {
 public:
  NoWaitGuard();
  NoWaitGuard(const NoWaitGuard&) = delete;
  NoWaitGuard& operator=(const NoWaitGuard&) = delete;
  ~NoWaitGuard();  // NOLINT(performance-trivially-destructible): trivial only without CUDA
};

}  // namespace twingrad::gpu
