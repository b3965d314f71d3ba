#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <functional>
#include <map>

#include "../mlp/twins.h"
#include "twingrad/catalogue/targets.h"
#include "twingrad/data/batches.h"
#include "twingrad/data/dataset.h"
#include "twingrad/gradcheck/gradcheck.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/optim/make_optimizer.h"
#include "twingrad/runtime/gpu.h"
#include "twingrad/training/trainer.h"

// Training on a GPU. Without one, every test is skipped.

namespace twingrad {
namespace {

using at::Tensor;
using testing::relative;

class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) {
      GTEST_SKIP() << "no GPU found: this test did not run";
    }
    at::manual_seed(13);
  }
};

const at::TensorOptions kCudaDouble = at::TensorOptions(at::kCUDA).dtype(at::kDouble);
const at::TensorOptions kCudaFloat = at::TensorOptions(at::kCUDA).dtype(at::kFloat);

/// A network and an optimizer.
struct Problem {
  std::string name;
  MlpSpec spec;
  OptimizerOptions optimizer;
};

std::vector<Problem> problems() {
  const MlpSpec small{.inputs = 8, .hidden = {6, 5}, .classes = 4};
  std::vector<Problem> all;
  const auto add = [&](const std::string& name, const std::function<void(Problem&)>& change) {
    Problem problem{name, small, {}};
    change(problem);
    all.push_back(problem);
  };
  using Kind = OptimizerOptions::Kind;
  add("adam", [](Problem&) {});
  add("adamw", [](Problem& p) { p.optimizer = {.kind = Kind::adamw, .weight_decay = 0.1}; });
  add("amsgrad", [](Problem& p) { p.optimizer = {.amsgrad = true, .weight_decay = 0.1}; });
  add("momentum", [](Problem& p) { p.optimizer = {.kind = Kind::sgd, .momentum = 0.9}; });
  add("rmsprop", [](Problem& p) { p.optimizer = {.kind = Kind::rmsprop}; });
  add("adagrad", [](Problem& p) { p.optimizer = {.kind = Kind::adagrad}; });
  add("clipped", [](Problem& p) { p.optimizer.clip_norm = 0.1; });
  add("gelu, layer norm", [](Problem& p) {
    p.spec.activation = "gelu";
    p.spec.normalization = Normalization::layer;
  });
  add("batch norm", [](Problem& p) { p.spec.normalization = Normalization::batch; });
  add("dropout", [](Problem& p) { p.spec.dropout = 0.3; });
  add("residual", [](Problem& p) {
    p.spec.hidden = {6, 6};
    p.spec.residual = true;
  });
  for (const LossEntry& loss : losses()) {
    add(loss.name, [&](Problem& p) { p.spec.loss = loss.kind; });
  }
  add("class weights", [](Problem& p) { p.spec.class_weights = {1, 2, 0.5, 3}; });
  add("ignored class", [](Problem& p) { p.spec.ignore_index = 1; });
  add("sum", [](Problem& p) { p.spec.reduction = nn::Reduction::sum; });
  return all;
}

/// Batches that always lie in the same memory, as in the trainer: sixteen rows, and at each fifth step ten.
class Batches {
 public:
  Batches(const MlpSpec& spec, const at::TensorOptions& options)
      : spec_(spec), images_(at::empty({0}, options)), labels_(at::empty({0}, options.dtype(at::kLong))) {}

  Batch next() {
    const std::int64_t rows = ++count_ % 5 == 0 ? 10 : 16;
    const Tensor images = at::rand({rows, spec_.inputs}, at::kDouble);
    const Tensor labels = at::randint(0, spec_.classes, {rows}, at::kLong);
    images_.resize_(images.sizes()).copy_(images);
    labels_.resize_(labels.sizes()).copy_(labels);
    Batch batch{images_, labels_, {}};
    for (const Tensor& mask : draw_dropout_masks(spec_, rows, 1, count_)) {
      batch.masks.push_back(mask.to(images_.device()));
    }
    return batch;
  }

 private:
  MlpSpec spec_;
  std::int64_t count_ = 0;
  Tensor images_, labels_;
};

