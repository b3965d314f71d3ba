#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

/// A network and batch size to time.
struct BenchmarkCase {
  MlpSpec network;
  std::int64_t batch_size = 128;  ///< 0: all 60,000 images per step
  std::string name() const;       ///< "784-98-10, batch 128"
};

/// The cases that docs/speed.md reports.
std::vector<BenchmarkCase> standard_benchmark_cases();

struct BenchmarkOptions {
  int repeats = 5;
  int threads = 0;  ///< maximum; 0: all processors
};

/// The seconds that several runs of the same work took.
struct Timing {
  std::string what;
  std::vector<double> seconds;
  double median() const;
  double minimum() const;
  double maximum() const;
};

/// The median, over the turns, of the ratio timing / other.
double median_ratio(const Timing& timing, const Timing& other);

struct BenchmarkResult {
  BenchmarkCase of;
  ThreadPlan threads;
  int shards = 1;  ///< of the manual twin
  /// Epochs of 60,000 images: autograd twin, manual twin, matrix products alone, …
  std::vector<Timing> epoch;
  std::vector<Timing> evaluation;  ///< of 10,000 images: autograd twin, manual twin
  std::vector<Timing> details;     ///< parts of one step
  /// The time from one core writing a number to another core reading it, measured before each epoch of the
  /// manual twin; empty with one thread. It shows whether the cores share a cache, which virtual cores may
  /// not.
  Timing core_to_core;
};

/// Times both twins on 60,000 random 28 × 28 images, as the trainer trains them, with Adam in float32. Also
/// times the parts of a step, and the matrix products alone, split over the threads as in the manual twin: a
/// lower bound for any implementation. After a warm-up run, all run in turn, `repeats` times, because the
/// machine's speed may change. A long epoch is timed on fewer images and scaled.
BenchmarkResult run_benchmark(const BenchmarkCase& of, const BenchmarkOptions& options);

}  // namespace twingrad
