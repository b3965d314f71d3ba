#include <gtest/gtest.h>
#include <torch/torch.h>

#include <set>

#include "twingrad/catalogue/check.h"

namespace twingrad::catalogue {
namespace {

std::vector<Entry> all_entries() {
  std::vector<Entry> entries = layer_entries();
  for (Entry& entry : loss_entries()) {
    entries.push_back(std::move(entry));
  }
  return entries;
}

bool all_passed(const std::vector<Check>& checks) {
  return !checks.empty() &&
         std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed; });
}

TEST(Catalogue, EveryEntryAgreesWithEveryOracle) {
  for (const Entry& entry : all_entries()) {
    const std::vector<Check> checks = check(entry);
    EXPECT_EQ(checks.size(), 3U) << entry.name;
    for (const Check& row : checks) {
      EXPECT_TRUE(row.passed) << entry.name << " against " << row.oracle << "\n" << row.detail;
    }
  }
  for (const OptimizerEntry& entry : optimizer_entries()) {
    for (const Check& row : check(entry)) {
      EXPECT_TRUE(row.passed) << entry.name << "\n" << row.detail;
    }
  }
}

TEST(Catalogue, EveryPlantedBugIsRejected) {
  for (const Entry& entry : all_entries()) {
    for (const Bug& bug : entry.bugs) {
      EXPECT_FALSE(all_passed(check(entry, bug))) << bug.name;
    }
  }
  for (const OptimizerEntry& entry : optimizer_entries()) {
    for (const OptimizerBug& bug : entry.bugs) {
      EXPECT_FALSE(all_passed(check(entry, bug))) << bug.name;
    }
  }
}

TEST(Catalogue, NamesAreUniqueAndABugIsNamedAfterItsEntry) {
  std::set<std::string> names;
  for (const Entry& entry : all_entries()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_GE(entry.bugs.size(), 2U) << entry.name;
    for (const Bug& bug : entry.bugs) {
      EXPECT_EQ(bug.name.rfind(entry.name + ".", 0), 0U) << bug.name;
      EXPECT_TRUE(names.insert(bug.name).second) << bug.name;
      EXPECT_FALSE(bug.why.empty());
    }
  }
}

TEST(Catalogue, AGradientThatIsNotFilledFails) {
  Entry entry = layer_entries().front();  // linear
  const auto right = entry.make;
  entry.make = [right] {
    ByHand by_hand = right();
    const auto backward = by_hand.backward;
    by_hand.backward = [backward](const Tensor& grad_y) {
      Tensors grads = backward(grad_y);
      grads[1] = at::full_like(grads[1], NAN);
      return grads;
    };
    return by_hand;
  };
  for (const Check& row : check(entry)) {
    EXPECT_FALSE(row.passed) << row.oracle;
  }
}

TEST(Catalogue, AMissingGradientFails) {
  Entry entry = layer_entries().front();
  const auto right = entry.make;
  entry.make = [right] {
    ByHand by_hand = right();
    const auto backward = by_hand.backward;
    by_hand.backward = [backward](const Tensor& grad_y) {
      Tensors grads = backward(grad_y);
      grads.pop_back();
      return grads;
    };
    return by_hand;
  };
  EXPECT_FALSE(all_passed(check(entry)));
}

TEST(Catalogue, DifferencesErrLeastAtAMiddlingStep) {
  const std::vector<SweepPoint> points = sweep(layer_entries()[3]);  // softmax
  const auto least =
      std::min_element(points.begin(), points.end(),
                       [](const SweepPoint& a, const SweepPoint& b) { return a.error < b.error; });
  EXPECT_GT(least->step, 1e-7);
  EXPECT_LT(least->step, 1e-3);
  EXPECT_LT(least->error, 1e-9);
  EXPECT_GT(points.front().error, 1e-5) << "truncation";
  EXPECT_GT(points.back().error, 1e-6) << "rounding";
}

}  // namespace
}  // namespace twingrad::catalogue
