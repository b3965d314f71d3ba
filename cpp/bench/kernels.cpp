// Benchmarks of single kernels with Google Benchmark: forward and backward of every layer and loss, gathering
// a batch, and an Adam step, in float32 with a batch size of 128 for the default network 784-128-10.
// `kernels --help` shows how to select benchmarks.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "twingrad/data/batches.h"
#include "twingrad/data/dataset.h"
#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/bias.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/l1_loss.h"
#include "twingrad/losses/mse_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/adam.h"
#include "twingrad/runtime/threads.h"

namespace {

using namespace twingrad;
using namespace twingrad::nn;
using at::Tensor;

constexpr std::int64_t kRows = 128;
constexpr std::int64_t kInputs = 784;
constexpr std::int64_t kHidden = 128;
constexpr std::int64_t kClasses = 10;

Parameter parameter(at::IntArrayRef shape) { return {at::randn(shape), at::zeros(shape)}; }

/// width: number of columns of the input
void register_layer(const std::string& name, std::int64_t width, const std::shared_ptr<Layer>& layer) {
  const auto measure = [layer, width](benchmark::State& state, bool backward) {
    const Tensor x = at::randn({kRows, width});
    const Tensor grad_y = at::randn(layer->forward(x).sizes());
    for (auto _ : state) {
      benchmark::DoNotOptimize(backward ? layer->backward(grad_y) : layer->forward(x));
    }
    state.SetItemsProcessed(state.iterations() * kRows);
  };
  benchmark::RegisterBenchmark((name + "/forward").c_str(), measure, false);
  benchmark::RegisterBenchmark((name + "/backward").c_str(), measure, true);
}

void register_layers() {
  register_layer(
      "linear 784-128, first", kInputs,
      std::make_shared<Linear>(parameter({kHidden, kInputs}), parameter({kHidden}), InputGradient::skip));
  register_layer("linear 784-128", kInputs,
                 std::make_shared<Linear>(parameter({kHidden, kInputs}), parameter({kHidden})));
  register_layer("linear 128-10", kHidden,
                 std::make_shared<Linear>(parameter({kClasses, kHidden}), parameter({kClasses})));
  register_layer("matmul 784-128", kInputs, std::make_shared<Matmul>(parameter({kInputs, kHidden})));
  register_layer("bias 128", kHidden, std::make_shared<AddBias>(parameter({kHidden})));
  register_layer("append_ones 784", kInputs, std::make_shared<AppendOnes>());
  for (const ActivationEntry& activation : activations()) {
    register_layer(activation.name + " 128", kHidden, activation.make());
  }
  const auto dropout = std::make_shared<Dropout>(0.5);
  dropout->set_mask(at::rand({kRows, kHidden}) < 0.5);
  register_layer("dropout 128", kHidden, dropout);
  const RunningStatistics statistics{at::zeros({kHidden}), at::ones({kHidden})};
  register_layer("batch_norm 128", kHidden,
                 std::make_shared<BatchNorm1d>(parameter({kHidden}), parameter({kHidden}), statistics));
  register_layer("layer_norm 128", kHidden,
                 std::make_shared<LayerNorm>(parameter({kHidden}), parameter({kHidden})));
  register_layer("rms_norm 128", kHidden, std::make_shared<RMSNorm>(parameter({kHidden})));
  register_layer("softmax 10", kClasses, std::make_shared<Softmax>());
  register_layer("log_softmax 10", kClasses, std::make_shared<LogSoftmax>());
}

template <typename LossType>
void register_loss(const std::string& name, const Tensor& input, const Tensor& target) {
  const auto measure = [input, target](benchmark::State& state, bool backward) {
    LossType loss;
    loss.forward(input, target);
    for (auto _ : state) {
      if (backward) {
        benchmark::DoNotOptimize(loss.backward());
      } else {
        benchmark::DoNotOptimize(loss.forward(input, target));
      }
    }
    state.SetItemsProcessed(state.iterations() * kRows);
  };
  benchmark::RegisterBenchmark((name + "/forward").c_str(), measure, false);
  benchmark::RegisterBenchmark((name + "/backward").c_str(), measure, true);
}

void register_losses() {
  const Tensor logits = at::randn({kRows, kClasses});
  const Tensor log_probabilities = logits.log_softmax(1);
  const Tensor classes = at::randint(kClasses, {kRows}, at::kLong);
  const Tensor probabilities = at::rand({kRows, kClasses}).softmax(1);
  register_loss<CrossEntropyLoss>("cross_entropy", logits, classes);
  register_loss<WeightedCrossEntropyLoss>("weighted_cross_entropy", logits, classes);
  register_loss<SoftCrossEntropyLoss>("soft_cross_entropy", logits, probabilities);
  register_loss<NLLLoss>("nll", log_probabilities, classes);
  register_loss<KLDivLoss>("kl_divergence", log_probabilities, probabilities);
  register_loss<BCEWithLogitsLoss>("bce_with_logits", logits, probabilities);
  register_loss<MSELoss>("mse", logits, probabilities);
  register_loss<L1Loss>("l1", logits, probabilities);
  register_loss<SmoothL1Loss>("smooth_l1", logits, probabilities);
  register_loss<HuberLoss>("huber", logits, probabilities);
}

void gather(benchmark::State& state) {
  // As many images as MNIST has, so that they do not fit into a cache.
  constexpr std::int64_t kCount = 60'000;
  data::LabelledImages part{kCount, 28, 28, {}, {}};
  part.pixels.resize(static_cast<std::size_t>(kCount * kInputs), 128);
  part.labels.resize(static_cast<std::size_t>(kCount), 1);
  const data::ImageTensors samples(part, at::kCPU);
  const Tensor order = data::shuffled_indices(kCount, 1, 1);
  Tensor images = at::empty({0}, at::kFloat);
  Tensor labels = at::empty({0}, at::kLong);
  std::int64_t start = 0;
  for (auto _ : state) {
    samples.gather(order.narrow(0, start, kRows), images, labels);
    start = start + 2 * kRows <= kCount ? start + kRows : 0;
  }
  state.SetItemsProcessed(state.iterations() * kRows);
}

void adam(benchmark::State& state) {
  const std::int64_t count = parameter_count(MlpSpec{.hidden = {kHidden}});
  optim::Adam optimizer({});
  Tensor values = at::randn({count});
  const Tensor gradients = at::randn({count});
  for (auto _ : state) {
    optimizer.step(values, gradients);
  }
  state.SetItemsProcessed(state.iterations() * count);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  use_threads({});  // one thread, as in a shard
  flush_denormal_numbers();
  benchmark::AddCustomContext("matrix library", blas_library());
  at::manual_seed(1);
  register_layers();
  register_losses();
  benchmark::RegisterBenchmark("gather 128 × 784", gather);
  benchmark::RegisterBenchmark("adam 784-128-10", adam);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
