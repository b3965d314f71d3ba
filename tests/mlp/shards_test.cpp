#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstring>

#include "twingrad/compare/distance.h"
#include "twingrad/data/batches.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/runtime/monotonic_clock.h"
#include "twins.h"

namespace twingrad {
namespace {

using at::Tensor;

using testing::relative;

struct RandomBatch {
  RandomBatch(const MlpSpec& spec, std::int64_t rows, at::ScalarType dtype)
      : images(torch::rand({rows, spec.inputs}, dtype)),
        labels(torch::randint(0, spec.classes, {rows}, torch::kLong)),
        masks(draw_dropout_masks(spec, rows, 1, 1)) {}
  Tensor images, labels;
  std::vector<Tensor> masks;
};

ManualTwin twin_of(const MlpSpec& spec, int workers, at::ScalarType dtype = torch::kDouble,
                   const OptimizerOptions& optimizer = {}) {
  return {spec, optimizer, draw_initial_parameters(spec, 2), dtype, std::make_shared<ThreadPool>(workers)};
}

/// Wide enough that three threads get a shard each.
MlpSpec wide() { return {.inputs = 300, .hidden = {200, 100}}; }

TEST(Shards, DependOnlyOnShapesAndNumberOfThreads) {
  const MlpSpec spec{.inputs = 784, .hidden = {98}};
  EXPECT_EQ(twin_of(spec, 2).shards_for(128), 2);
  EXPECT_EQ(twin_of(spec, 4).shards_for(60'000), 4);
  EXPECT_EQ(twin_of(spec, 1).shards_for(60'000), 1);
  EXPECT_EQ(twin_of(spec, 4).shards_for(1), 1) << "too little work to wake a thread";
  EXPECT_EQ(twin_of(spec, 4).shards_for(0), 1);
  MlpSpec batch_norm = spec;
  batch_norm.normalization = Normalization::batch;
  EXPECT_EQ(twin_of(batch_norm, 4).shards_for(60'000), 1) << "it needs the statistics of the entire batch";
}

TEST(Shards, AgreeWithAutograd) {
  torch::manual_seed(5);
  std::vector<MlpSpec> specs(5, wide());
  specs[1].dropout = 0.5;
  specs[2].reduction = nn::Reduction::sum;
  specs[3].normalization = Normalization::batch;
  specs[4].loss = LossKind::softmax_log;
  for (const MlpSpec& spec : specs) {
    AutogradTwin autograd(spec, {}, draw_initial_parameters(spec, 2), torch::kDouble);
    autograd.keep_intermediate_gradients(true);
    ManualTwin manual = twin_of(spec, 3);
    for (const std::int64_t rows : {128, 128, 31, 17}) {  // 31 and 17 do not divide evenly
      const RandomBatch batch(spec, rows, torch::kDouble);
      double losses[2];
      Twin* twins[2] = {&autograd, &manual};
      for (int i = 0; i < 2; ++i) {
        twins[i]->set_dropout_masks(batch.masks);
        losses[i] = twins[i]->forward(batch.images, batch.labels);
        twins[i]->backward();
      }
      const LargestDifference largest = largest_difference(autograd.gradients(), manual.gradients());
      EXPECT_NEAR(losses[0], losses[1], 1e-13);
      // The bound of the default network. The largest error is 2e-14, for batch normalization with 17 rows.
      EXPECT_LE(largest.relative, 1e-13) << largest.worst;
      EXPECT_LE(relative(autograd.logits(), manual.logits()), 1e-13);
      autograd.update();
      manual.update();
    }
    EXPECT_LE(compare_weights(autograd, manual).absolute, 1e-12);
  }
}

TEST(Shards, AnEmptyBatchHasGradientZero) {
  MlpSpec spec = wide();
  spec.reduction = nn::Reduction::sum;
  const RandomBatch batch(spec, 0, torch::kDouble);
  ManualTwin twin = twin_of(spec, 3);
  twin.compute_gradients(batch.images, batch.labels);
  for (const NamedTensor& gradient : twin.gradients()) {
    EXPECT_EQ(gradient.tensor.abs().max().item<double>(), 0) << gradient.name;
  }
}

/// Networks with this loss, also with class weights and with an ignored class if the loss has them.
std::vector<MlpSpec> networks_with(const std::string& loss, LossKind kind) {
  std::vector<MlpSpec> specs(3, {.inputs = 6, .hidden = {5}, .classes = 3, .loss = kind});
  if (loss_fields().at("--class-weights").belongs_to(loss)) {
    specs[1].class_weights = {0.5, 2, 3};
    specs[2].ignore_index = 1;
  }
  return specs;
}

TEST(Shards, AgreeWithAutogradOnABatchWithoutRows) {
  for (const auto& [name, kind] : loss_kinds()) {
    for (MlpSpec spec : networks_with(name, kind)) {
      for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
        SCOPED_TRACE(name);
        spec.reduction = reduction;
        const Tensor initial = draw_initial_parameters(spec, 1);
        AutogradTwin autograd(spec, {}, initial, at::kDouble);
        ManualTwin manual(spec, {}, initial, at::kDouble);
        const Tensor images = at::empty({0, 6}, at::kDouble), labels = at::empty({0}, at::kLong);
        const double expected = autograd.compute_gradients(images, labels);
        for (const bool in_one_call : {true, false}) {
          double loss = 0;
          if (in_one_call) {
            loss = manual.compute_gradients(images, labels);
          } else {
            loss = manual.forward(images, labels);
            manual.backward();
          }
          EXPECT_TRUE(loss == expected || (std::isnan(loss) && std::isnan(expected)))
              << loss << ", " << expected;
          for (const auto& [parameter, gradient] : manual.gradients()) {
            EXPECT_TRUE(gradient.eq(0).all().item<bool>()) << parameter;
          }
        }
      }
    }
  }
}

TEST(Shards, MeasureTheTimeOfTheForwardPass) {
  const MlpSpec spec = wide();
  const RandomBatch batch(spec, 600, torch::kFloat);
  for (const int threads : {1, 3}) {
    ManualTwin twin = twin_of(spec, threads, torch::kFloat);
    for (int step = 0; step < 2; ++step) {  // the time of the last step, not of all
      const double start = monotonic_seconds();
      twin.compute_gradients(batch.images, batch.labels);
      EXPECT_GT(twin.seconds_in_forward(), 0);
      EXPECT_LT(twin.seconds_in_forward(), monotonic_seconds() - start);
    }
  }
}

TEST(Shards, ReadingTheGradientsDoesNotChangeThem) {
  const MlpSpec spec = wide();
  const RandomBatch batch(spec, 128, torch::kDouble);
  ManualTwin read = twin_of(spec, 3);
  ManualTwin unread = twin_of(spec, 3);
  for (ManualTwin* twin : {&read, &unread}) {
    twin->compute_gradients(batch.images, batch.labels);
  }
  const Tensor once = read.gradients()[0].tensor.clone();
  EXPECT_TRUE(once.equal(read.gradients()[0].tensor));
  read.update();
  unread.update();
  for (std::size_t i = 0; i < parameters_of(spec).size(); ++i) {
    EXPECT_TRUE(read.parameters()[i].tensor.equal(unread.parameters()[i].tensor));
  }
}

TEST(Shards, TrainingIsReproducibleBitForBit) {
  const MlpSpec spec = wide();
  const RandomBatch batch(spec, 600, torch::kFloat);
  const auto run = [&] {
    ManualTwin twin = twin_of(spec, 3, torch::kFloat);
    for (int step = 0; step < 20; ++step) {
      twin.compute_gradients(batch.images, batch.labels);
      twin.update();
    }
    return twin.parameters()[0].tensor.clone();
  };
  EXPECT_TRUE(run().equal(run()));
}

// ---- Memory ----

/// Counts the calls of LibTorch's allocator. (LibTorch 1.13 and 2.6 differ in whether allocate is const and
/// whether copy_data exists, so each version overrides only some of these functions.)
class CountingAllocator final : public c10::Allocator {
 public:
  explicit CountingAllocator(c10::Allocator* inner) : inner_(inner) {}
  // NOLINTBEGIN(modernize-use-override)
  c10::DataPtr allocate(std::size_t size) const { return counted(size); }
  c10::DataPtr allocate(std::size_t size) { return counted(size); }
  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t size) const { std::memcpy(to, from, size); }
  // NOLINTEND(modernize-use-override)
  int count() const { return count_; }

 private:
  c10::DataPtr counted(std::size_t size) const {
    ++count_;
    return inner_->allocate(size);
  }
  c10::Allocator* inner_;
  mutable std::atomic<int> count_ = 0;
};

/// The number of tensor storages that `work` allocates.
int storages_allocated_by(const std::function<void()>& work) {
  c10::Allocator* const usual = c10::GetCPUAllocator();
  CountingAllocator counting(usual);
  c10::SetCPUAllocator(&counting, /*priority=*/1);
  work();
  const int count = counting.count();
  c10::SetCPUAllocator(usual, /*priority=*/1);
  return count;
}

TEST(Memory, CountsStorages) {
  EXPECT_EQ(storages_allocated_by([] { torch::empty({3}); }), 1);
  EXPECT_EQ(storages_allocated_by([] { torch::ones({3}) + torch::ones({3}); }), 3);
}

TEST(Memory, ARepeatedTrainingStepAllocatesNothing) {
  const MlpSpec spec;  // 784-128-10, ReLU, cross-entropy
  const data::Dataset dataset = data::synthetic(1, 512, 10);
  for (const int threads : {1, 2}) {
    const auto workers = std::make_shared<ThreadPool>(threads);
    const data::ImageTensors images(dataset.train, at::kCPU, workers);
    ManualTwin twin(spec, {}, draw_initial_parameters(spec, 1), torch::kFloat, workers);
    Tensor batch = torch::empty({0});
    Tensor labels = torch::empty({0}, torch::kLong);
    const Tensor order = data::shuffled_indices(512, 1, 1);
    const auto step = [&](std::int64_t first) {
      images.gather(order.narrow(0, first, 128), batch, labels);
      twin.compute_gradients(batch, labels);
      twin.update();
    };
    step(0);
    EXPECT_EQ(storages_allocated_by([&] {
                for (int i = 0; i < 3; ++i) {
                  step(128 * i);
                }
              }),
              0)
        << threads << " threads";
    twin.forward(batch, labels);
    twin.backward();
    EXPECT_EQ(storages_allocated_by([&] {
                twin.forward(batch, labels);
                twin.backward();
                twin.update();
              }),
              0)
        << "in lockstep, " << threads << " threads";
  }
}

}  // namespace
}  // namespace twingrad
