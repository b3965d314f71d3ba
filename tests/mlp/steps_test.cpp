#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "random_networks.h"
#include "twins.h"

// A twin keeps buffers, sums, masks and modes from one step to the next. Here one twin takes several steps of
// different kinds and sizes. Each is compared with the same step of a new twin that starts with the same
// weights, buffers and optimizer state.

namespace twingrad {
namespace {

using at::Tensor;
using testing::expect_same_tensors;
using testing::for_random_cases;
using testing::RandomCase;
using testing::relative;

/// A manual twin in use, and what a new twin needs to continue from its state.
struct TwinInUse {
  TwinInUse(const MlpSpec& network, const OptimizerOptions& options, at::ScalarType type, int thread_count)
      : spec(network),
        optimizer(options),
        dtype(type),
        threads(thread_count),
        initial(draw_initial_parameters(spec, 2)),
        twin(spec, optimizer, initial, dtype, std::make_shared<ThreadPool>(threads)) {}

  /// A twin that has taken no step: an autograd twin in float64. In float32, where autograd rounds
  /// differently, it is a manual twin.
  std::unique_ptr<Twin> continued() const {
    std::unique_ptr<Twin> next;
    if (dtype == at::kDouble) {
      next = std::make_unique<AutogradTwin>(spec, optimizer, initial, dtype);
    } else {
      next = std::make_unique<ManualTwin>(spec, optimizer, initial, dtype,
                                          std::make_shared<ThreadPool>(threads));
    }
    std::vector<NamedTensor> network = twin.parameters();
    for (const NamedTensor& buffer : twin.buffers()) {
      network.push_back(buffer);
    }
    load_network(*next, network);
    next->load_optimizer_state(twin.optimizer_state());
    next->set_lr(lr);
    next->keep_intermediate_gradients(true);
    return next;
  }