/// 30 steps, with what happens between steps of a run. Returns the sum of the losses.
double train(Twin& twin, const MlpSpec& spec, const at::TensorOptions& options) {
  at::manual_seed(3);
  Batches batches(spec, options);
  double losses = 0;
  for (int step = 0; step < 30; ++step) {
    const Batch batch = batches.next();
    twin.set_dropout_masks(batch.masks);
    losses += twin.enqueue_gradients(batch.images, batch.labels).item<double>();
    twin.update();
    if (step == 12) {
      twin.set_lr(0.02);
    } else if (step == 17) {
      twin.eval();
      const c10::NoGradGuard no_grad;
      twin.predict(at::ones({1000, spec.inputs}, options));
      twin.train();
    } else if (step == 22) {
      std::vector<NamedTensor> state;
      for (const auto& [name, tensor] : twin.optimizer_state()) {
        state.push_back({name, tensor.clone()});
      }
      twin.load_optimizer_state(state);
    }
  }
  return losses;
}

TEST_F(CudaTest, BothTwinsTrainAsOnTheCpu) {
  for (const Problem& problem : problems()) {
    const Tensor initial = draw_initial_parameters(problem.spec, 2);
    ManualTwin on_cpu(problem.spec, problem.optimizer, initial, at::kDouble);
    ManualTwin manual(problem.spec, problem.optimizer, initial, kCudaDouble);
    AutogradTwin autograd(problem.spec, problem.optimizer, initial, kCudaDouble);
    const double loss = train(on_cpu, problem.spec, at::kDouble);
    for (Twin* twin : std::initializer_list<Twin*>{&manual, &autograd}) {
      EXPECT_NEAR(train(*twin, problem.spec, kCudaDouble), loss, 1e-11 * loss) << problem.name;
      for (const auto& [name, parameter] : on_cpu.parameters()) {
        const Tensor other = find_tensor(twin->parameters(), name, parameter.sizes());
        EXPECT_TRUE(other.is_cuda());
        EXPECT_LE(relative(parameter, other.cpu()), 1e-11)
            << problem.name << ", " << twin->name() << ", " << name;
      }
    }
  }
}

TEST_F(CudaTest, ARecordedStepGivesTheBitsOfAnOrdinaryOne) {
  for (const Problem& problem : problems()) {
    const Tensor initial = draw_initial_parameters(problem.spec, 2);
    ManualTwin recorded(problem.spec, problem.optimizer, initial, kCudaFloat);
    ManualParts parts;  // a twin with a part that it does not know is not recorded
    parts.optimizer = [&] { return optim::make_optimizer(problem.optimizer); };
    ManualTwin ordinary(problem.spec, problem.optimizer, initial, kCudaFloat, std::make_shared<ThreadPool>(1),
                        {}, parts);
    EXPECT_EQ(train(recorded, problem.spec, kCudaFloat), train(ordinary, problem.spec, kCudaFloat))
        << problem.name;
    for (const auto& [name, parameter] : ordinary.parameters()) {
      EXPECT_TRUE(parameter.equal(find_tensor(recorded.parameters(), name, parameter.sizes())))
          << problem.name << ", " << name;
    }
  }
}

TEST_F(CudaTest, AStepDoesNotWaitForTheGpu) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  const Tensor initial = draw_initial_parameters(spec, 2);
  ManualTwin manual(spec, {.clip_norm = 1}, initial, kCudaFloat);
  AutogradTwin autograd(spec, {}, initial, kCudaFloat);
  const Tensor images = at::rand({16, 8}, kCudaFloat);
  const Tensor labels = at::zeros({16}, kCudaFloat.dtype(at::kLong));
  for (Twin* twin : std::initializer_list<Twin*>{&manual, &autograd}) {
    for (int step = 0; step < 5; ++step) {
      twin->enqueue_gradients(images, labels);
      twin->update();
    }
    const gpu::NoWaitGuard guard;
    Tensor loss;
    for (int step = 0; step < 5; ++step) {
      loss = twin->enqueue_gradients(images, labels);
      twin->update();
      twin->set_lr(0.01);
    }
    EXPECT_THROW(loss.item<double>(), c10::Error) << "the guard works";
  }
}

