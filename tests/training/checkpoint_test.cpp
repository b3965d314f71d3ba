#include "twingrad/training/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>

#include "../support/refusal.h"
#include "../support/temporary_folder.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/training/trainer.h"

namespace twingrad {
namespace {

using at::Tensor;

using ::testing::HasSubstr;
using testing::refusal_of;

/// Stores the contents of the checkpoint files.
class CheckpointRecorder final : public TrainingObserver {
 public:
  explicit CheckpointRecorder(std::vector<Twin*> twins) : twins_(std::move(twins)) {}
  void on_checkpoint(const TrainingProgress& progress) override {
    Checkpoint checkpoint;
    checkpoint.progress = progress;
    checkpoint.metrics_size = 7;
    checkpoint.run = {{"seed", 1}};
    checkpoint.tensors = tensors_of(twins_);
    contents.push_back(content_of(checkpoint));
  }
  std::vector<std::string> contents;

 private:
  std::vector<Twin*> twins_;
};

/// A complete run, new or resumed from a checkpoint.
struct CompleteRun {
  CompleteRun(const data::Dataset& dataset, const MlpSpec& network, const OptimizerOptions& optimizer,
              const TrainingOptions& options, const std::string& from = "")
      : spec(network),
        train(dataset.train, at::kCPU),
        test(dataset.test, at::kCPU),
        autograd(spec, optimizer, draw_initial_parameters(spec, options.seed), options.dtype),
        manual(spec, optimizer, draw_initial_parameters(spec, options.seed), options.dtype),
        recorder({&autograd, &manual}) {
    TrainingProgress progress;
    if (!from.empty()) {
      const Checkpoint checkpoint = parse_checkpoint(from, "checkpoint");
      load(autograd, checkpoint);
      load(manual, checkpoint);
      progress = checkpoint.progress;
    }
    Trainer trainer(spec, {&autograd, &manual}, train, test, options, {&recorder});
    result = trainer.run(false, progress);
  }

  MlpSpec spec;
  data::ImageTensors train, test;
  AutogradTwin autograd;
  ManualTwin manual;
  CheckpointRecorder recorder;
  TrainingResult result;
};

/// The last checkpoint, without the times of the run.
std::string end_of(const CompleteRun& run) {
  Checkpoint end = parse_checkpoint(run.recorder.contents.back(), "end");
  for (Tally& tally : end.progress.tallies) {
    tally.seconds = 0;
  }
  for (EpochMetrics& metrics : end.progress.result.last) {
    metrics.seconds = metrics.samples_per_second = 0;
  }
  end.progress.result.seconds.clear();
  end.progress.result.seconds_by_part.clear();
  return content_of(end);
}

struct Case {
  std::string name;
  MlpSpec network;
  OptimizerOptions optimizer;
  ScheduleOptions schedule = {};
  std::int64_t batch_size = 32;
};

std::vector<Case> cases() {
  using Kind = OptimizerOptions::Kind;
  using Schedule = ScheduleOptions::Kind;
  const MlpSpec plain{.inputs = 784, .hidden = {12}};
  MlpSpec batch_norm = plain;
  batch_norm.hidden = {12, 12};
  batch_norm.normalization = Normalization::batch;
  batch_norm.dropout = 0.3;
  batch_norm.residual = true;
  MlpSpec layer_norm = plain;
  layer_norm.normalization = Normalization::layer;
  std::vector<Case> cases = {
      {"adam", plain, {}},
      {"adam, full batch", plain, {}, {}, 0},
      {"amsgrad, step schedule",
       plain,
       {.amsgrad = true},
       {.kind = Schedule::step, .step_epochs = 1, .gamma = 0.5}},
      {"adamw, cosine, layer normalization",
       layer_norm,
       default_options(Kind::adamw),
       {.kind = Schedule::cosine}},
      {"adam, one cycle, batch normalization, dropout, residual",
       batch_norm,
       {},
       {.kind = Schedule::one_cycle}},
      {"sgd", plain, {.kind = Kind::sgd, .lr = 0.1}},
      {"sgd with momentum, warm-up, clipping",
       plain,
       {.kind = Kind::sgd, .lr = 0.1, .momentum = 0.9, .nesterov = true, .clip_norm = 1},
       {.warm_up = 12}},
      {"rmsprop", plain, {.kind = Kind::rmsprop, .lr = 1e-3, .momentum = 0.5, .centered = true}},
      {"adagrad",
       plain,
       {.kind = Kind::adagrad, .lr = 0.01, .eps = 1e-10, .lr_decay = 0.1, .initial_accumulator_value = 0.1}},
  };
  return cases;
}

TEST(Checkpoint, ResumesBitForBitFromEveryCheckpoint) {
  const data::Dataset dataset = data::synthetic(1, 200, 50);
  for (const Case& of : cases()) {
    for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
      const TrainingOptions options{.epochs = 3,
                                    .batch_size = of.batch_size,
                                    .checkpoint_every = 2,
                                    .lr = of.optimizer.lr,
                                    .schedule = of.schedule,
                                    .dtype = dtype};
      const CompleteRun whole(dataset, of.network, of.optimizer, options);
      const std::string end = end_of(whole);
      ASSERT_GE(whole.recorder.contents.size(), 3U) << of.name;
      for (std::size_t i = 0; i < whole.recorder.contents.size(); i += i < 2 ? 1 : 3) {
        const CompleteRun continued(dataset, of.network, of.optimizer, options, whole.recorder.contents[i]);
        const bool is_the_end = i + 1 == whole.recorder.contents.size();
        if (!is_the_end) {
          EXPECT_TRUE(end_of(continued) == end) << of.name << ", from checkpoint " << i;
        }
      }
    }
  }
}

TEST(Checkpoint, IsWrittenBeforeTheFirstStepAndPerEpochOrEveryNSteps) {
  const data::Dataset dataset = data::synthetic(1, 200, 50);  // 7 steps per epoch
  const auto steps = [&](std::int64_t every) {
    const CompleteRun run(dataset, {.hidden = {4}}, {},
                          {.epochs = 2, .batch_size = 32, .checkpoint_every = every});
    std::vector<std::int64_t> saved;
    for (const std::string& content : run.recorder.contents) {
      saved.push_back(parse_checkpoint(content, "").progress.result.steps);
    }
    return saved;
  };
  EXPECT_EQ(steps(0), (std::vector<std::int64_t>{0, 7, 14}));
  EXPECT_EQ(steps(4), (std::vector<std::int64_t>{0, 4, 8, 12, 14}));
  EXPECT_EQ(steps(7), (std::vector<std::int64_t>{0, 7, 14}));
}

std::string some_content() {
  const data::Dataset dataset = data::synthetic(1, 64, 50);
  return CompleteRun(dataset, {.hidden = {3}}, {}, {.epochs = 1, .batch_size = 32}).recorder.contents.back();
}

TEST(Checkpoint, DetectsAnyChangedByte) {
  const std::string content = some_content();
  for (std::size_t i = 0; i < content.size(); i += i < 4096 ? 7 : 997) {
    std::string damaged = content;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x04);
    EXPECT_THAT(refusal_of([&] { parse_checkpoint(damaged, "file"); }), HasSubstr("file")) << "byte " << i;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{8}, content.size() / 2, content.size() - 1}) {
    EXPECT_THAT(refusal_of([&] { parse_checkpoint(content.substr(0, size), "file"); }), HasSubstr("file"));
  }
}

