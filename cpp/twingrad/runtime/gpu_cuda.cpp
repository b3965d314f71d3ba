#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "twingrad/runtime/gpu.h"

namespace twingrad::gpu {

std::string name() { return at::cuda::getCurrentDeviceProperties()->name; }

void synchronize() { c10::cuda::device_synchronize(); }

struct Event::State {
  at::cuda::CUDAEvent event{cudaEventDefault};
};

Event::Event() : state_(std::make_unique<State>()) {}
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
Event::~Event() = default;

void Event::record() { state_->event.record(); }

double Event::seconds_until(const Event& later) const {
  constexpr double kMilliseconds = 1e-3;
  return kMilliseconds * static_cast<double>(state_->event.elapsed_time(later.state_->event));
}

struct Graph::State {
  c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();  // the default stream cannot be recorded
  at::cuda::CUDAGraph graph;
};

Graph::Graph() : state_(std::make_unique<State>()) {}
Graph::~Graph() = default;

void Graph::warm_up(const std::function<void()>& work) {
  synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(state_->stream);
    work();
  }
  synchronize();
}

void Graph::record(const std::function<void()>& work) {
  synchronize();
  const c10::cuda::CUDAStreamGuard guard(state_->stream);
  state_->graph.capture_begin();
  work();
  state_->graph.capture_end();
}

void Graph::replay() { state_->graph.replay(); }

NoWaitGuard::NoWaitGuard() {
  c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR);
}

NoWaitGuard::~NoWaitGuard() {
  c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
}

}  // namespace twingrad::gpu