TEST_F(CudaTest, TheTwinsAgreeJudgedByFloat64) {
  for (const Problem& problem : problems()) {
    for (const at::TensorOptions& options : {kCudaFloat, kCudaDouble}) {
      const Tensor initial = draw_initial_parameters(problem.spec, 2);
      AutogradTwin autograd(problem.spec, problem.optimizer, initial, options);
      ManualTwin manual(problem.spec, problem.optimizer, initial, options);
      const Comparison comparison =
          TwinComparer(manual, autograd).compare_with_update(Batches(problem.spec, options).next());
      EXPECT_TRUE(comparison.passed() || comparison.is_empty()) << problem.name << "\n"
                                                                << comparison.to_string();
    }
  }
}

TEST_F(CudaTest, EveryEntryOfTheCatalogueAgrees) {
  for (const catalogue::Target& target : catalogue::all_targets()) {
    for (const catalogue::Check& check : target.run({.device = at::kCUDA})) {
      EXPECT_TRUE(check.passed) << check.name << " against " << check.oracle << " in " << check.dtype << "\n"
                                << check.detail;
    }
  }
}

TEST_F(CudaTest, TheGradientCheckerAcceptsTensorsOnAGpu) {
  const Tensor x = at::rand({3, 4}, kCudaDouble).requires_grad_(true);
  const auto right = [](const std::vector<Tensor>& inputs) { return std::vector<Tensor>{inputs[0].tanh()}; };
  const auto wrong = [](const std::vector<Tensor>& inputs) {
    return std::vector<Tensor>{inputs[0].tanh() + inputs[0].detach()};
  };
  EXPECT_TRUE(gradcheck(right, {x}));
  EXPECT_FALSE(gradcheck(wrong, {x}));
}

/// The metrics of the last epoch, by twin.
struct LastEpoch {
  std::map<std::string, EpochMetrics> metrics;
  TrainingResult result;
  std::vector<Tensor> weights;
};

LastEpoch run_trainer(c10::Device device, at::ScalarType dtype, const data::Dataset& dataset) {
  const MlpSpec spec{.inputs = 784, .hidden = {32}};
  const TrainingOptions options{.epochs = 3, .batch_size = 32, .dtype = dtype, .device = device};
  const data::ImageTensors train(dataset.train, device), test(dataset.test, device);
  const Tensor initial = draw_initial_parameters(spec, 1);
  AutogradTwin autograd(spec, {}, initial, at::TensorOptions(device).dtype(dtype));
  ManualTwin manual(spec, {}, initial, at::TensorOptions(device).dtype(dtype));
  Trainer trainer(spec, {&autograd, &manual}, train, test, options, {});
  const std::atomic<bool> stop = false;
  LastEpoch last;
  last.result = trainer.run(stop);
  for (const EpochMetrics& metrics : last.result.last) {
    last.metrics[metrics.twin] = metrics;
  }
  for (const NamedTensor& parameter : manual.parameters()) {
    last.weights.push_back(parameter.tensor.cpu());
  }
  return last;
}

TEST_F(CudaTest, TheTrainerReportsWhatItReportsOnTheCpu) {
  const data::Dataset dataset = data::synthetic(1, 300, 100);
  const LastEpoch cpu = run_trainer(at::kCPU, at::kDouble, dataset);
  const LastEpoch cuda = run_trainer(at::kCUDA, at::kDouble, dataset);
  for (const char* twin : {"autograd", "manual"}) {
    const EpochMetrics& expected = cpu.metrics.at(twin);
    const EpochMetrics& found = cuda.metrics.at(twin);
    EXPECT_NEAR(found.train_loss, expected.train_loss, 1e-9);
    EXPECT_EQ(found.train_accuracy, expected.train_accuracy);
    EXPECT_NEAR(found.test_loss, expected.test_loss, 1e-9);
    EXPECT_EQ(found.test_accuracy, expected.test_accuracy);
    EXPECT_GT(found.seconds, 0);
    EXPECT_GE(cuda.result.seconds.at(twin), found.seconds);
  }
  EXPECT_EQ(cuda.result.steps, cpu.result.steps);
}

TEST_F(CudaTest, RunsAreReproducibleBitForBit) {
  const data::Dataset dataset = data::synthetic(1, 300, 100);
  const LastEpoch first = run_trainer(at::kCUDA, at::kFloat, dataset);
  const LastEpoch second = run_trainer(at::kCUDA, at::kFloat, dataset);
  for (std::size_t i = 0; i < first.weights.size(); ++i) {
    EXPECT_TRUE(first.weights[i].equal(second.weights[i])) << i;
  }
}

}  // namespace
}  // namespace twingrad
