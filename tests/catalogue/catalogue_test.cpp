#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "expect_agreement.h"
#include "twingrad/catalogue/conventions.h"
#include "twingrad/catalogue/targets.h"

namespace twingrad::catalogue {
namespace {

std::vector<FunctionEntry> function_entries() { return layer_entries() + loss_entries(); }

/// Calls `visit` with every entry, of any kind.
void for_each_entry(const auto& visit) {
  for (const FunctionEntry& entry : function_entries()) {
    visit(entry);
  }
  for (const OptimizerEntry& entry : optimizer_entries()) {
    visit(entry);
  }
  for (const ValuesEntry& entry : schedule_entries() + clipping_entries() + convention_entries()) {
    visit(entry);
  }
}

std::vector<std::string> oracles_of(const std::vector<Check>& checks) {
  std::vector<std::string> oracles;
  for (const Check& row : checks) {
    oracles.push_back(row.oracle);
  }
  return oracles;
}

TEST(Catalogue, EveryEntryAgreesWithEveryReference) {
  for_each_entry([](const auto& entry) { expect_agreement(entry); });
}

TEST(Catalogue, EveryKindOfEntryHasItsReferences) {
  using Oracles = std::vector<std::string>;
  EXPECT_EQ(oracles_of(check(layer_entries()[0])), (Oracles{"autograd", "finite-difference", "float64"}));
  EXPECT_EQ(oracles_of(check(optimizer_entries()[0])), (Oracles{"torch::optim", "float64"}));
  EXPECT_EQ(oracles_of(check(schedule_entries()[0])), (Oracles{"torch::optim"}));
  EXPECT_EQ(oracles_of(check(schedule_entries()[1])), (Oracles{"Python"}));
  EXPECT_EQ(oracles_of(check(clipping_entries()[0])), (Oracles{"torch::nn::utils", "float64"}));
}

TEST(Catalogue, ChecksOnlyTheRequestedDtype) {
  for_each_entry([](const auto& entry) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      for (const Check& row : check(entry, {.dtype = dtype})) {
        EXPECT_EQ(row.dtype, dtype == at::kFloat ? "float32" : "float64") << entry.name;
      }
    }
  });
  EXPECT_TRUE(check(schedule_entries()[0], {.dtype = at::kFloat}).empty()) << "a learning rate is a double";
}

TEST(Catalogue, EveryPlantedBugIsRejected) {
  for_each_entry([&](const auto& entry) {
    for (const auto& bug : entry.bugs) {
      EXPECT_FALSE(all_passed(check(entry, bug, {.until_failure = true}))) << bug.name;
    }
  });
}

TEST(Catalogue, NamesAreUniqueAndABugIsNamedAfterItsEntry) {
  std::set<std::string> names;
  for_each_entry([&](const auto& entry) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_GE(entry.bugs.size(), 2U) << entry.name;
    for (const auto& bug : entry.bugs) {
      EXPECT_EQ(bug.name.rfind(entry.name + ".", 0), 0U) << bug.name;
      EXPECT_TRUE(names.insert(bug.name).second) << bug.name;
      EXPECT_FALSE(bug.why.empty());
    }
  });
}

TEST(Catalogue, BackwardCanBeRepeatedAndDoesNotChangeItsInputs) {
  for (const FunctionEntry& entry : function_entries()) {
    const HandWritten function = entry.make();
    const Tensors& inputs = entry.cases.front().inputs;
    Tensors before;
    for (const Tensor& input : inputs) {
      before.push_back(input.clone());
    }
    const Tensor grad_y = draw(function.forward(inputs).sizes());
    Tensors once = function.backward(grad_y);
    for (Tensor& grad : once) {
      grad = grad.clone();
    }
    const Tensors again = function.backward(grad_y);
    for (std::size_t i = 0; i + entry.constants < inputs.size(); ++i) {
      EXPECT_TRUE(again[i].equal(once[i])) << entry.name << ", gradient " << i;
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_TRUE(inputs[i].equal(before[i])) << entry.name << ", input " << i;
    }
  }
}

TEST(Catalogue, TheUpstreamGradientOfALossDefaultsToOne) {
  for (const FunctionEntry& entry : loss_entries()) {
    const HandWritten loss = entry.make();
    const Tensor y = loss.forward(entry.cases.front().inputs);
    const Tensor of_ones = loss.backward(at::ones_like(y))[0].clone();
    EXPECT_TRUE(loss.backward({})[0].equal(of_ones)) << entry.name;
  }
}

TEST(Catalogue, ErrorsDoNotDependOnOtherChecks) {
  const FunctionEntry entry = layer_entries()[3];
  const std::vector<Check> alone = check(entry);
  check(optimizer_entries()[0]);
  const std::vector<Check> later = check(layer_entries()[3]);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(alone[i].max_rel_error, later[i].max_rel_error) << alone[i].oracle;
  }
}

// ---- The cases ----

/// The names of the cases.
std::set<std::string> case_names(const FunctionEntry& entry) {
  std::set<std::string> names;
  for (const Case& at : entry.cases) {
    EXPECT_TRUE(names.insert(at.name).second) << entry.name << ": " << at.name << " twice";
  }
  return names;
}

