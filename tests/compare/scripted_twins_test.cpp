// What TwinComparer asks of twins, and how it judges results that are scripted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "theater.h"

namespace twingrad::scripted_twins_test {

// ---- Calls ------------------------------------------------------------------------------------------------

TEST(ScriptedTwins, AreAskedForOnePassEachAndTheJudgeForNoise) {
  Theater theater;
  EXPECT_TRUE(theater.compare().passed());
  EXPECT_EQ(theater.manual.calls, (std::vector<std::string>{"masks", "forward 4", "backward", "compute 4"}));
  std::vector<std::string> calls;
  for (int pass = 0; pass < 1 + 8; ++pass) {  // one without noise, eight with
    calls.insert(calls.end(), {"masks", "forward 4", "backward"});
  }
  EXPECT_EQ(theater.autograd.calls, calls);
  EXPECT_FALSE(theater.manual.keeps || theater.autograd.keeps) << "only for the comparison";
}

TEST(ScriptedTwins, AreAskedForAsManyPassesAsFitIntoTheTime) {
  // 2e7 multiplications, 3 to 8 passes. Two weights, w and a bias, times the rows.
  for (const auto& [weights, rows, passes] :
       std::vector<std::tuple<std::int64_t, std::int64_t, int>>{{249'999, 10, 8},
                                                                {250'000, 10, 7},
                                                                {499'999, 10, 4},
                                                                {500'000, 10, 3},
                                                                {999'999, 10, 3},
                                                                {2'600'000, 1, 7}}) {
    Theater theater(rows);
    for (PuppetTwin* twin : {&theater.autograd, &theater.manual}) {
      twin->weights[0].tensor = at::ones({weights}, at::kDouble);
    }
    theater.compare();
    EXPECT_EQ(count_of(theater.autograd, "forward " + std::to_string(rows)), 1 + passes) << weights;
  }
}

TEST(ScriptedTwins, GetWeightsAndImagesThatAreARoundingAway) {
  Theater theater(50);
  for (PuppetTwin* twin : {&theater.autograd, &theater.manual}) {
    twin->weights[0].tensor = at::full({40}, 2, at::kDouble);
  }
  std::vector<Tensor> weights, images;
  theater.autograd.loss_of = [&](const Tensor& given, const Tensor&) {
    weights.push_back(theater.autograd.weights[0].tensor.clone());
    images.push_back(given.slice(0, 1).clone());
    return -3.;
  };
  theater.compare();
  ASSERT_EQ(weights.size(), 1U + 8U);
  const auto expect_signs = [](const Tensor& changed, const Tensor& exact) {
    const Tensor signs = (changed / exact - 1) / kDoubleEpsilon;
    EXPECT_TRUE((signs.abs() < 2).logical_and(signs != 0).all().item<bool>()) << signs;
    EXPECT_TRUE((signs > 0).any().item<bool>() && (signs < 0).any().item<bool>()) << signs;
  };
  for (std::size_t pass = 1; pass < weights.size(); ++pass) {
    expect_signs(weights[pass], at::full({40}, 2, at::kDouble));
    expect_signs(images[pass], theater.batch.images.slice(0, 1));
    if (pass > 1) {
      EXPECT_FALSE(weights[pass].equal(weights[pass - 1])) << "other signs in each pass";
    }
  }
  EXPECT_TRUE(theater.batch.images.equal(at::arange(50, at::kDouble).unsqueeze(1))) << "a copy is changed";
  EXPECT_TRUE(theater.manual.weights[0].tensor.equal(at::full({40}, 2, at::kDouble)));
  EXPECT_TRUE(theater.autograd.weights[0].tensor.equal(at::full({40}, 2, at::kDouble)));
}

TEST(ScriptedTwins, SimulateRoundingWithOneSeedPerPass) {
  Theater theater;
  theater.autograd.simulates = true;
  theater.compare();
  std::vector<std::pair<double, std::uint64_t>> expected;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    expected.emplace_back(kDoubleEpsilon, seed);
  }
  expected.emplace_back(0, 0);
  EXPECT_EQ(theater.autograd.simulations, expected);
  EXPECT_TRUE(theater.autograd.images_seen.back().equal(theater.batch.images)) << "not perturbed";
}

TEST(ScriptedTwins, StartFromTheNetworkOfTheManualTwinInTheirDtype) {
  Theater theater(4, at::kFloat);
  PuppetTwin* reference = with_reference(theater);
  std::vector<Tensor> starts;
  const Tensor weight = row_of({1, 2, 4}, at::kFloat), of_autograd = row_of({7, 7, 7}, at::kFloat);
  const Tensor statistic = row_of({3}, at::kFloat);
  theater.batch.masks = {at::ones({4, 2})};
  theater.autograd.weights[0].tensor = of_autograd.clone();
  reference->weights[0].tensor = row_of({9, 9, 9});
  for (PuppetTwin* twin : {&theater.autograd, &theater.manual, reference}) {
    twin->statistics = {{"0.running_mean", twin == reference ? row_of({5}) : statistic.clone()}};
    const auto note = [&starts, twin] {
      starts.push_back(at::cat({twin->weights[0].tensor, twin->statistics[0].tensor}).to(at::kFloat));
      twin->statistics[0].tensor += 1;  // as a batch normalization does
    };
    twin->loss_of = [note](const Tensor&, const Tensor&) {
      note();
      return -3.;
    };
    twin->simulates = true;
  }
  const Comparison comparison = theater.compare();
  EXPECT_TRUE(comparison.passed()) << comparison.to_string();
  EXPECT_TRUE(comparison.has_reference);
  EXPECT_EQ(comparison.dtype, at::kFloat);
  EXPECT_EQ(comparison.rows, 4);
  ASSERT_EQ(starts.size(), 3U + 8U + 1U) << "a forward of each, eight with noise, and compute_gradients";
  for (const Tensor& start : starts) {
    EXPECT_TRUE(start.equal(at::cat({weight, statistic}))) << start;
  }
  EXPECT_EQ(theater.manual.images_seen[0].scalar_type(), at::kFloat);
  EXPECT_EQ(theater.autograd.images_seen[0].scalar_type(), at::kFloat);
  for (const Tensor& images : reference->images_seen) {
    EXPECT_EQ(images.scalar_type(), at::kDouble);
  }
  for (const PuppetTwin* twin : {&theater.autograd, &theater.manual, reference}) {
    EXPECT_EQ(twin->masks_seen[0].size(), 1U);
    EXPECT_FALSE(twin->keeps);
  }
  EXPECT_EQ(count_of(*reference, "backward"), 1 + 8);
  EXPECT_EQ(count_of(theater.autograd, "backward"), 1) << "the reference is the judge";
  EXPECT_EQ(reference->simulations.front(), std::pair(std::exp2(-23), std::uint64_t{0}));
  EXPECT_TRUE(theater.autograd.weights[0].tensor.equal(of_autograd)) << "as before";
  EXPECT_TRUE(theater.autograd.statistics[0].tensor.equal(statistic));
  EXPECT_TRUE(theater.manual.weights[0].tensor.equal(weight));
  EXPECT_TRUE(theater.manual.statistics[0].tensor.equal(statistic));
}

// ---- Noise ------------------------------------------------------------------------------------------------

TEST(ScriptedNoise, IsTheLargestChangeInAPass) {
  for (const double change : {std::exp2(-30), -std::exp2(-30)}) {
    Theater theater;
    int pass = 0;
    theater.autograd.on_backward = [&] {
      const double by = pass == 2 ? change : pass == 5 ? change / 2 : 0;
      theater.autograd.gradient[0].tensor[2] = 1 + by;
      theater.autograd.results[0].tensor[0] = 1 + by * 2;
      ++pass;
    };
    theater.autograd.loss_of = [&](const Tensor&, const Tensor&) {
      return -3 + (pass == 4 ? change * 4 : 0);
    };
    EXPECT_EQ(theater.row("0.weight.grad").bound, 32 * std::exp2(-30));
    pass = 0;
    EXPECT_EQ(theater.row("logits").bound, 32 * std::exp2(-29));
    pass = 0;
    EXPECT_EQ(theater.row("loss").bound, 32 * std::exp2(-28));
    pass = 0;
    EXPECT_EQ(theater.row("0.bias.grad").bound, 32 * kDoubleEpsilon * 0.25) << "no change, its own rounding";
  }
}

TEST(ScriptedNoise, IsAtLeastARoundingOfTheLargestEntry) {
  Theater theater;
  EXPECT_EQ(theater.row("0.weight.grad").bound, 32 * kDoubleEpsilon * 8);
  EXPECT_EQ(theater.row("logits").bound, 32 * kDoubleEpsilon * 5);
  EXPECT_EQ(theater.row("loss").bound, 32 * kDoubleEpsilon * (3 + 5)) << "of the loss and the largest logit";
  theater.autograd.local_errors = {{"0.weight.grad", std::exp2(-20)}, {"0.bias.grad", 1e-30}};
  EXPECT_EQ(theater.row("0.weight.grad").bound, 32 * std::exp2(-20)) << "that of the last operation";
  EXPECT_EQ(theater.row("0.bias.grad").bound, 32 * kDoubleEpsilon * 0.25);
}

TEST(ScriptedNoise, OfBuffersIsMeasuredToo) {
  Theater theater;
  int pass = 0;
  for (PuppetTwin* twin : {&theater.autograd, &theater.manual}) {
    twin->statistics = {{"0.running_mean", row_of({2, 4})}};
  }
  theater.autograd.on_backward = [&] {
    theater.autograd.statistics[0].tensor[0] = 2 + (pass++ == 3 ? std::exp2(-20) : 0);
  };
  EXPECT_EQ(theater.row("0.running_mean").bound, 32 * std::exp2(-20));
  theater.autograd.on_backward = [] {};
  EXPECT_EQ(theater.row("0.running_mean").bound, 32 * kDoubleEpsilon * 4);
  EXPECT_EQ(theater.row("0.running_mean").part, TensorComparison::Part::forward);
}

TEST(ScriptedNoise, OfANormalizationMayBeASixtyFourth) {
  for (const int noisy_pass : {1, 8}) {  // in any pass
    Theater theater;
    int pass = 0;
    double noise = 1. / 64;
    theater.autograd.on_backward = [&] {
      theater.autograd.of_normalization = pass++ == noisy_pass ? noise : 0;
    };
    EXPECT_FALSE(theater.compare().is_empty());
    pass = 0;
    noise = 1.01 / 64;
    const Comparison comparison = theater.compare();
    EXPECT_FALSE(comparison.is_conditioned);
    EXPECT_TRUE(comparison.tensors.empty());
  }
}

// ---- Judgment ---------------------------------------------------------------------------------------------

TEST(ScriptedTwins, TheWorseOfTwoPathsIsShown) {
  struct Case {
    double plain, fast;
  };
  for (const auto& [plain, fast] :
       std::vector<Case>{{1, 2}, {2, 1}, {1, 1}, {0, 1}, {1, 0}, {NAN, 1}, {1, NAN}}) {
    Theater theater;
    theater.manual.gradient[0].tensor[0] = 8 + plain;
    theater.manual.on_compute = [&, by = fast] {
      theater.manual.gradient[0].tensor[0] = 8 + by;
      theater.manual.gradient.push_back({"logits", row_of({1})});  // not a parameter
    };
    theater.autograd.gradient.push_back({"logits", row_of({3})});
    const double worse = std::isnan(plain) || std::isnan(fast) ? kInf : std::max(plain, fast);
    const Comparison comparison = theater.compare();
    ASSERT_EQ(comparison.tensors.size(), 5U);
    EXPECT_EQ(comparison.tensors[2].name, "logits.grad");
    EXPECT_EQ(comparison.tensors[2].cause, "missing in the manual twin") << "that of the plain path";
    EXPECT_EQ(comparison.tensors[3].name, "0.weight.grad");
    EXPECT_EQ(comparison.tensors[3].manual_error, worse) << plain << ", " << fast;
    EXPECT_EQ(comparison.tensors[3].part, TensorComparison::Part::gradient);
  }
}

TEST(ScriptedTwins, OneWhoseLossIsNotFiniteDiffers) {
  for (const auto& [manual, autograd, is_finite] :
       std::vector<std::tuple<double, double, bool>>{{NAN, -3, true}, {-3, kInf, true}, {NAN, kInf, false}}) {
    Theater theater;
    theater.manual.loss_of = [loss = manual](const Tensor&, const Tensor&) { return loss; };
    theater.autograd.loss_of = [loss = autograd](const Tensor&, const Tensor&) { return loss; };
    const Comparison comparison = theater.compare();
    EXPECT_EQ(comparison.is_finite, is_finite);
    EXPECT_EQ(comparison.tensors.empty(), !is_finite);
    EXPECT_FALSE(comparison.passed());
    EXPECT_THAT(
        (std::vector<double>{comparison.manual_loss, comparison.autograd_loss}),
        ::testing::Pointwise(::testing::NanSensitiveDoubleEq(), std::vector<double>{manual, autograd}));
  }
}

TEST(ScriptedTwins, TheFirstResultThatDiffersIsAtFault) {
  Theater theater;
  for (PuppetTwin* twin : {&theater.autograd, &theater.manual}) {
    twin->results = {{"0.output", row_of({1, 2})}, {"1.output", row_of({3})}, {"logits", row_of({4})}};
  }
  theater.manual.results[2].tensor += 0.5;
  EXPECT_EQ(theater.compare().at_fault, "layer 2 (forward)");
  theater.manual.results[1].tensor += 0.5;
  EXPECT_EQ(theater.compare().at_fault, "layer 1 (forward)");
  theater.manual.results.erase(theater.manual.results.begin());
  EXPECT_EQ(theater.compare().at_fault, "layer 0 (forward)") << "it is missing";
}

TEST(ScriptedTwins, AnAutogradTwinThatIsWrongIsAtFaultToo) {
  Theater theater(4, at::kFloat);
  with_reference(theater)->results = {{"0.output", row_of({2})}, {"logits", row_of({1, -5})}};
  theater.manual.results.insert(theater.manual.results.begin(), {"0.output", row_of({2}, at::kFloat)});
  theater.autograd.results.insert(theater.autograd.results.begin(), {"0.output", row_of({9}, at::kFloat)});
  theater.autograd.loss_of = [](const Tensor&, const Tensor&) { return -2.5; };
  EXPECT_EQ(theater.compare().at_fault, "layer 0 (forward)");
}

TEST(ScriptedTwins, EachGradientNamesALayer) {
  const std::map<std::string, std::string> descriptions = {{"0", "linear"},   {"1", "residual"},
                                                           {"1.0", "matmul"}, {"1.1", "relu"},
                                                           {"2", "linear"},   {"loss", "mse"}};
  struct Case {
    std::string gradient, plain, described;
  };
  for (const Case& of :
       std::vector<Case>{{"0.weight", "layer 0", "layer 0, linear"},
                         {"1.0.weight", "layer 1.0", "layer 1.0, matmul"},
                         {"0.output", "layer 1, or layer 1.0", "layer 1, residual, or layer 1.0, matmul"},
                         {"1.output", "layer 2", "layer 2, linear"},
                         {"1.0.output", "layer 1.1", "layer 1.1, relu"},
                         {"1.1.output", "layer 1", "layer 1, residual"},
                         {"logits", "loss", "loss, mse"}}) {
    for (const bool is_described : {false, true}) {
      Theater theater;
      for (PuppetTwin* twin : {&theater.autograd, &theater.manual}) {
        twin->results.clear();
        for (const char* result : {"0.output", "1.output", "logits", "1.0.output", "1.1.output"}) {
          twin->results.push_back({result, row_of({1})});
        }
        twin->gradient.push_back({of.gradient, row_of({3})});
      }
      if (of.gradient == "0.weight") {
        theater.autograd.gradient.pop_back();
        theater.manual.gradient.pop_back();
        theater.manual.gradient[0].tensor.mul_(3);
      } else {
        theater.manual.gradient.back().tensor.mul_(3);
      }
      if (is_described) {
        theater.autograd.descriptions = descriptions;
      }
      EXPECT_EQ(theater.compare().at_fault, is_described ? of.described : of.plain) << of.gradient;
    }
  }
}

TEST(ScriptedTwins, ShowWhatOneOfThemLacks) {
  Theater theater;
  theater.manual.statistics = {{"0.surplus", row_of({1})}};
  theater.manual.gradient.push_back({"1.weight", row_of({1})});
  theater.autograd.gradient.push_back({"2.weight", row_of({1})});
  EXPECT_EQ(theater.row("0.surplus").cause, "missing in the autograd twin");
  EXPECT_EQ(theater.row("1.weight.grad").cause, "missing in the autograd twin");
  EXPECT_EQ(theater.row("2.weight.grad").cause, "missing in the manual twin");
}

}  // namespace twingrad::scripted_twins_test
