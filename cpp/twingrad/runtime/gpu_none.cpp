#include <stdexcept>

#include "twingrad/runtime/gpu.h"

namespace twingrad::gpu {
namespace {

[[noreturn]] void refuse() { throw std::logic_error("this LibTorch has no CUDA"); }

}  // namespace

struct Event::State {};
struct Graph::State {};

std::string name() { refuse(); }

void synchronize() { refuse(); }

Event::Event() { refuse(); }
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
Event::~Event() = default;
void Event::record() { refuse(); }
double Event::seconds_until(const Event& /*later*/) const { refuse(); }

Graph::Graph() { refuse(); }
Graph::~Graph() = default;
void Graph::warm_up(const std::function<void()>& /*work*/) { refuse(); }
void Graph::record(const std::function<void()>& /*work*/) { refuse(); }
void Graph::replay() { refuse(); }

NoWaitGuard::NoWaitGuard() { refuse(); }
NoWaitGuard::~NoWaitGuard() = default;

}  // namespace twingrad::gpu
