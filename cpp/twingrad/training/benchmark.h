#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

/// One network and batch size to be timed.
struct BenchmarkCase {
  MlpSpec network;
  std::int64_t batch_size = 128;  ///< 0: all 60,000 images in one step
  std::string name() const;       ///< "784-98-10, batch 128"
};

/// The cases that the targets of this library are stated for.
std::vector<BenchmarkCase> standard_benchmark_cases();

struct BenchmarkOptions {
  int repeats = 5;
  int threads = 0;  ///< at most so many; 0: all processors
};

/// Seconds of several runs of one piece of work.
struct Timing {
  std::string what;
  std::vector<double> seconds;
  double median() const;
  double minimum() const;
  double maximum() const;
};

/// How many times as long as `other` it took: the median of the turns' ratios. Both took the same turns.
double median_ratio(const Timing& timing, const Timing& other);

struct BenchmarkResult {
  BenchmarkCase of;
  ThreadPlan threads;
  int shards = 1;  ///< of the manual twin
  /// Each an epoch of 60,000 images: autograd twin, manual twin, the matrix products alone, …
  std::vector<Timing> epoch;
  std::vector<Timing> evaluation;  ///< each of 10,000 images: autograd twin, manual twin
  std::vector<Timing> details;     ///< each one step, or the part of it that is named
  /// From when one core writes a number until another reads it, before each epoch of the manual twin; nothing with one thread.
  /// It tells whether the two share a cache, which a virtual machine is not always granted.
  Timing core_to_core;
};

/// Times both twins on 60,000 random images of 28 × 28, as the trainer trains them, with Adam in float32; beside them the
/// products alone that no way of training can do without, split over the threads as the manual twin splits them, and the
/// parts of a step. All take turns, `repeats` times after one run that is not counted, so that a change in the machine
/// meets all alike. A long epoch is timed on fewer images and scaled.
BenchmarkResult run_benchmark(const BenchmarkCase& of, const BenchmarkOptions& options);

}  // namespace twingrad