  MlpSpec spec;
  OptimizerOptions optimizer;
  at::ScalarType dtype;
  int threads;
  Tensor initial;
  ManualTwin twin;
  double lr = 0;
};

struct StepBatch {
  StepBatch(const TwinInUse& used, std::int64_t rows)
      : images(at::rand({rows, used.spec.inputs}, used.dtype)),
        labels(at::randint(0, used.spec.classes, {rows}, at::kLong)),
        masks(draw_dropout_masks(used.spec, rows, 1, rows)) {}
  Tensor images, labels;
  std::vector<Tensor> masks;
};

/// 1e-10 in float64: of the options, batch normalization and RMSprop amplify rounding most. In float32, the
/// two manual twins compute the same bits.
double step_tolerance(const TwinInUse& used) { return used.dtype == at::kDouble ? 1e-10 : 0; }

/// Predicts other images in evaluation mode, as a run does between two steps.
void expect_same_prediction(TwinInUse& used, std::int64_t rows, bool training) {
  const std::unique_ptr<Twin> next = used.continued();
  const Tensor images = at::rand({rows, used.spec.inputs}, used.dtype);
  used.twin.eval();
  next->eval();
  const Tensor expected = next->predict(images).clone();
  EXPECT_LE(relative(expected, used.twin.predict(images)), step_tolerance(used));
  EXPECT_LE(relative(expected, used.twin.logits()), step_tolerance(used));
  expect_same_tensors(next->buffers(), used.twin.buffers(), 0);
  used.twin.train(training);
}

void expect_same_step(TwinInUse& used, std::int64_t rows, RandomCase& random) {
  const double tolerance = step_tolerance(used);
  const StepBatch batch(used, rows);
  const bool training = random.chance(0.7);
  if (random.chance(0.3)) {
    used.lr = random.real(0.001, 0.05);
    used.twin.set_lr(used.lr);
  }
  const std::unique_ptr<Twin> next = used.continued();
  for (Twin* twin : {static_cast<Twin*>(&used.twin), next.get()}) {
    twin->train(training);
    twin->set_dropout_masks(batch.masks);
  }
  const bool in_one_call = random.chance();
  double loss = 0;
  if (in_one_call && used.dtype == at::kFloat) {
    loss = next->compute_gradients(batch.images, batch.labels);
  } else {
    loss = next->forward(batch.images, batch.labels);
    next->backward();
  }
  double found = 0;
  if (in_one_call) {
    found = used.twin.compute_gradients(batch.images, batch.labels);
  } else {
    found = used.twin.forward(batch.images, batch.labels);
    const bool changes_mode = random.chance(0.3);
    used.twin.train(training != changes_mode);
    used.twin.backward();
    used.twin.train(training);
  }
  EXPECT_LE(std::abs(found - loss), tolerance * std::max(1.0, std::abs(loss)));
  EXPECT_LE(relative(next->logits(), used.twin.logits()), tolerance);
  std::vector<NamedTensor> gradients = next->gradients();
  if (in_one_call) {
    gradients.resize(parameters_of(used.spec).size());  // those of the intermediate results are not kept
    EXPECT_TRUE(used.twin.intermediates().empty());
  } else {
    expect_same_tensors(next->intermediates(), used.twin.intermediates(), tolerance);
  }
  expect_same_tensors(gradients, used.twin.gradients(), tolerance);
  if (random.chance(0.3)) {
    expect_same_prediction(used, random.integer(std::min<std::int64_t>(rows, 8), rows + 1), training);
    const std::vector<NamedTensor> unchanged = used.twin.gradients();
    EXPECT_EQ(unchanged.size(), gradients.size());
    gradients.resize(parameters_of(used.spec).size());
    expect_same_tensors(gradients, {unchanged.begin(), unchanged.begin() + std::ssize(gradients)}, tolerance);
  }
  next->update();
  used.twin.update();
  expect_same_tensors(next->parameters(), used.twin.parameters(), tolerance);
  expect_same_tensors(next->optimizer_state(), used.twin.optimizer_state(), tolerance);
  expect_same_tensors(next->buffers(), used.twin.buffers(), tolerance);
}

/// A few steps with batches of these sizes, in random order.
void expect_same_steps(const MlpSpec& spec, const std::vector<std::int64_t>& sizes, RandomCase& random) {
  at::manual_seed(random.seed());
  const OptimizerOptions optimizer = testing::random_optimizer(random);
  SCOPED_TRACE(describe_widths(spec) + heading_of_fields(network_fields(), spec) +
               heading_of_fields(loss_fields(), spec) + heading_of_fields(optimizer_fields(), optimizer));
  const at::ScalarType dtype = random.chance(0.7) ? at::kDouble : at::kFloat;
  TwinInUse used(spec, optimizer, dtype, static_cast<int>(random.integer(1, 3)));
  used.lr = optimizer.lr;
  for (int step = 0; step < 5 && !::testing::Test::HasFailure(); ++step) {
    SCOPED_TRACE(step);
    const std::int64_t rows = random.one_of(sizes);
    const bool needs_rows = spec.normalization == Normalization::batch && !spec.hidden.empty();
    expect_same_step(used, needs_rows ? std::max<std::int64_t>(rows, 8) : rows, random);
  }
}

TEST(Steps, OfATwinInUseEqualThoseOfANewOne) {
  for_random_cases(150, [](RandomCase& random) {
    expect_same_steps(testing::random_network(random), {1, 2, 3, 9, 12, 18, 256, 257, 300, 600}, random);
  });
}

TEST(Steps, OfATwinWithShardsAndSlicesEqualThoseOfANewOne) {
  for_random_cases(20, [](RandomCase& random) {
    // 53,470 parameters: three slices, and three shards from 57 rows on. 771 rows are two blocks each.
    expect_same_steps(testing::random_network(random, 200, {220, 40}, 10), {1, 19, 40, 57, 130, 771}, random);
  });
}

}  // namespace
}  // namespace twingrad
