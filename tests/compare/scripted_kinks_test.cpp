// Which rows TwinComparer sets aside, and how it compares two states, with twins whose results are scripted.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "theater.h"
#include "twingrad/compare/compare_tensors.h"
#include "twingrad/compare/distance.h"

namespace twingrad::scripted_twins_test {

constexpr double kNoise = 0x1p-30;
/// 5 · 32 times the noise
constexpr double kBound = 160 * kNoise;

/// For each row by its number: the distances of its two inputs from their kinks.
using Distances = std::function<std::vector<double>(std::int64_t row)>;

std::function<Tensors(const Tensor&)> distances_from(const Distances& of_row,
                                                     const std::string& name = "0.output") {
  return [=](const Tensor& images) {
    std::vector<Tensor> rows;
    for (std::int64_t i = 0; i < images.size(0); ++i) {
      rows.push_back(row_of(of_row(std::llround(images[i][0].item<double>()))));
    }
    return Tensors{{name, at::stack(rows)}};
  };
}

/// Twins that are far from all kinks, but for what a test changes, with a noise of 2⁻³⁰.
struct Kinks : Theater {
  explicit Kinks(std::int64_t rows = 8) : Theater(rows, at::kFloat), reference(with_reference(*this)) {
    reference->simulates = true;
    reference->local_errors = {{"0.output", kNoise}};
    set({}, {}, {});
  }
  void set(const Distances& of_manual, const Distances& of_autograd, const Distances& of_reference) {
    const auto far = [](std::int64_t) { return std::vector<double>{1, -1}; };
    manual.distances_of = distances_from(of_manual ? of_manual : far);
    autograd.distances_of = distances_from(of_autograd ? of_autograd : far);
    reference->distances_of = distances_from(of_reference ? of_reference : far);
  }
  std::int64_t set_aside() { return compare().rows_set_aside; }

