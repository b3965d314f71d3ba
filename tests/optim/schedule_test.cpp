#include "twingrad/optim/schedule.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>

#include "twingrad/optim/options.h"

// The catalogue compares the schedules with torch.optim.lr_scheduler. These tests cover edge cases and
// invalid options.

namespace twingrad {
namespace {

using namespace optim;

TEST(Schedule, OneCycleAcceptsAnExtraStepAndNoRisingPhase) {
  // From Python's torch 1.13, which multiplies the previous rate by a factor. This library computes each rate
  // directly: they differ by a dozen roundings of the base rate 0.1.
  constexpr double kTolerance = 1e-15;
  // OneCycleLR(o, 0.1, total_steps=12, cycle_momentum=False)
  EXPECT_NEAR(OneCycleLR{.total_steps = 12}.rate(0.1, 11), 4e-07, kTolerance);
  EXPECT_NEAR(OneCycleLR{.total_steps = 12}.rate(0.1, 12), 0.0034566987425395167, kTolerance);
  // OneCycleLR(o, 0.1, total_steps=4, pct_start=0.0, cycle_momentum=False)
  const OneCycleLR falling{.total_steps = 4, .pct_start = 0};
  EXPECT_NEAR(falling.rate(0.1, 0), 0.08535539763797113, kTolerance);
  EXPECT_NEAR(falling.rate(0.1, 2), 0.014645002362028864, kTolerance);
}

TEST(Schedule, CosineAnnealingRisesAfterItsPeriod) {
  // CosineAnnealingLR(o, T_max=7)
  EXPECT_NEAR(CosineAnnealingLR{.t_max = 7}.rate(0.1, 7), 0, 1e-15);
  EXPECT_NEAR(CosineAnnealingLR{.t_max = 7}.rate(0.1, 8), 0.004951556604879043, 1e-15);
}

TEST(Schedule, LinearWarmUpHasTheDefaultsOfLinearLR) {
  EXPECT_NEAR(LinearLR{}.rate(0.1, 1), 0.04666666666666667, 1e-15);
  EXPECT_NEAR(LinearLR{}.rate(0.1, 6), 0.1, 1e-15);
}

TEST(Schedule, RatesOfARun) {
  using Kind = ScheduleOptions::Kind;
  const ScheduleOptions step{.kind = Kind::step, .step_epochs = 2, .gamma = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 1, 19, 10, 60), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 1, 20, 10, 60), 0.1);
  const ScheduleOptions cosine{.kind = Kind::cosine};
  EXPECT_DOUBLE_EQ(learning_rate_at(cosine, 1, 0, 10, 60), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(cosine, 1, 30, 10, 60), 0.5);
  const ScheduleOptions warm_up{.warm_up = 10};
  EXPECT_DOUBLE_EQ(learning_rate_at(warm_up, 3, 0, 10, 60), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(warm_up, 3, 10, 10, 60), 3);
}

TEST(Schedule, RejectsInvalidOptions) {
  using Wrong = std::invalid_argument;
  EXPECT_THROW(StepLR{.step_size = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(CosineAnnealingLR{.t_max = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(LinearLR{.start_factor = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(LinearLR{.end_factor = 1.5}.rate(0.1, 0), Wrong);
  EXPECT_THROW(LinearLR{.total_steps = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(OneCycleLR{.total_steps = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW((OneCycleLR{.total_steps = 10, .pct_start = 1.1}.rate(0.1, 0)), Wrong);
  EXPECT_THROW(OneCycleLR{.total_steps = 10}.rate(0.1, 11), Wrong)
      << "as in OneCycleLR, at most one step after the end";
  // Python divides by zero here: the rising phase begins and ends at step 0.
  EXPECT_THROW((OneCycleLR{.total_steps = 10, .pct_start = 0.1}.rate(0.1, 0)), Wrong);
}

}  // namespace
}  // namespace twingrad
