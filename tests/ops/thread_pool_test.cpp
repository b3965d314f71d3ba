#include "twingrad/ops/thread_pool.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <stdexcept>

namespace twingrad {
namespace {

using namespace ops;

/// Waits up to a second until this process has `expected` threads: a joined thread can remain listed briefly.
bool reaches_thread_count(std::ptrdiff_t expected) {
  for (int wait = 0; wait < 1000; ++wait) {
    if (std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}) == expected) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(ThreadPool, RunsEachTaskOnceOnItsThreadOrTheCallers) {
  ThreadPool pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::set<std::thread::id>> ran(3);
  for (int round = 0; round < 1000; ++round) {
    std::vector<int> times(3);
    pool.run(3, [&](int i) {
      ran[static_cast<std::size_t>(i)].insert(std::this_thread::get_id());
      ++times[static_cast<std::size_t>(i)];
    });
    ASSERT_EQ(times, (std::vector<int>{1, 1, 1}));
  }
  EXPECT_EQ(ran[0], std::set<std::thread::id>{caller});
  for (std::size_t i : {1U, 2U}) {
    ran[i].erase(caller);
    EXPECT_LE(ran[i].size(), 1U);
  }
  EXPECT_TRUE(ran[1].empty() || ran[1] != ran[2]);
}

TEST(ThreadPool, TheCallerRunsTasksWhoseThreadsHaveNoCore) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);  // inherited by the threads of the pool
  {
    ThreadPool pool(2);
    int taken = 0;
    for (int round = 0; round < 1000; ++round) {
      std::thread::id ran;
      pool.run(2, [&](int i) { ran = i == 1 ? std::this_thread::get_id() : ran; });
      taken += ran == std::this_thread::get_id() ? 1 : 0;
    }
    EXPECT_GT(taken, 0);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(ThreadPool, KeepsThreadsOnDifferentCores) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  if (CPU_COUNT(&before) < 2) {
    GTEST_SKIP() << "requires two cores";
  }
  ThreadPool pool(2);  // its thread may use all cores; the caller is now limited to one
  const int core = sched_getcpu();
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  int apart = 0;
  int all = 0;
  constexpr int kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<bool> started = false;
    pool.run(2, [&](int i) {
      while (i == 0 && !started) {
        sched_yield();
      }
      if (i == 1) {
        cpu_set_t allowed;
        sched_getaffinity(0, sizeof allowed, &allowed);
        all += CPU_EQUAL(&allowed, &before) ? 1 : 0;
        apart += sched_getcpu() != core ? 1 : 0;
        sched_setaffinity(0, sizeof one, &one);  // as the scheduler might
        sched_setaffinity(0, sizeof before, &before);
        started = true;
      }
    });
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(all, kRounds) << "the affinity mask was not restored";
  EXPECT_GT(apart, kRounds * 9 / 10);
}

TEST(ThreadPool, RunsFewerTasksThanThreads) {
  ThreadPool pool(4);
  for (int tasks = 1; tasks <= 4; ++tasks) {
    std::atomic<int> sum = 0;
    pool.run(tasks, [&](int i) { sum += i + 1; });
    EXPECT_EQ(sum, tasks * (tasks + 1) / 2);
  }
}

TEST(ThreadPool, WakesSleepingThreads) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than a thread spins
    std::atomic<int> times = 0;
    pool.run(2, [&](int i) {
      if (i == 1) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the caller sleeps, too
      }
      ++times;
    });
    EXPECT_EQ(times, 2);
  }
}

TEST(ThreadPool, StartsOneThreadFewerThanItsCount) {
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // until the threads of other tests are gone
  const std::ptrdiff_t before = std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
  {
    const ThreadPool alone(1);
    EXPECT_TRUE(reaches_thread_count(before));
    const ThreadPool pool(3);
    EXPECT_EQ(pool.count(), 3);
    EXPECT_TRUE(reaches_thread_count(before + 2));
  }
  EXPECT_TRUE(reaches_thread_count(before));
}

