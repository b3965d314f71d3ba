#include "twingrad/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

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

TEST(Schedule, ARunUsesEveryOption) {
  using Kind = ScheduleOptions::Kind;
  const auto rates = [](const ScheduleOptions& schedule) {
    std::vector<double> all;
    for (std::int64_t step = 0; step < 60; ++step) {
      all.push_back(learning_rate_at(schedule, 2, step, 10, 60));
    }
    return all;
  };
  const std::vector<double> step = rates({.kind = Kind::step, .step_epochs = 2, .gamma = 0.1});
  EXPECT_DOUBLE_EQ(step[19], 2);
  EXPECT_DOUBLE_EQ(step[20], 0.2);
  const std::vector<double> cosine = rates({.kind = Kind::cosine, .eta_min = 0.5});
  EXPECT_DOUBLE_EQ(cosine[0], 2);
  EXPECT_DOUBLE_EQ(cosine[30], 1.25);  // halfway from 2 to 0.5
  const std::vector<double> warm_up = rates({.warm_up = 10, .warm_up_start = 0.2, .warm_up_end = 0.8});
  EXPECT_DOUBLE_EQ(warm_up[0], 0.4);
  EXPECT_DOUBLE_EQ(warm_up[5], 1);
  EXPECT_DOUBLE_EQ(warm_up[10], 1.6);
  EXPECT_DOUBLE_EQ(warm_up[59], 1.6);
  ScheduleOptions one_cycle{
      .kind = Kind::one_cycle, .pct_start = 0.35, .div_factor = 10, .final_div_factor = 100};
  one_cycle.anneal = optim::OneCycleLR::Anneal::linear;
  const std::vector<double> two = rates(one_cycle);
  EXPECT_DOUBLE_EQ(two[0], 0.2);
  EXPECT_DOUBLE_EQ(two[10], 1.1) << "halfway up";
  EXPECT_DOUBLE_EQ(two[20], 2);
  EXPECT_DOUBLE_EQ(two[59], 0.002);
  one_cycle.three_phase = true;
  const std::vector<double> three = rates(one_cycle);
  EXPECT_DOUBLE_EQ(three[20], 2);
  EXPECT_DOUBLE_EQ(three[40], 0.2) << "down as fast as up";
  EXPECT_DOUBLE_EQ(three[59], 0.002);
  one_cycle.anneal = optim::OneCycleLR::Anneal::cosine;
  EXPECT_NEAR(rates(one_cycle)[5], 2 - 1.8 / 2 * (1 + std::cos(M_PI * 0.25)), 1e-15);
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
