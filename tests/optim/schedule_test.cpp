#include "twingrad/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

// The tables were computed by Python's torch 1.13, each by
//
//   o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
//   s = torch.optim.lr_scheduler.<the class in the comment>
//   for t in range(count): print(repr(o.param_groups[0]["lr"])); o.step(); s.step()

namespace twingrad {
namespace {

using namespace optim;

using Table = std::vector<double>;
using Rate = std::function<double(std::int64_t t)>;

/// Python multiplies the last rate by a factor, we compute each rate afresh: a dozen roundings of 1e-16 of the
/// base rate 0.1.
void expect_follows(const Table& table, const Rate& rate) {
  for (std::size_t t = 0; t < table.size(); ++t) {
    EXPECT_NEAR(rate(static_cast<std::int64_t>(t)), table[t], 1e-15) << "step " << t;
  }
}

Rate of(const auto& schedule) {
  return [=](std::int64_t t) { return schedule.rate(0.1, t); };
}

TEST(Schedule, StepDecayFollowsStepLR) {
  expect_follows({0.1, 0.1, 0.1, 0.010000000000000002, 0.010000000000000002, 0.010000000000000002,  //
                  0.0010000000000000002, 0.0010000000000000002, 0.0010000000000000002,              //
                  0.00010000000000000003, 0.00010000000000000003},
                 of(StepLR{.step_size = 3}));  // StepLR(o, step_size=3)
  expect_follows({0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025},
                 of(StepLR{.step_size = 4, .gamma = 0.5}));  // StepLR(o, step_size=4, gamma=0.5)
}

TEST(Schedule, CosineAnnealingFollowsCosineAnnealingLRAndRisesAgain) {
  expect_follows({0.1, 0.09504844339512096, 0.08117449009293669, 0.061126046697815725, 0.03887395330218429,
                  0.018825509907063328, 0.004951556604879048, 0.0, 0.004951556604879043, 0.018825509907063314,
                  0.03887395330218427},
                 of(CosineAnnealingLR{.t_max = 7}));  // CosineAnnealingLR(o, T_max=7)
  expect_follows(
      {0.1, 0.08681980515339464, 0.05500000000000001, 0.023180194846605363, 0.01, 0.023180194846605363,
       0.05500000000000002, 0.08681980515339469, 0.10000000000000006, 0.0868198051533947,
       0.05500000000000005},
      of(CosineAnnealingLR{.t_max = 4, .eta_min = 0.01}));  // CosineAnnealingLR(o, T_max=4, eta_min=0.01)
}

TEST(Schedule, LinearWarmUpFollowsLinearLR) {
  expect_follows({0.03333333333333333, 0.04666666666666667, 0.060000000000000005, 0.07333333333333335,
                  0.08666666666666668, 0.1, 0.1, 0.1},
                 of(LinearLR{}));  // LinearLR(o)
  expect_follows({0.010000000000000002, 0.020000000000000004, 0.030000000000000006, 0.040000000000000015,
                  0.05000000000000002, 0.06000000000000002, 0.07000000000000002, 0.08000000000000002,
                  0.08000000000000002, 0.08000000000000002},
                 // LinearLR(o, start_factor=0.1, end_factor=0.8, total_iters=7)
                 of(LinearLR{.start_factor = 0.1, .end_factor = 0.8, .total_steps = 7}));
}

TEST(Schedule, OneCycleFollowsOneCycleLR) {
  expect_follows(
      {0.0040000000000000036, 0.0349789654219583, 0.08792851591221287, 0.09944154354509119,
       0.09330129698414118, 0.0811745653949763, 0.06473789976951033, 0.046263710266697504,
       0.028306099820869922, 0.01334775301888306, 0.0034566987425395223, 4e-07, 0.0034566987425395167},
      of(OneCycleLR{.total_steps = 12}));  // OneCycleLR(o, 0.1, total_steps=12, cycle_momentum=False)
  expect_follows(
      {0.01, 0.05500000000000001, 0.1, 0.0889, 0.07780000000000001, 0.06670000000000001, 0.055600000000000004,
       0.044500000000000005, 0.03340000000000001, 0.0223, 0.011200000000000002, 0.00010000000000000286},
      // OneCycleLR(o, 0.1, total_steps=12, pct_start=0.25, anneal_strategy="linear", div_factor=10,
      //            final_div_factor=100, cycle_momentum=False)
      of(OneCycleLR{.total_steps = 12,
                    .pct_start = 0.25,
                    .anneal = OneCycleLR::Anneal::linear,
                    .div_factor = 10,
                    .final_div_factor = 100}));
  expect_follows({0.0040000000000000036, 0.0349789654219583, 0.08792851591221287, 0.09450188923135408,
                  0.04621423934774446, 0.005394792763549499, 0.003815169324257979, 0.003122461893311692,
                  0.0021084669893891173, 0.0010634768002885592, 0.0002866570191000554, 4e-07},
                 // OneCycleLR(o, 0.1, total_steps=12, three_phase=True, cycle_momentum=False)
                 of(OneCycleLR{.total_steps = 12, .three_phase = true}));
  expect_follows({0.08535539763797113, 0.0500002, 0.014645002362028864, 4e-07},
                 // OneCycleLR(o, 0.1, total_steps=4, pct_start=0.0, cycle_momentum=False)
                 of(OneCycleLR{.total_steps = 4, .pct_start = 0}));
}

TEST(Schedule, RefusesWhatHasNoMeaning) {
  using Wrong = std::invalid_argument;
  EXPECT_THROW(StepLR{.step_size = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(CosineAnnealingLR{.t_max = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(LinearLR{.start_factor = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(LinearLR{.end_factor = 1.5}.rate(0.1, 0), Wrong);
  EXPECT_THROW(LinearLR{.total_steps = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW(OneCycleLR{.total_steps = 0}.rate(0.1, 0), Wrong);
  EXPECT_THROW((OneCycleLR{.total_steps = 10, .pct_start = 1.1}.rate(0.1, 0)), Wrong);
  EXPECT_THROW(OneCycleLR{.total_steps = 10}.rate(0.1, 11), Wrong)
      << "like OneCycleLR, one step past the end at most";
  // Python divides by zero here: the way up is 1 step long, from step 0 to step 0.
  EXPECT_THROW((OneCycleLR{.total_steps = 10, .pct_start = 0.1}.rate(0.1, 0)), Wrong);
}

}  // namespace
}  // namespace twingrad