/// Runs `look` on the thread of a pool of two, not on the caller's, in at least one of many rounds.
void on_a_thread_of_a_pool(const std::function<void()>& look) {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> looked = false;
  for (int round = 0; round < 100 && !looked; ++round) {
    std::atomic<bool> taken = false;
    pool.run(2, [&](int i) {
      if (i == 0) {  // gives the thread of the pool time to take its task
        for (int wait = 0; wait < 1000 && !taken; ++wait) {
          std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        return;
      }
      taken = true;
      if (std::this_thread::get_id() != caller) {
        look();
        looked = true;
      }
    });
  }
  EXPECT_TRUE(looked);
}

TEST(ThreadPool, LibTorchUsesOneThreadInsideATask) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  on_a_thread_of_a_pool([] { EXPECT_EQ(at::get_num_threads(), 1); });
  EXPECT_EQ(at::get_num_threads(), 2) << "the pool does not change the caller's";
  at::set_num_threads(before);
}

TEST(ThreadPool, ItsThreadsLeaveSignalsToTheOthers) {
  on_a_thread_of_a_pool([] {
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    EXPECT_TRUE(sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1);
  });
}

TEST(ThreadPool, RethrowsTheFirstExceptionAndRemainsUsable) {
  ThreadPool pool(3);
  const auto fail = [](int i) {
    if (i > 0) {
      throw std::runtime_error("task " + std::to_string(i));
    }
  };
  for (int round = 0; round < 2; ++round) {
    try {
      pool.run(3, fail);
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "task 1");
    }
  }
  int times = 0;
  pool.run(1, [&](int) { ++times; });
  EXPECT_EQ(times, 1);
}

TEST(ThreadPool, AFailureIsForgottenInTheNextRoundWithAnyNumberOfTasks) {
  ThreadPool pool(3);
  for (const int failing : {0, 1, 2}) {  // this task and those after it
    for (const int next : {1, 2, 3}) {
      std::atomic<int> started = 0;
      EXPECT_THROW(pool.run(3,
                            [&](int i) {
                              ++started;
                              if (i >= failing) {
                                throw std::runtime_error("a task failed");
                              }
                            }),
                   std::runtime_error);
      EXPECT_EQ(started, 3) << "the other tasks run to their end";
      std::atomic<int> done = 0;
      EXPECT_NO_THROW(pool.run(next, [&](int) { ++done; }));
      EXPECT_EQ(done, next);
    }
  }
}

TEST(ThreadPool, WaitsForSlowTasksEvenIfAnotherFails) {
  ThreadPool pool(3);
  for (int round = 0; round < 3; ++round) {
    std::atomic<bool> slow_done = false;
    EXPECT_THROW(pool.run(3,
                          [&](int i) {
                            if (i == 0) {
                              throw std::runtime_error("at once");
                            }
                            std::this_thread::sleep_for(std::chrono::milliseconds(2));
                            slow_done = slow_done || i == 2;
                          }),
                 std::runtime_error);
    EXPECT_TRUE(slow_done);
  }
}

TEST(ThreadPool, RejectsInvalidNumbersOfThreadsAndTasks) {
  EXPECT_THROW(ThreadPool(0), std::invalid_argument);
  ThreadPool pool(2);
  EXPECT_THROW(pool.run(3, [](int) {}), std::invalid_argument);
  EXPECT_THROW(pool.run(0, [](int) {}), std::invalid_argument);
}

TEST(PartOf, CoversEverythingOnceInNearlyEqualParts) {
  for (const std::int64_t count : {0, 1, 5, 16, 97}) {
    for (const int parts : {1, 2, 3, 7}) {
      std::int64_t next = 0;
      std::int64_t before = count;
      for (int i = 0; i < parts; ++i) {
        const auto [first, size] = part_of(count, parts, i);
        EXPECT_EQ(first, next);
        EXPECT_LE(size, before) << "the larger ones first";
        before = size;
        EXPECT_GE(size, count / parts);
        EXPECT_LE(size, count / parts + 1);
        next = first + size;
      }
      EXPECT_EQ(next, count);
    }
  }
}

}  // namespace
}  // namespace twingrad