TEST(Catalogue, EveryEntryHasTheStandardCases) {
  const std::set<std::string> no_single_row = {"batch_norm", "batch_norm.no_affine",
                                               "batch_norm.no_statistics"};
  const std::set<std::string> no_single_column = {"unshifted_softmax", "layer_norm", "layer_norm.no_affine",
                                                  "rms_norm", "rms_norm.no_affine"};
  for (const FunctionEntry& entry : function_entries()) {
    const std::set<std::string> names = case_names(entry);
    for (const char* name : {"random", "no rows", "not contiguous", "upstream not contiguous"}) {
      EXPECT_TRUE(names.contains(name)) << entry.name << ": " << name;
    }
    EXPECT_EQ(names.contains("one row"), !no_single_row.contains(entry.name)) << entry.name;
    EXPECT_EQ(names.contains("one column"), !no_single_column.contains(entry.name)) << entry.name;
    EXPECT_EQ(names.contains("values of 1e4"), entry.name != "unshifted_softmax") << entry.name;
  }
}

TEST(Catalogue, TheCaseNotContiguousHasStridedInputs) {
  for (const FunctionEntry& entry : function_entries()) {
    for (const Case& at : entry.cases) {
      if (at.name == "not contiguous") {
        for (const Tensor& input : at.inputs) {
          EXPECT_FALSE(input.is_contiguous()) << entry.name;
        }
      }
    }
  }
  const Tensor values = draw({3, 4});
  const Tensor gaps = strided(values);
  EXPECT_TRUE(gaps.equal(values));
  EXPECT_EQ(gaps.strides(), (std::vector<std::int64_t>{2, 12}));
  EXPECT_TRUE(gaps.storage_offset() == 0 && std::isnan(gaps.data_ptr<double>()[1])) << "a gap is NaN";
}

/// The identity, checked in one case, with a value that `change` modifies.
FunctionEntry identity(const Case& at, const std::function<Tensor(const Tensor&)>& change) {
  return {.name = "identity",
          .make =
              [=] {
                return HandWritten{.forward = [=](const Tensors& in) { return change(in[0]); },
                                   .backward = [](const Tensor& grad_y) { return Tensors{grad_y}; }};
              },
          .reference = [](const Tensors& in) { return in[0] * 1; },
          .cases = {at},
          .bugs = {}};
}

bool agrees(const Case& at, const std::function<Tensor(const Tensor&)>& change) {
  return all_passed(check(identity(at, change)));
}

TEST(Catalogue, NaNPassesOnlyIfExpectedAndInTheSamePlaces) {
  const Tensor holds_nan = at::tensor({1., NAN, 3.}).to(at::kDouble);
  const auto same = [](const Tensor& x) { return x.clone(); };
  const auto with = [](std::int64_t index, double value) {
    return [=](const Tensor& x) {
      Tensor changed = x.clone();
      changed[index] = value;
      return changed;
    };
  };
  const Case expected = {.name = "NaN", .inputs = {holds_nan}, .smooth = false, .nan_expected = true};
  EXPECT_TRUE(agrees(expected, same));
  EXPECT_FALSE(agrees(expected, with(1, 0))) << "a number where LibTorch has NaN";
  EXPECT_FALSE(agrees(expected, with(0, NAN))) << "NaN where LibTorch has a number";
  EXPECT_FALSE(agrees({"not expected", {holds_nan}, false}, same));
  Case idle = expected;
  idle.inputs = {at::ones({3}, at::kDouble)};
  EXPECT_FALSE(agrees(idle, same)) << "the case expects NaN, but there is none";
}

TEST(Catalogue, AnInfinityMustBeMatchedExactly) {
  const Case at = {"infinite", {at::tensor({1., kInfinity, -kInfinity}).to(at::kDouble)}, false};
  EXPECT_TRUE(agrees(at, [](const Tensor& x) { return x.clone(); }));
  EXPECT_FALSE(agrees(at, [](const Tensor& x) { return x.abs(); })) << "the sign";
  EXPECT_FALSE(agrees(at, [](const Tensor& x) { return x.clamp(-1e300, 1e300); })) << "large is not infinite";
  EXPECT_FALSE(
      agrees({"finite", {at::ones({3}, at::kDouble)}, false}, [](const Tensor& x) { return x / 0; }));
}

// ---- Incomplete entries ----

TEST(Catalogue, AnEntryWithoutCasesFails) {
  FunctionEntry entry = layer_entries().front();
  entry.cases.clear();
  EXPECT_FALSE(all_passed(check(entry)));
}

/// linear with its gradients changed.
FunctionEntry linear_with(const std::function<void(Tensors& grads)>& change) {
  FunctionEntry entry = layer_entries().front();
  entry.make = [change, right = entry.make] {
    HandWritten function = right();
    function.backward = [change, backward = function.backward](const Tensor& grad_y) {
      Tensors grads = backward(grad_y);
      change(grads);
      return grads;
    };
    return function;
  };
  return entry;
}

TEST(Catalogue, AGradientThatIsNotFilledFails) {
  const FunctionEntry entry = linear_with([](Tensors& grads) { grads[1] = at::full_like(grads[1], NAN); });
  for (const Check& row : check(entry)) {
    EXPECT_FALSE(row.passed) << row.oracle;
  }
}

TEST(Catalogue, AMissingGradientFails) {
  EXPECT_FALSE(all_passed(check(linear_with([](Tensors& grads) { grads.pop_back(); }))));
}

TEST(Catalogue, CentralDifferencesAreMostAccurateAtAMediumStep) {
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
