#include "twingrad/catalogue/planted_bugs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "../support/refusal.h"
#include "twingrad/catalogue/optimizers.h"
#include "twingrad/catalogue/targets.h"
#include "twingrad/compare/distance.h"
#include "twingrad/compare/twin_comparer.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/fields.h"

namespace twingrad {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Training {
  MlpSpec network{.inputs = 24, .hidden = {24, 24}, .classes = 10};
  OptimizerOptions optimizer;
};

/// A network with these options of the command line. Square layers: some bugs do not fit others.
Training training_with(const std::string& options) {
  GivenOptions given;
  std::istringstream words(options);
  std::string last;
  for (std::string word; words >> word;) {
    if (word.starts_with("--")) {
      last = word;
      given[last] = {"true"};
    } else {
      given[last] = {word};
    }
  }
  Training setup;
  read_fields(network_fields(), given, setup.network);
  read_fields(loss_fields(), given, setup.network);
  read_fields(optimizer_fields(), given, setup.optimizer);
  setup.optimizer = default_options(setup.optimizer.kind);
  read_fields(optimizer_fields(), given, setup.optimizer);
  return setup;
}

/// What must be named for a bug of this entry.
std::string part_at_fault(const std::string& entry) {
  for (const catalogue::OptimizerEntry& optimizer : catalogue::optimizer_entries()) {
    if (optimizer.name == entry) {
      return "optimizer, " + entry.substr(0, entry.find('.'));
    }
  }
  for (const catalogue::FunctionEntry& loss : catalogue::loss_entries()) {
    if (loss.name == entry) {
      return "loss, ";
    }
  }
  const std::string base = entry.substr(0, entry.find('.'));
  return ", " + (base == "unshifted_softmax" ? "softmax.exercise" : base);
}

/// By how much a bug changes the first step of training, relative to the largest entry of a tensor. Some need
/// a second step, or an input of exactly 0.
double effect_of(const std::string& bug, const Training& of, const at::Tensor& initial, const Batch& batch) {
  const auto pool = std::make_shared<ThreadPool>(1);
  ManualTwin buggy(of.network, of.optimizer, initial, at::kDouble, pool, {},
                   catalogue::plant_bug(bug, of.network, of.optimizer));
  ManualTwin correct(of.network, of.optimizer, initial, at::kDouble, pool);
  return compare_one_step(correct, buggy, batch).relative;
}

void expect_found(const std::string& bug, const std::string& entry, const Training& of,
                  const at::Tensor& initial, Batch batch, at::ScalarType dtype) {
  SCOPED_TRACE(dtype);
  AutogradTwin autograd(of.network, of.optimizer, initial, dtype);
  ManualTwin manual(of.network, of.optimizer, initial, dtype, std::make_shared<ThreadPool>(1), {},
                    catalogue::plant_bug(bug, of.network, of.optimizer));
  batch.images = batch.images.to(dtype);
  const Comparison comparison = TwinComparer(manual, autograd).compare_with_update(batch);
  EXPECT_FALSE(comparison.passed());
  EXPECT_THAT(comparison.at_fault, HasSubstr(part_at_fault(entry)));
}

TEST(PlantedBugs, AreFoundInTheRightLayer) {
  int found = 0, invisible = 0;
  const std::vector<catalogue::Target> targets = catalogue::all_targets();
  for (const auto& [entry, options] : catalogue::entries_in_networks()) {
    const Training of = training_with(options);
    EXPECT_THAT(catalogue::entries_of(of.network, of.optimizer), ::testing::Contains(entry)) << options;
    at::manual_seed(5);
    const Batch batch = {at::rand({32, 24}, at::kDouble), at::arange(32, at::kLong).remainder(10),
                         draw_dropout_masks(of.network, 32, 1, 1)};
    const at::Tensor initial = draw_initial_parameters(of.network, 7) * 3;
    for (const catalogue::Target& target : targets) {
      for (const catalogue::TargetBug& bug : target.bugs) {
        if (target.name != entry) {
          continue;
        }
        SCOPED_TRACE(bug.name + " with " + options);
        const double effect = effect_of(bug.name, of, initial, batch);
        found += effect > 1e-11 ? 1 : 0;
        invisible += effect > 1e-11 ? 0 : 1;
        for (const auto& [dtype, smallest] : {std::pair{at::kDouble, 1e-11}, std::pair{at::kFloat, 1e-3}}) {
          if (effect > smallest) {
            expect_found(bug.name, entry, of, initial, batch, dtype);
          }
        }
      }
    }
  }
  EXPECT_GE(found, 177);
  EXPECT_LE(invisible, 15) << "a new bug should show in one step, if it can";
}

TEST(PlantedBugs, AreRefusedWithTheOptionsThatBringThemIn) {
  const auto refusal = [](const std::string& bug) {
    return testing::refusal_of([&] { catalogue::plant_bug(bug, MlpSpec(), {}); });
  };
  EXPECT_THAT(refusal("tanh.square_forgotten"), HasSubstr("add --activation tanh"));
  EXPECT_THAT(refusal("adam.weight_decay.decoupled"), HasSubstr("add --optimizer adam --weight-decay 0.1"));
  EXPECT_THAT(refusal("mse.sum.sign"), HasSubstr("add --loss mse --reduction sum"));
  EXPECT_THAT(refusal("dropout.eval.mask_forgotten"), HasSubstr("use 'twingrad check --bug"));
  EXPECT_THAT(refusal("schedule.step.no_staircase"), HasSubstr("use 'twingrad check --bug"));
  EXPECT_THAT(refusal("relu.mask_from_gradent"), HasSubstr("did you mean relu.mask_from_gradient"));
}

}  // namespace
}  // namespace twingrad
