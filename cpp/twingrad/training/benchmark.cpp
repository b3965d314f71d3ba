#include "twingrad/training/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/optim/adam.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/training/trainer.h"

namespace twingrad {
namespace {

using at::Tensor;

constexpr std::int64_t kImages = 60'000;
constexpr std::int64_t kTestImages = 10'000;
/// What one run of an epoch may cost: a few times that of 784-98-10.
constexpr double kOperations = 1e11;
constexpr std::int64_t kMostSteps = 3'000;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

data::LabelledImages random_images(std::int64_t count) {
  data::LabelledImages images;
  images.count = count;
  images.height = images.width = 28;
  std::mt19937_64 random(1);
  images.pixels.resize(static_cast<std::size_t>(count * 28 * 28));
  for (std::size_t i = 0; i < images.pixels.size(); i += 8) {
    std::uint64_t draw = random();
    for (std::size_t byte = 0; byte < 8 && i + byte < images.pixels.size(); ++byte, draw >>= 8) {
      images.pixels[i + byte] = static_cast<std::uint8_t>(draw);
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    images.labels.push_back(static_cast<std::uint8_t>(random() % 10));
  }
  return images;
}

/// How many images an epoch is timed on: whole batches, unless they are all.
std::int64_t images_of(const BenchmarkCase& of) {
  if (of.batch_size == 0) {
    return kImages;
  }
  const auto affordable =
      static_cast<std::int64_t>(kOperations / (6.0 * static_cast<double>(parameter_count(of.network))));
  const std::int64_t steps = std::clamp<std::int64_t>(affordable / of.batch_size, 8, kMostSteps);
  return std::min(steps * of.batch_size, kImages);
}

/// The products of a step and nothing else: x Wᵀ, (∂L/∂y)ᵀ x and ∂L/∂y W of every layer, on the rows of one shard, all
/// matrices as they lie in the manual twin.
class Products {
 public:
  Products(const MlpSpec& spec, std::int64_t rows) {
    for (const LayerSpec& layer : layers_of(spec)) {
      if (layer.kind == LayerSpec::Kind::linear) {
        layers_.push_back({at::rand({rows, layer.inputs}), at::rand({layer.inputs, layer.outputs}).t(),
                           at::rand({rows, layer.outputs}), at::empty({layer.inputs, layer.outputs}).t(),
                           at::empty({rows, layer.inputs})});
      }
    }
  }

  void run() {
    for (Layer& layer : layers_) {
      ops::matmul(layer.y, layer.x, layer.weight.t());
    }
    for (std::size_t i = layers_.size(); i-- > 0;) {
      Layer& layer = layers_[i];
      ops::matmul(layer.grad_weight, layer.y.t(), layer.x);
      if (i > 0) {
        ops::matmul(layer.grad_x, layer.y, layer.weight);
      }
    }
  }

 private:
  struct Layer {
    Tensor x, weight, y, grad_weight, grad_x;
  };
  std::vector<Layer> layers_;
};

/// One piece of work that is timed: run() returns the seconds.
struct Contender {
  Timing timing;
  std::function<double()> run;
};

/// A waiting thread of OpenBLAS spins for some 30 ms. After so long the threads of the one before are asleep.
constexpr auto kPause = std::chrono::milliseconds(50);

/// Runs each once to warm up, and then all in turn.
std::vector<Timing> take_turns(std::vector<Contender> contenders, int repeats) {
  for (Contender& contender : contenders) {
    contender.run();
  }
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (Contender& contender : contenders) {
      std::this_thread::sleep_for(kPause);
      contender.timing.seconds.push_back(contender.run());
    }
  }
  std::vector<Timing> timings;
  for (Contender& contender : contenders) {
    timings.push_back(std::move(contender.timing));
  }
  return timings;
}

/// Work that is too short for the clock, often enough to last: run() returns the seconds of one.
Contender repeated(const std::string& what, std::function<void()> work) {
  return {{what, {}}, [work = std::move(work)] {
            constexpr double kLongEnough = 2e-3;
            double start = now();
            work();
            const double once = std::max(now() - start, 1e-9);
            const int times = static_cast<int>(std::clamp(kLongEnough / once, 1.0, 1000.0));
            start = now();
            for (int i = 0; i < times; ++i) {
              work();
            }
            return (now() - start) / times;
          }};
}

/// Half the time that a number takes to another core and back.
double seconds_from_core_to_core(ThreadPool& workers) {
  constexpr int kTimes = 1000;
  std::atomic<int> number = 0;
  double start = 0;
  double end = 0;
  workers.run(2, [&](int i) {
    for (int sent = i; sent < 2 * kTimes; sent += 2) {
      for (int spin = 0; number.load(std::memory_order_acquire) != sent; ++spin) {
        if (spin > kTimes) {
          std::this_thread::yield();  // perhaps both are on one core
        }
      }
      if (sent == 2) {  // the other thread is awake
        start = now();
      }
      number.store(sent + 1, std::memory_order_release);
    }
    if (i == 1) {
      end = now();
    }
  });
  return (end - start) / (2 * kTimes - 2);
}

const char* name_of(LayerSpec::Kind kind) {
  switch (kind) {
    case LayerSpec::Kind::linear:
      return "linear";
    case LayerSpec::Kind::activation:
      return "activation";
    default:
      return "layer";
  }
}

/// Every layer and the loss, each forward and backward on the rows of one shard, on one thread.
std::vector<Contender> parts_of_a_shard(ManualShard& shard, const MlpSpec& spec, const Tensor& images,
                                        const Tensor& labels) {
  std::vector<Contender> contenders;
  const std::vector<LayerSpec> specs = layers_of(spec);
  shard.forward(images, labels, {0, images.size(0)});
  shard.backward();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    nn::Layer& layer = *shard.layers()[i];
    const Tensor x = i == 0 ? images : shard.output(i - 1);
    const Tensor grad_y = shard.output_gradient(i);
    const std::string what = fmt::format("{} {} ", specs[i].name, name_of(specs[i].kind));
    contenders.push_back(repeated(what + "forward", [&layer, x] { layer.forward(x); }));
    contenders.push_back(repeated(what + "backward", [&layer, grad_y] { layer.backward(grad_y); }));
  }
  const Tensor logits = shard.output(specs.size() - 1);
  nn::Loss& loss = shard.loss_function();
  contenders.push_back(repeated("loss forward", [&loss, logits, labels] { loss.forward(logits, labels); }));
  contenders.push_back(repeated("loss backward", [&loss] { loss.backward(); }));
  return contenders;
}

}  // namespace

