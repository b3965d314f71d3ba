#include "twingrad/runtime/signals.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <torch/torch.h>
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

using at::Tensor;

// What the handler of the tests saw. It runs on the stack of whichever thread it interrupts.
std::atomic<int> handled = 0;
std::atomic<int> beside_the_stack = 0;
pthread_t main_thread;
std::uintptr_t main_begin, main_end;

bool is_on_the_stack(std::uintptr_t address) {
  const pthread_t thread = pthread_self();
  if (pthread_equal(thread, main_thread)) {
    return main_begin <= address && address < main_end;
  }
  constexpr std::uintptr_t kStack = 16
                                    << 20;  // what glibc knows of another thread lies at the end of its stack
  const auto end = static_cast<std::uintptr_t>(thread);
  return end - kStack <= address && address < end;
}

void look(int /*signal*/) {
  const char here = 0;
  ++handled;
  beside_the_stack += is_on_the_stack(reinterpret_cast<std::uintptr_t>(&here)) ? 0 : 1;
}

class SignalsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    handled = beside_the_stack = 0;
    main_thread = pthread_self();
    pthread_attr_t attributes;
    ASSERT_EQ(pthread_getattr_np(main_thread, &attributes), 0);
    void* begin = nullptr;
    std::size_t size = 0;
    ASSERT_EQ(pthread_attr_getstack(&attributes, &begin, &size), 0);
    pthread_attr_destroy(&attributes);
    main_begin = reinterpret_cast<std::uintptr_t>(begin);
    main_end = main_begin + size;
    struct sigaction action {};
    action.sa_handler = look;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, &before_);
  }

  void TearDown() override { sigaction(SIGUSR1, &before_, nullptr); }

  /// Does the work over and over while every thread of the process gets a signal every 300 µs.
  static void interrupt(const std::function<void()>& work) {
    work();
    std::atomic<bool> is_done = false;
    std::thread ringer([&] {
      const SignalBlockGuard for_good;
      while (!is_done) {
        for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
          syscall(SYS_tgkill, getpid(), std::stoi(task.path().filename().string()), SIGUSR1);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(300)) {
      work();
    }
    is_done = true;
    ringer.join();
    EXPECT_GT(handled, 10);
    EXPECT_EQ(beside_the_stack, 0) << "a handler ran while the stack pointer pointed elsewhere";
  }

 private:
  struct sigaction before_ {};
};

TEST_F(SignalsTest, AreHeldBackAndArriveAfterwards) {
  {
    const SignalBlockGuard outer;
    {
      const SignalBlockGuard inner;
      raise(SIGUSR1);
    }
    EXPECT_EQ(handled, 0) << "the outer one still lives";
  }
  EXPECT_EQ(handled, 1);
}

TEST_F(SignalsTest, NoneInterruptsAProduct) {
  Tensor out = torch::empty({64, 98});
  const Tensor a = torch::rand({64, 784});
  const Tensor b = torch::rand({784, 98});
  interrupt([&] { ops::matmul(out, a, b); });
}

/// The threads of this process, and whether each lets SIGUSR1 through.
std::map<std::string, bool> threads_and_their_signals() {
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

TEST_F(SignalsTest, NoneReachesThePoolOfLibTorch) {
  const std::map<std::string, bool> before = threads_and_their_signals();
  use_threads({.aten = 4, .blas = 1});  // more than any other test asks for
  int started = 0;
  for (const auto& [thread, lets_through] : threads_and_their_signals()) {
    if (before.count(thread) == 0) {
      ++started;
      EXPECT_FALSE(lets_through);
    }
  }
  EXPECT_GT(started, 0);
  Tensor out = torch::empty({250, 128});
  const Tensor a = torch::rand({250, 784});
  const Tensor b = torch::rand({784, 128});
  interrupt([&] { ops::matmul(out, a, b); });
  use_threads({.aten = 1, .blas = 1});
}

TEST_F(SignalsTest, NoneInterruptsAStepOfTheManualTwin) {
  const MlpSpec spec;
  const Tensor images = torch::rand({600, spec.inputs});
  const Tensor labels = torch::randint(spec.classes, {600}, torch::kLong);
  ManualTwin twin(spec, {}, draw_initial_parameters(spec, 1), torch::kFloat, std::make_shared<ThreadPool>(2));
  interrupt([&] {
    twin.compute_gradients(images, labels);
    twin.update();
    twin.forward(images, labels);
  });
}

}  // namespace twingrad::signals_test
