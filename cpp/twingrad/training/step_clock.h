#pragma once

#include <c10/core/Device.h>
#include <c10/util/ArrayRef.h>

#include <vector>

#include "twingrad/runtime/gpu.h"

namespace twingrad {

/// Adds up the time that parts of training steps take. On the CPU it reads the clock. On a GPU, whose work is
/// only enqueued, it records events, which it evaluates in read(): a step need not wait for the GPU.
class StepClock {
 public:
  explicit StepClock(c10::Device device) : is_gpu_(device.is_cuda()) {}

  /// A part begins.
  void start();
  /// It ends. Adds its seconds to each of these sums, on a GPU not before read(). They must exist until then.
  /// Returns the seconds, on a GPU 0.
  double stop(c10::ArrayRef<double*> sums);
  /// Waits for the GPU and adds what has not been added.
  void read();

 private:
  struct Part {
    gpu::Event first, last;
    std::vector<double*> sums;
  };

  bool is_gpu_;
  double start_ = 0;
  std::vector<Part> parts_;  ///< those in use first; the rest is kept for its events
  std::size_t used_ = 0;
};

}  // namespace twingrad
