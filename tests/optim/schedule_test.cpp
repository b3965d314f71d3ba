#include "twingrad/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <tuple>

#include "twingrad/optim/options.h"

// The catalogue compares the schedules with torch.optim.lr_scheduler, walk_test.cpp the rates of a run. These
// tests cover edge cases and invalid options.

namespace twingrad {
namespace {

using namespace optim;

TEST(Schedule, OneCycleAcceptsAnExtraStepAndNoRisingPhase) {
  // From Python's torch 1.13, which multiplies the previous rate by a factor. This library computes each rate
  // directly: they differ by a dozen roundings of the base rate 0.1.
  constexpr double kTolerance = 1e-15;
  // OneCycleLR(o, 0.1, total_steps=12, cycle_momentum=False)
  EXPECT_EQ(OneCycleLR().total_steps, 1);
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

TEST(Schedule, RejectsInvalidOptionsAndAcceptsTheBounds) {
  using Wrong = std::invalid_argument;
  constexpr double kAbove1 = 1 + 0x1p-52;
  EXPECT_THROW(StepLR{.step_size = 0}.rate(0.1, 0), Wrong);
  EXPECT_DOUBLE_EQ(StepLR{.step_size = 1}.rate(0.1, 2), 0.001);
  EXPECT_THROW(CosineAnnealingLR{.t_max = 0}.rate(0.1, 0), Wrong);
  EXPECT_NEAR((CosineAnnealingLR{.t_max = 1, .eta_min = 0.02}.rate(0.1, 1)), 0.02, 1e-16);
  const auto linear = [](double start, double end, std::int64_t steps, std::int64_t t) {
    return LinearLR{.start_factor = start, .end_factor = end, .total_steps = steps}.rate(0.1, t);
  };
  for (const double start : {0.0, -0.1, kAbove1, static_cast<double>(NAN)}) {
    EXPECT_THROW(linear(start, 1, 5, 0), Wrong) << start;
  }
  for (const double end : {-1e-300, kAbove1, static_cast<double>(NAN)}) {
    EXPECT_THROW(linear(1, end, 5, 0), Wrong) << end;
  }
  EXPECT_THROW(linear(1, 1, 0, 0), Wrong);
  EXPECT_EQ(linear(1e-300, 0, 1, 1), 0);
  EXPECT_DOUBLE_EQ(linear(1, 1, 1, 0), 0.1);
  EXPECT_THROW(OneCycleLR{.total_steps = 0}.rate(0.1, 0), Wrong);
  for (const double share : {-1e-300, kAbove1, static_cast<double>(NAN)}) {
    EXPECT_THROW((OneCycleLR{.total_steps = 10, .pct_start = share}.rate(0.1, 5)), Wrong) << share;
  }
  EXPECT_DOUBLE_EQ((OneCycleLR{.total_steps = 10, .pct_start = 1}.rate(0.1, 9)), 0.1);
  EXPECT_THROW(OneCycleLR{.total_steps = 10}.rate(0.1, -1), Wrong);
  EXPECT_THROW(OneCycleLR{.total_steps = 10}.rate(0.1, 11), Wrong)
      << "as in OneCycleLR, at most one step after the end";
  // Python divides by zero here: the rising phase begins and ends at step 0.
  EXPECT_THROW((OneCycleLR{.total_steps = 10, .pct_start = 0.1}.rate(0.1, 0)), Wrong);
  // One step: the falling phase begins at the end of the rising phase, and the run ends there.
  EXPECT_THROW((OneCycleLR{.total_steps = 1, .pct_start = 1}.rate(0.1, 0)), Wrong);
}

TEST(Schedule, HaveTheDefaultsOfPython) {
  EXPECT_EQ(StepLR().gamma, 0.1);
  EXPECT_EQ(CosineAnnealingLR().eta_min, 0);
  const LinearLR linear;
  EXPECT_EQ(std::tuple(linear.start_factor, linear.end_factor, linear.total_steps),
            std::tuple(1.0 / 3, 1, 5));
  const OneCycleLR cycle;
  EXPECT_EQ(std::tuple(cycle.pct_start, cycle.div_factor, cycle.final_div_factor, cycle.three_phase),
            std::tuple(0.3, 25, 1e4, false));
  EXPECT_EQ(cycle.anneal, OneCycleLR::Anneal::cosine);
  const ScheduleOptions run;
  EXPECT_EQ(std::tuple(run.step_epochs, run.gamma, run.eta_min, run.warm_up), std::tuple(10, 0.1, 0, 0));
  EXPECT_EQ(std::tuple(run.pct_start, run.div_factor, run.final_div_factor, run.three_phase),
            std::tuple(0.3, 25, 1e4, false));
  EXPECT_EQ(std::tuple(run.warm_up_start, run.warm_up_end), std::tuple(1.0 / 3, 1));
  EXPECT_EQ(run.anneal, OneCycleLR::Anneal::cosine);
}

}  // namespace
}  // namespace twingrad