std::string BenchmarkCase::name() const {
  return fmt::format("{}, {}", describe_widths(network),
                     batch_size == 0 ? "full batch" : fmt::format("batch {}", batch_size));
}

std::vector<BenchmarkCase> standard_benchmark_cases() {
  return {{{.hidden = {98}}, 128},  {{.hidden = {98}}, 0},
          {{.hidden = {500}}, 500}, {{.hidden = {1024, 1024, 1024}}, 128},
          {{.hidden = {98}}, 1},    {{.hidden = {98}}, 16}};
}

double Timing::median() const { return median_of(seconds); }
double Timing::minimum() const { return *std::min_element(seconds.begin(), seconds.end()); }
double Timing::maximum() const { return *std::max_element(seconds.begin(), seconds.end()); }

double median_ratio(const Timing& timing, const Timing& other) {
  std::vector<double> ratios = timing.seconds;
  for (std::size_t turn = 0; turn < ratios.size(); ++turn) {
    ratios[turn] /= other.seconds.at(turn);
  }
  return median_of(std::move(ratios));
}

BenchmarkResult run_benchmark(const BenchmarkCase& of, const BenchmarkOptions& options) {
  const std::int64_t images = images_of(of);
  const std::int64_t rows = of.batch_size == 0 ? images : of.batch_size;
  const double scale = static_cast<double>(kImages) / static_cast<double>(images);
  const std::int64_t steps = (images + rows - 1) / rows;

  BenchmarkResult result;
  result.of = of;
  const StepWork work = work_of(of.network, rows);
  result.threads = plan_threads(options.threads, work, Twins::manual);
  result.threads.autograd = plan_threads(options.threads, work, Twins::autograd).autograd;
  flush_denormal_numbers();
  keep_freed_memory();
  const auto workers = std::make_shared<ThreadPool>(result.threads.workers);
  const data::LabelledImages pixels = random_images(images);
  const data::LabelledImages test_pixels = random_images(kTestImages);
  const data::ImageTensors train(pixels, at::kCPU, workers);
  const data::ImageTensors test(test_pixels, at::kCPU, workers);
  const data::ImageTensors train_of_autograd(pixels, at::kCPU);  // without the workers, as in training
  const data::ImageTensors test_of_autograd(test_pixels, at::kCPU);

  const Tensor initial = draw_initial_parameters(of.network, 1);
  AutogradTwin autograd(of.network, {}, initial, at::kFloat, result.threads.autograd);
  ManualTwin manual(of.network, {}, initial, at::kFloat, workers, result.threads.manual);
  result.shards = manual.shards_for(rows);

  Tensor batch = at::empty({0}, at::kFloat);
  Tensor labels = at::empty({0}, at::kLong);
  if (of.batch_size == 0) {
    train.gather(at::arange(images, at::kLong), batch, labels);  // once, as the trainer does
  }
  std::int64_t epoch = 0;
  const auto train_epoch = [&](Twin& twin, const data::ImageTensors& gathered) {
    const double start = now();
    const Tensor order = data::shuffled_indices(images, 1, ++epoch);
    for (std::int64_t first = 0; first < images; first += rows) {
      if (of.batch_size != 0) {
        gathered.gather(order.narrow(0, first, std::min(rows, images - first)), batch, labels);
      }
      twin.compute_gradients(batch, labels);
      twin.update();
    }
    return (now() - start) * scale;
  };
  result.core_to_core.what = "from core to core";
  const auto train_manual = [&] {
    if (workers->count() > 1) {
      result.core_to_core.seconds.push_back(seconds_from_core_to_core(*workers));
    }
    return train_epoch(manual, train);
  };
  const auto evaluate = [&](Twin& twin, const data::ImageTensors& of_training,
                            const data::ImageTensors& of_test) {
    Trainer trainer(of.network, {&twin}, of_training, of_test, {}, {});
    const double start = now();
    trainer.evaluate();
    return now() - start;
  };
  std::vector<Products> products;
  for (int i = 0; i < result.shards; ++i) {
    products.emplace_back(of.network, part_of(rows, result.shards, i).size);
  }
  const auto multiply_alone = [&] {
    use_threads(result.threads.manual);
    const double start = now();
    for (std::int64_t step = 0; step < steps; ++step) {
      workers->run(result.shards, [&](int shard) { products[static_cast<std::size_t>(shard)].run(); });
    }
    return (now() - start) * static_cast<double>(kImages) / static_cast<double>(steps * rows);
  };

  std::vector<Contender> contenders;
  contenders.push_back({{"autograd twin", {}}, [&] { return train_epoch(autograd, train_of_autograd); }});
  contenders.push_back({{"manual twin", {}}, train_manual});
  contenders.push_back({{"matrix products alone", {}}, multiply_alone});
  if (!ops::product_library().empty()) {
    const auto by_libtorch = [](const auto& run) {
      return [&run] {
        const ops::LibTorchProductsGuard guard;
        return run();
      };
    };
    const std::string suffix = ", by " + blas_library();
    contenders.push_back({{"manual twin" + suffix, {}}, by_libtorch(train_manual)});
    contenders.push_back({{"matrix products alone" + suffix, {}}, by_libtorch(multiply_alone)});
  }
  result.epoch = take_turns(std::move(contenders), options.repeats);
  result.evaluation = take_turns(
      {{{"autograd twin", {}}, [&] { return evaluate(autograd, train_of_autograd, test_of_autograd); }},
       {{"manual twin", {}}, [&] { return evaluate(manual, train, test); }}},
      options.repeats);

  train.gather(data::shuffled_indices(images, 1, 1).narrow(0, 0, rows), batch, labels);
  const std::int64_t shard_rows = part_of(rows, result.shards, 0).size;
  ManualShard shard(of.network, FlatParameters(of.network, initial, at::kFloat));
  std::vector<Contender> parts;
  const Tensor indices = data::shuffled_indices(images, 1, 1).narrow(0, 0, rows);
  parts.push_back(repeated("gather, all threads", [&] { train.gather(indices, batch, labels); }));
  for (Contender& part :
       parts_of_a_shard(shard, of.network, batch.narrow(0, 0, shard_rows), labels.narrow(0, 0, shard_rows))) {
    parts.push_back(std::move(part));
  }
  manual.compute_gradients(batch, labels);  // an evaluation may have ended with fewer shards
  parts.push_back(repeated("optimizer, all threads", [&] { manual.update(); }));
  use_threads(result.threads.manual);
  result.details = take_turns(std::move(parts), options.repeats);
  return result;
}

}  // namespace twingrad