TEST(Checkpoint, RefusesOtherFiles) {
  EXPECT_THAT(refusal_of([] {
                parse_checkpoint(safetensors_of({{{"a", torch::ones({2})}}, {}}), "file");
              }),
              HasSubstr("expected a checkpoint of twingrad"));
}

TEST(Checkpoint, RefusesTheStateOfAnotherNetwork) {
  const Checkpoint checkpoint = parse_checkpoint(some_content(), "");
  const MlpSpec wider{.hidden = {5}};
  ManualTwin twin(wider, {}, draw_initial_parameters(wider, 1), torch::kFloat);
  const Tensor before = twin.parameters()[0].tensor.clone();
  EXPECT_THROW(load(twin, checkpoint), std::invalid_argument);
  EXPECT_TRUE(twin.parameters()[0].tensor.equal(before));
}

// ---- The folder -------------------------------------------------------------------------------------------

Checkpoint checkpoint_at(std::int64_t step) {
  Checkpoint checkpoint;
  checkpoint.progress.result.steps = step;
  checkpoint.tensors = {{"a", torch::full({3}, static_cast<double>(step))}};
  return checkpoint;
}

class CheckpointFolderTest : public ::testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  std::filesystem::path file(std::int64_t step) const {
    std::string digits = std::to_string(step);
    return path / ("step-" + std::string(12 - digits.size(), '0') + digits + ".safetensors");
  }

  testing::TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "checkpoint";
  CheckpointFolder checkpoints{path};
};

TEST_F(CheckpointFolderTest, KeepsTheLastTwo) {
  for (const std::int64_t step : {0, 9, 10, 11}) {
    checkpoints.write(checkpoint_at(step));
  }
  EXPECT_EQ(names(),
            (std::vector<std::string>{"step-000000000010.safetensors", "step-000000000011.safetensors"}));
  EXPECT_EQ(checkpoints.read_newest().checkpoint.progress.result.steps, 11);
}

TEST_F(CheckpointFolderTest, FallsBackToThePreviousUndamagedCheckpoint) {
  checkpoints.write(checkpoint_at(1));
  checkpoints.write(checkpoint_at(2));
  std::filesystem::resize_file(file(2), 100);
  const CheckpointFolder::Newest newest = checkpoints.read_newest();
  EXPECT_EQ(newest.checkpoint.progress.result.steps, 1);
  ASSERT_EQ(newest.damages.size(), 1U);
  EXPECT_THAT(newest.damages[0], HasSubstr(file(2).string()));
  std::ofstream(file(1)) << "nothing";
  EXPECT_THAT(refusal_of([&] { checkpoints.read_newest(); }), HasSubstr("2 damaged"));
}

TEST_F(CheckpointFolderTest, RefusesADirectoryWithoutCheckpoints) {
  EXPECT_THAT(refusal_of([&] { checkpoints.read_newest(); }), HasSubstr("found none"));
}

TEST_F(CheckpointFolderTest, RefusesAFileInPlaceOfTheDirectory) {
  std::ofstream(path.string()) << "a file";
  EXPECT_THAT(refusal_of([&] { checkpoints.write(checkpoint_at(1)); }), HasSubstr(path.string()));
}

}  // namespace
}  // namespace twingrad
