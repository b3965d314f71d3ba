#include "twingrad/training/step_clock.h"

#include "twingrad/runtime/monotonic_clock.h"

namespace twingrad {

void StepClock::start() {
  if (!is_gpu_) {
    start_ = monotonic_seconds();
    return;
  }
  if (used_ == parts_.size()) {
    parts_.emplace_back();
  }
  parts_[used_].first.record();
}

double StepClock::stop(c10::ArrayRef<double*> sums) {
  if (is_gpu_) {
    parts_[used_].last.record();
    parts_[used_++].sums = sums.vec();
    return 0;
  }
  const double seconds = monotonic_seconds() - start_;
  for (double* sum : sums) {
    *sum += seconds;
  }
  return seconds;
}

void StepClock::read() {
  if (used_ == 0) {
    return;
  }
  gpu::synchronize();
  for (std::size_t i = 0; i < used_; ++i) {
    const double seconds = parts_[i].first.seconds_until(parts_[i].last);
    for (double* sum : parts_[i].sums) {
      *sum += seconds;
    }
  }
  used_ = 0;
}

}  // namespace twingrad
