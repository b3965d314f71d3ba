#include "twingrad/runtime/threads.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/scoped_variable.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/ops/matmul.h"

namespace twingrad {
namespace {

const MlpSpec kSmall{.hidden = {98}};

ThreadPlan plan_of(const MlpSpec& spec, std::int64_t rows, Twins twins, int requested = 2) {
  return plan_threads(requested, work_of(spec, rows), twins);
}

TEST(PlanThreads, SmallStepsUseOneThread) {
  for (const std::int64_t rows : {1, 16, 24}) {
    for (const Twins twins : {Twins::autograd, Twins::manual, Twins::both}) {
      const ThreadPlan plan = plan_of(kSmall, rows, twins);
      EXPECT_EQ(plan.autograd, ThreadSettings{}) << rows;
      EXPECT_EQ(plan.manual, ThreadSettings{}) << rows;
      EXPECT_EQ(plan.workers, 1) << rows;
    }
  }
}

TEST(PlanThreads, LargerStepsUsePoolThreadsInTheManualTwinAndBlasThreadsInTheAutogradTwin) {
  for (const std::int64_t rows : {32, 128}) {
    const ThreadPlan autograd = plan_of(kSmall, rows, Twins::autograd);
    EXPECT_EQ(autograd.autograd, (ThreadSettings{.aten = 1, .blas = 2})) << rows;
    EXPECT_EQ(autograd.workers, 1) << "pool threads would compete with the matrix library's threads";
    const ThreadPlan manual = plan_of(kSmall, rows, Twins::manual);
    EXPECT_EQ(manual.manual, ThreadSettings{}) << rows;
    EXPECT_EQ(manual.workers, 2) << rows;
  }
}

TEST(PlanThreads, InLockstepOnlyLargeProductsUseBlasThreads) {
  EXPECT_EQ(plan_of(kSmall, 128, Twins::both).autograd.blas, 1);
  EXPECT_EQ(plan_of(kSmall, 60'000, Twins::both).autograd.blas, 2);
}

TEST(PlanThreads, NetworksThatCannotBeShardedUseTheThreadsOfTheProductLibrary) {
  MlpSpec spec = kSmall;
  spec.normalization = Normalization::batch;
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const StepWork work = work_of(spec, 128, dtype);
    const ThreadPlan plan = plan_threads(2, work, Twins::manual);
    EXPECT_EQ(plan.workers, 1);
    const bool by_onednn = !ops::product_library(dtype).empty();
    EXPECT_EQ(plan.manual.aten, by_onednn ? 2 : 1);
    EXPECT_EQ(plan.manual.blas, by_onednn ? 1 : 2);
    EXPECT_EQ(plan_threads(2, work, Twins::both).manual.aten, 1) << "two pools would spin";
  }
}

TEST(PlanThreads, OneDnnUsesThreadsOnlyForLargerStepsThanBlas) {
  MlpSpec spec = kSmall;
  spec.normalization = Normalization::batch;
  const bool by_onednn = !ops::product_library().empty();
  const ThreadPlan small = plan_of(spec, 32, Twins::manual);
  EXPECT_EQ(small.manual, by_onednn ? ThreadSettings{} : (ThreadSettings{.aten = 1, .blas = 2}));
  const ThreadPlan larger = plan_of(spec, 48, Twins::manual);
  EXPECT_EQ(larger.manual, (ThreadSettings{.aten = by_onednn ? 2 : 1, .blas = by_onednn ? 1 : 2}));
}

TEST(PlanThreads, RequestedThreadsLimitEveryCount) {
  for (const Twins twins : {Twins::autograd, Twins::manual, Twins::both}) {
    const ThreadPlan plan = plan_of({.hidden = {1024, 1024}}, 60'000, twins, /*requested=*/1);
    EXPECT_EQ(plan.autograd, ThreadSettings{});
    EXPECT_EQ(plan.manual, ThreadSettings{});
    EXPECT_EQ(plan.workers, 1);
  }
}

/// A tenth of the smallest normal number, computed where the compiler cannot.
float tenth_of_the_smallest() {
  volatile float smallest = std::numeric_limits<float>::min();
  return smallest / 10;
}

TEST(FlushDenormalNumbers, AppliesToTheThreadAndTheThreadsItStarts) {
  float before = 0, here = 1, there = 1;
  std::thread([&] {  // a separate thread, because the setting is per thread and must not affect other tests
    before = tenth_of_the_smallest();
    flush_denormal_numbers();
    here = tenth_of_the_smallest();
    std::thread([&] { there = tenth_of_the_smallest(); }).join();
  })
      .join();
  EXPECT_GT(before, 0);
  EXPECT_EQ(here, 0);
  EXPECT_EQ(there, 0);
}

TEST(DefaultThreads, AreThoseOfOmpNumThreads) {
  for (const auto& [text, threads] :
       std::vector<std::pair<std::string, int>>{{"3", 3}, {"7,2", 7}, {"1024", 1024}}) {
    const testing::ScopedVariable variable("OMP_NUM_THREADS", text);
    EXPECT_EQ(default_threads(), threads);
    EXPECT_EQ(plan_of(kSmall, 5000, Twins::manual, 0).workers,
              plan_of(kSmall, 5000, Twins::manual, threads).workers);
    EXPECT_EQ(plan_of(kSmall, 5000, Twins::manual, 2).workers, 2) << "requested";
  }
  for (const char* text : {"", "0", "-2", "many", "1025"}) {
    const testing::ScopedVariable variable("OMP_NUM_THREADS", text);
    EXPECT_EQ(default_threads(), available_processors()) << text;
  }
  const testing::ScopedVariable unset("OMP_NUM_THREADS", std::nullopt);
  EXPECT_EQ(default_threads(), available_processors());
}

}  // namespace
}  // namespace twingrad
