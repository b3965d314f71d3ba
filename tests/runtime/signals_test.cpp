#include "twingrad/runtime/signals.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "twingrad/mlp/manual_twin.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::signals_test {

// Results of the tests' signal handler, which runs on the stack of the interrupted thread.
std::atomic<int> handled = 0;
std::atomic<int> outside_the_stack = 0;
pthread_t main_thread;
std::uintptr_t main_begin, main_end;

bool is_on_the_stack(std::uintptr_t address) {
  const pthread_t thread = pthread_self();
  if (pthread_equal(thread, main_thread)) {
    return main_begin <= address && address < main_end;
  }
  constexpr std::uintptr_t kStack = 16 << 20;  // glibc keeps a thread's descriptor at the end of its stack
  const auto end = static_cast<std::uintptr_t>(thread);
  return end - kStack <= address && address < end;
}

void record_stack(int /*signal*/) {
  const char here = 0;
  ++handled;
  outside_the_stack += is_on_the_stack(reinterpret_cast<std::uintptr_t>(&here)) ? 0 : 1;
}

/// The threads of this process, and whether each accepts SIGUSR1.
std::map<std::string, bool> threads_and_acceptance() {
  std::map<std::string, bool> threads;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("SigBlk:", 0) == 0) {
        const std::uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
        threads[task.path().filename()] = (blocked & (std::uint64_t{1} << (SIGUSR1 - 1))) == 0;
      }
    }
  }
  return threads;
}

class SignalsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    handled = outside_the_stack = 0;
    main_thread = pthread_self();
    earlier_threads_ = threads_and_acceptance();
    earlier_threads_.erase(std::to_string(gettid()));
    pthread_attr_t attributes;
    ASSERT_EQ(pthread_getattr_np(main_thread, &attributes), 0);
    void* begin = nullptr;
    std::size_t size = 0;
    ASSERT_EQ(pthread_attr_getstack(&attributes, &begin, &size), 0);
    pthread_attr_destroy(&attributes);
    main_begin = reinterpret_cast<std::uintptr_t>(begin);
    main_end = main_begin + size;
    struct sigaction action {};
    action.sa_handler = record_stack;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, &before_);
  }

  void TearDown() override { sigaction(SIGUSR1, &before_, nullptr); }

  /// Repeats the work while this thread and all that the test has started receive a signal every 300 µs.
  /// Other threads may be LibTorch's, started by an earlier test that did not block signals.
  static void interrupt(const std::function<void()>& work) {
    work();
    std::atomic<bool> is_done = false;
    std::thread sender([&] {
      const SignalBlockGuard guard;
      while (!is_done) {
        for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
          const std::string thread = task.path().filename();
          if (earlier_threads_.count(thread) == 0) {
            syscall(SYS_tgkill, getpid(), std::stoi(thread), SIGUSR1);
          }
        }
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(300)) {
      work();
    }
    is_done = true;
    sender.join();
    EXPECT_GT(handled, 10);
    EXPECT_EQ(outside_the_stack, 0) << "a handler ran while the stack pointer was elsewhere";
  }

 private:
  inline static std::map<std::string, bool> earlier_threads_;
  struct sigaction before_ {};
};

TEST_F(SignalsTest, AreBlockedAndDeliveredAfterwards) {
  {
    const SignalBlockGuard outer;
    {
      const SignalBlockGuard inner;
      raise(SIGUSR1);
    }
    EXPECT_EQ(handled, 0) << "the outer guard is still active";
  }
  EXPECT_EQ(handled, 1);
}

TEST_F(SignalsTest, DoNotInterruptAMatrixProduct) {
  at::Tensor out = at::empty({64, 98});
  const at::Tensor a = at::rand({64, 784});
  const at::Tensor b = at::rand({784, 98});
  interrupt([&] { ops::matmul(out, a, b); });
}

TEST_F(SignalsTest, DoNotReachThreadsOfLibTorch) {
  const std::map<std::string, bool> before = threads_and_acceptance();
  use_threads({.aten = 4, .blas = 1});  // more than any other test uses
  int started = 0;
  for (const auto& [thread, accepts] : threads_and_acceptance()) {
    if (before.count(thread) == 0) {
      ++started;
      EXPECT_FALSE(accepts);
    }
  }
  EXPECT_GT(started, 0);
  at::Tensor out = at::empty({250, 128});
  const at::Tensor a = at::rand({250, 784});
  const at::Tensor b = at::rand({784, 128});
  interrupt([&] { ops::matmul(out, a, b); });
  use_threads({.aten = 1, .blas = 1});
}

TEST_F(SignalsTest, DoNotInterruptAStepOfTheManualTwin) {
  const MlpSpec spec;
  const at::Tensor images = at::rand({600, spec.inputs});
  const at::Tensor labels = at::randint(spec.classes, {600}, at::kLong);
  ManualTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kFloat, std::make_shared<ThreadPool>(2));
  interrupt([&] {
    twin.compute_gradients(images, labels);
    twin.update();
    twin.forward(images, labels);
  });
}

}  // namespace twingrad::signals_test