  PuppetTwin* reference;
};

/// The distances of a row, and of all others those far from the kink.
Distances only(std::int64_t row, const std::vector<double>& distances) {
  return [=](std::int64_t i) { return i == row ? distances : std::vector<double>{1, -1}; };
}

TEST(ScriptedKinks, ARowIsSetAsideIfItsSidesDifferByRounding) {
  const double in = kBound / 2, out = kBound * 1.25;
  struct Case {
    double manual, autograd, reference;
    std::int64_t rows;
  };
  for (const Case& of : std::vector<Case>{{in, in, in, 0},
                                          {in, in, -in, 1},
                                          {-in, in, in, 1},
                                          {in, -in, in, 1},
                                          {-in, -in, in, 1},
                                          {0, in, in, 1},
                                          {in, in, 0, 1},
                                          {-kBound, 0, 0, 1},  // at the bound
                                          {0, kBound, 0, 1},
                                          {-out, 0, 0, 0},  // beyond it: not rounding
                                          {0, out, 0, 0},
                                          {-out, out, 0, 0},
                                          {-in, out, 0, 0},
                                          {-out, in, 0, 0},
                                          {-1, -1, 1, 0},
                                          {-1, 1, 1, 0},
                                          {1, -1, 1, 0},
                                          {0, -out, 0, 0},
                                          {1, 1, 2, 0}}) {  // the sides are equal
    for (const std::int64_t row : {0, 5}) {
      Kinks kinks;
      kinks.set(only(row, {1, of.manual}), only(row, {1, of.autograd}), only(row, {1, of.reference}));
      EXPECT_EQ(kinks.set_aside(), of.rows) << of.manual << " " << of.autograd << " " << of.reference;
    }
  }
}

TEST(ScriptedKinks, InFloat64TheAutogradTwinIsTheReference) {
  for (const auto& [distance, rows] : std::vector<std::pair<double, std::int64_t>>{
           {kBound, 0}, {-kBound / 2, 1}, {-kBound * 1.25, 0}, {-1, 0}}) {
    Theater theater(8);
    theater.autograd.simulates = true;
    theater.autograd.local_errors = {{"0.output", kNoise}};
    theater.autograd.distances_of = distances_from(only(3, {1, kBound / 2}));
    theater.manual.distances_of = distances_from(only(3, {1, distance}));
    EXPECT_EQ(theater.compare().rows_set_aside, rows) << distance;
  }
}

TEST(ScriptedKinks, NoiseIsThatOfTheInputOrOfItsLastOperation) {
  for (const bool is_local : {true, false}) {
    for (const auto& [distance, rows] : {std::pair(kBound, 1), std::pair(kBound * 1.25, 0)}) {
      Kinks kinks;
      kinks.set(only(3, {1, -distance}), {}, {});
      PuppetTwin* reference = kinks.reference;
      kinks.autograd.distances_of = distances_from(only(3, {1, 0}));
      reference->local_errors = {{"0.output", is_local ? kNoise : 0}};
      reference->distances_of = [=](const Tensor& images) {
        const bool is_noisy = !reference->simulations.empty() && reference->simulations.back().first > 0;
        Distances noisy = only(3, {1, 0});
        if (is_noisy && !is_local) {
          noisy = [](std::int64_t row) {
            return std::vector<double>{row == 6 ? 1 - kNoise : 1, row == 3 ? 0. : -1};
          };
        }
        return distances_from(noisy)(images);
      };
      EXPECT_EQ(kinks.set_aside(), rows) << is_local << " " << distance;
      ASSERT_FALSE(reference->simulations.empty());
      EXPECT_EQ(reference->simulations[0], std::pair(std::exp2(-23), std::uint64_t{1}));
      EXPECT_EQ(reference->simulations[1], std::pair(0., std::uint64_t{0}));
    }
  }
}

TEST(ScriptedKinks, TheOtherRowsAreComputedAgainUntilNoneIsNear) {
  Kinks kinks;
  kinks.batch.masks = {at::arange(16, at::kFloat).view({8, 2})};
  // Without row 2, row 5 is near, too; and in one step rows 6 and 7.
  const auto near = [&kinks](std::int64_t row) {
    const std::int64_t rows = kinks.manual.images_seen.back().size(0);
    const bool is_near = row == 2 || (row == 5 && rows < 8) || (row > 5 && rows < 7);
    return std::vector<double>{is_near ? -kNoise : 1, -1};
  };
  const auto side = [&kinks](std::int64_t row) {
    const std::int64_t rows = kinks.manual.images_seen.back().size(0);
    const bool is_near = row == 2 || (row == 5 && rows < 8) || (row > 5 && rows < 7);
    return std::vector<double>{is_near ? kNoise : 1, -1};
  };
  kinks.set(near, side, side);
  const Comparison comparison = kinks.compare();
  EXPECT_TRUE(comparison.passed()) << comparison.to_string();
  EXPECT_EQ(comparison.rows, 8);
  EXPECT_EQ(comparison.rows_set_aside, 4);
  const Tensor left = at::tensor({0, 1, 3, 4}, at::kLong);
  EXPECT_EQ(kinks.manual.calls,
            (std::vector<std::string>{"masks", "forward 8", "masks", "forward 7", "masks", "forward 6",
                                      "masks", "forward 4", "backward", "compute 4"}));
  for (const PuppetTwin* twin : {&kinks.manual, &kinks.autograd, kinks.reference}) {
    EXPECT_TRUE(twin->images_seen.back().to(at::kLong).squeeze(1).equal(left)) << twin->name();
    EXPECT_TRUE(twin->labels_seen.back().equal(left % 3));
    EXPECT_TRUE(twin->masks_seen.back()[0].equal(kinks.batch.masks[0].index_select(0, left)));
  }
  EXPECT_EQ(kinks.batch.images.size(0), 8) << "the batch of the caller is unchanged";
}

TEST(ScriptedKinks, ASideThatDiffersByMoreIsComputedAgainWithoutNoise) {
  Kinks kinks;
  kinks.set(only(1, {-1, -1}), {}, {});
  for (PuppetTwin* twin : {&kinks.manual, &kinks.autograd, kinks.reference}) {
    twin->statistics = {{"0.running_mean", at::zeros({1}, twin->weights[0].tensor.options())}};
    twin->loss_of = [twin](const Tensor&, const Tensor&) {
      twin->statistics[0].tensor += 1;  // each forward starts with those of the manual twin
      return -3.;
    };
  }
  const Comparison comparison = kinks.compare();
  EXPECT_EQ(comparison.rows_set_aside, 0);
  EXPECT_TRUE(comparison.passed()) << comparison.to_string();
  std::vector<std::string> calls = {"masks", "forward 8", "masks",   "forward 8",
                                    "masks", "forward 8", "backward"};
  for (int pass = 0; pass < 8; ++pass) {
    calls.insert(calls.end(), {"masks", "forward 8", "backward"});
  }
  EXPECT_EQ(kinks.reference->calls, calls) << "exact, with noise, exact again; then eight with noise";
  Kinks none;
  none.compare();
  EXPECT_EQ(none.reference->calls.size(), calls.size() - 4) << "no kink, no extra passes";
}

TEST(ScriptedKinks, TwoRowsAreEnoughAndOneIsNot) {
  for (const std::int64_t left : {0, 1, 2, 3}) {
    Kinks kinks;
    const auto at_kink = [=](double distance) {
      return [=](std::int64_t row) { return std::vector<double>{row >= left ? distance : 1, -1}; };
    };
    kinks.set(at_kink(-kNoise), at_kink(kNoise), at_kink(kNoise));
    const Comparison comparison = kinks.compare();
    EXPECT_EQ(comparison.rows_set_aside, left < 2 ? 8 : 8 - left);
    EXPECT_EQ(comparison.is_empty(), left < 2);
    EXPECT_EQ(comparison.tensors.empty(), left < 2);
    EXPECT_FALSE(kinks.manual.keeps || kinks.autograd.keeps || kinks.reference->keeps);
  }
}

TEST(ScriptedKinks, DistancesWithoutACounterpartSetNothingAside) {
  const Distances near = only(3, {-kNoise, 1}), side = only(3, {kNoise, 1});
  const auto rows = [&](const std::function<void(Kinks&)>& change) {
    Kinks kinks;
    kinks.set(near, side, side);
    change(kinks);
    return kinks.set_aside();
  };
  EXPECT_EQ(rows([](Kinks&) {}), 1);
  EXPECT_EQ(rows([&](Kinks& kinks) { kinks.autograd.distances_of = distances_from(side, "1.output"); }), 0);
  EXPECT_EQ(rows([&](Kinks& kinks) { kinks.reference->distances_of = distances_from(side, "1.output"); }), 0);
  EXPECT_EQ(rows([&](Kinks& kinks) { kinks.manual.distances_of = distances_from(near, "1.output"); }), 0);
  EXPECT_EQ(rows([&](Kinks& kinks) {
              kinks.autograd.distances_of =
                  distances_from([](std::int64_t) { return std::vector<double>{1}; });
            }),
            0)
      << "another width";
}

// ---- Two trainings ----------------------------------------------------------------------------------------

TEST(DistanceOfTrainings, IsRelativeToTheAutogradTwin) {
  PuppetTwin autograd("autograd"), manual("manual");
  autograd.weights = {{"a", row_of({8})}, {"b", row_of({2})}};
  manual.weights = {{"a", row_of({4})}, {"b", row_of({3})}};
  const LargestDifference weights = compare_weights(autograd, manual);
  EXPECT_EQ(weights.absolute, 4);
  EXPECT_EQ(weights.relative, 0.5) << "both are, the first is named";
  EXPECT_EQ(weights.worst, "a");
  EXPECT_EQ(compare_weights(manual, autograd).relative, 1);
  EXPECT_EQ(compare_optimizer_state(autograd, manual).absolute, 0) << "neither has a state";
  autograd.state = {{"a.exp_avg", row_of({8})}};
  EXPECT_EQ(compare_optimizer_state(autograd, manual).absolute, kInf);
  EXPECT_EQ(compare_optimizer_state(manual, autograd).absolute, kInf);
  manual.state = {{"a.exp_avg", row_of({6})}};
  EXPECT_EQ(compare_optimizer_state(autograd, manual).relative, 0.25);
  EXPECT_EQ(compare_optimizer_state(autograd, manual).worst, "a.exp_avg");
}

TEST(DistanceOfTrainings, TheLargestAbsoluteAndRelativeMayBeOfTwoTensors) {
  const LargestDifference found =
      largest_difference({{"a", row_of({100})}, {"b", row_of({1})}, {"c", row_of({1})}},
                         {{"a", row_of({103})}, {"b", row_of({1.5})}, {"c", row_of({1.25})}});
  EXPECT_EQ(found.absolute, 3);
  EXPECT_EQ(found.relative, 0.5);
  EXPECT_EQ(found.worst, "b");
  EXPECT_EQ(largest_difference({{"a", row_of({1})}}, {{"a", row_of({1})}}).worst, "a") << "no difference";
  EXPECT_EQ(LargestDifference().absolute, 0);
  EXPECT_EQ(LargestDifference().relative, 0);
}

TEST(DistanceOfTrainings, OneStepOfEachIsMade) {
  Theater theater;
  theater.batch.masks = {at::ones({4, 2})};
  theater.manual.on_update = [&] { theater.manual.weights[1].tensor += 0.25; };
  theater.autograd.loss_of = theater.manual.loss_of;
  const LargestDifference found = compare_one_step(theater.autograd, theater.manual, theater.batch);
  EXPECT_EQ(found.absolute, 0.25);
  EXPECT_EQ(found.relative, 0.5);
  EXPECT_EQ(found.worst, "0.bias");
  for (const PuppetTwin* twin : {&theater.autograd, &theater.manual}) {
    EXPECT_EQ(twin->calls, (std::vector<std::string>{"masks", "forward 4",
                                                     "backward without intermediate gradients", "update"}));
    EXPECT_TRUE(twin->images_seen[0].equal(theater.batch.images));
    EXPECT_TRUE(twin->labels_seen[0].equal(theater.batch.labels));
    EXPECT_EQ(twin->masks_seen[0].size(), 1U);
  }
  theater.autograd.state = {{"0.weight.step", row_of({1})}};
  EXPECT_EQ(compare_one_step(theater.autograd, theater.manual, theater.batch).worst, "0.bias")
      << "only one shows its state";
  std::swap(theater.autograd.state, theater.manual.state);
  EXPECT_EQ(compare_one_step(theater.autograd, theater.manual, theater.batch).worst, "0.bias")
      << "only the other one does";
  theater.autograd.state = {{"0.weight.step", row_of({1})}};
  theater.manual.state = {{"0.weight.step", row_of({9})}};
  EXPECT_EQ(compare_one_step(theater.autograd, theater.manual, theater.batch).worst, "0.weight.step");
}

}  // namespace twingrad::scripted_twins_test
