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
/// Limit on the operations of one timed epoch: a few times those of 784-98-10.
constexpr double kOperations = 1e11;
constexpr std::int64_t kMaxSteps = 3'000;

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

/// The number of images to time an epoch on: a multiple of the batch size, or all images.
std::int64_t images_of(const BenchmarkCase& of) {
  if (of.batch_size == 0) {
    return kImages;
  }
  const auto affordable =
      static_cast<std::int64_t>(kOperations / (6.0 * static_cast<double>(parameter_count(of.network))));
  const std::int64_t steps = std::clamp<std::int64_t>(affordable / of.batch_size, 8, kMaxSteps);
  return std::min(steps * of.batch_size, kImages);
}

/// Only the products of a step: x Wᵀ, (∂L/∂y)ᵀ x and ∂L/∂y W of each layer, for the rows of one shard, with
/// the memory layout of the manual twin.
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

/// Work to be timed: run() returns the seconds it took.
struct Contender {
  Timing timing;
  std::function<double()> run;
};

/// A waiting OpenBLAS thread spins for about 30 ms. After this pause, the previous contender's threads sleep.
constexpr auto kPause = std::chrono::milliseconds(50);

/// Runs each contender once to warm up, then all of them in turn.
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

/// Work that is too short to be timed once: run() repeats it and returns the seconds per repetition.
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

/// Half the time that a number takes from one core to another and back.
double seconds_from_core_to_core(ThreadPool& pool) {
  constexpr int kTimes = 1000;
  std::atomic<int> number = 0;
  double start = 0;
  double end = 0;
  pool.run(2, [&](int i) {
    for (int sent = i; sent < 2 * kTimes; sent += 2) {
      for (int spin = 0; number.load(std::memory_order_acquire) != sent; ++spin) {
        if (spin > kTimes) {
          std::this_thread::yield();  // in case both run on one core
        }
      }
      if (sent == 2) {  // by now the other thread is awake
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

/// Forward and backward of every layer and of the loss, for the rows of one shard, on one thread.
std::vector<Contender> parts_of_a_shard(ManualShard& shard, const MlpSpec& spec, const Tensor& images,
                                        const Tensor& labels) {
  std::vector<Contender> contenders;
  const std::vector<LayerSpec> specs = layers_of(spec);
  shard.forward(images, labels, {0, images.size(0)});
  shard.backward();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    nn::Layer& layer = *shard.layers()[i];
    const Tensor x = i == 0 ? images : shard.output(i - 1);
    const Tensor& grad_y = shard.output_gradient(i);
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

/// The two twins, the data and the buffers of one case.
class CaseBench {
 public:
  CaseBench(const BenchmarkCase& of, int threads)
      : network_(of.network),
        is_full_batch_(of.batch_size == 0),
        images_(images_of(of)),
        rows_(is_full_batch_ ? images_ : of.batch_size),
        plan_(plan_of(of, rows_, threads)),
        pool_(std::make_shared<ThreadPool>(plan_.workers)),
        pixels_(random_images(images_)),
        test_pixels_(random_images(kTestImages)),
        train_(pixels_, at::kCPU, pool_),
        test_(test_pixels_, at::kCPU, pool_),
        train_without_pool_(pixels_, at::kCPU),
        test_without_pool_(test_pixels_, at::kCPU),
        initial_(draw_initial_parameters(network_, 1)),
        autograd_(network_, {}, initial_, at::kFloat, plan_.autograd),
        manual_(network_, {}, initial_, at::kFloat, pool_, plan_.manual) {
    for (int i = 0; i < shards(); ++i) {
      products_.emplace_back(network_, part_of(rows_, shards(), i).size);
    }
    if (is_full_batch_) {
      train_.gather(at::arange(images_, at::kLong), batch_, labels_);  // once, as the trainer does
    }
  }

  const ThreadPlan& plan() const { return plan_; }
  int shards() const { return manual_.shards_for(rows_); }

  std::vector<Timing> time_epochs(int repeats, Timing& core_to_core) {
    const auto train_manual = [&] {
      if (pool_->count() > 1) {
        core_to_core.seconds.push_back(seconds_from_core_to_core(*pool_));
      }
      return train_epoch(manual_, train_);
    };
    const auto multiply = [&] { return multiply_alone(); };
    std::vector<Contender> contenders;
    contenders.push_back(
        {{"autograd twin", {}}, [&] { return train_epoch(autograd_, train_without_pool_); }});
    contenders.push_back({{"manual twin", {}}, train_manual});
    contenders.push_back({{"matrix products alone", {}}, multiply});
    if (!ops::product_library().empty()) {
      const auto with_libtorch = [](const auto& run) {
        return [&run] {
          const ops::LibTorchProductsGuard guard;
          return run();
        };
      };
      const std::string suffix = " with " + blas_library();
      contenders.push_back({{"manual twin" + suffix, {}}, with_libtorch(train_manual)});
      contenders.push_back({{"matrix products alone" + suffix, {}}, with_libtorch(multiply)});
    }
    return take_turns(std::move(contenders), repeats);
  }

  std::vector<Timing> time_evaluations(int repeats) {
    return take_turns({{{"autograd twin", {}},
                        [&] { return evaluate(autograd_, train_without_pool_, test_without_pool_); }},
                       {{"manual twin", {}}, [&] { return evaluate(manual_, train_, test_); }}},
                      repeats);
  }

  std::vector<Timing> time_parts(int repeats) {
    const Tensor indices = data::shuffled_indices(images_, 1, 1).narrow(0, 0, rows_);
    train_.gather(indices, batch_, labels_);
    const std::int64_t shard_rows = part_of(rows_, shards(), 0).size;
    ManualShard shard(network_, FlatParameters(network_, initial_, at::kFloat));
    std::vector<Contender> parts;
    parts.push_back(repeated("gather, all threads", [&] { train_.gather(indices, batch_, labels_); }));
    for (Contender& part : parts_of_a_shard(shard, network_, batch_.narrow(0, 0, shard_rows),
                                            labels_.narrow(0, 0, shard_rows))) {
      parts.push_back(std::move(part));
    }
    manual_.compute_gradients(batch_, labels_);  // the update then reads as many shards as in training
    parts.push_back(repeated("optimizer, all threads", [&] { manual_.update(); }));
    use_threads(plan_.manual);
    return take_turns(std::move(parts), repeats);
  }

 private:
  static ThreadPlan plan_of(const BenchmarkCase& of, std::int64_t rows, int threads) {
    const StepWork work = work_of(of.network, rows);
    ThreadPlan plan = plan_threads(threads, work, Twins::manual);
    plan.autograd = plan_threads(threads, work, Twins::autograd).autograd;
    return plan;
  }

  /// Seconds of an epoch of kImages images.
  double train_epoch(Twin& twin, const data::ImageTensors& images) {
    const double start = now();
    const Tensor order = data::shuffled_indices(images_, 1, ++epoch_);
    for (std::int64_t first = 0; first < images_; first += rows_) {
      if (!is_full_batch_) {
        images.gather(order.narrow(0, first, std::min(rows_, images_ - first)), batch_, labels_);
      }
      twin.compute_gradients(batch_, labels_);
      twin.update();
    }
    return (now() - start) * static_cast<double>(kImages) / static_cast<double>(images_);
  }

  double evaluate(Twin& twin, const data::ImageTensors& train, const data::ImageTensors& test) const {
    Trainer trainer(network_, {&twin}, train, test, {}, {});
    const double start = now();
    trainer.evaluate();
    return now() - start;
  }

  double multiply_alone() {
    use_threads(plan_.manual);
    const std::int64_t steps = (images_ + rows_ - 1) / rows_;
    const double start = now();
    for (std::int64_t step = 0; step < steps; ++step) {
      pool_->run(shards(), [&](int shard) { products_[static_cast<std::size_t>(shard)].run(); });
    }
    return (now() - start) * static_cast<double>(kImages) / static_cast<double>(steps * rows_);
  }

  MlpSpec network_;
  bool is_full_batch_;
  std::int64_t images_, rows_;
  ThreadPlan plan_;
  std::shared_ptr<ThreadPool> pool_;
  data::LabelledImages pixels_, test_pixels_;
  data::ImageTensors train_, test_;
  data::ImageTensors train_without_pool_, test_without_pool_;  ///< for the autograd twin, as in training
  Tensor initial_;
  AutogradTwin autograd_;
  ManualTwin manual_;
  std::vector<Products> products_;
  Tensor batch_ = at::empty({0}, at::kFloat);
  Tensor labels_ = at::empty({0}, at::kLong);
  std::int64_t epoch_ = 0;
};

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
  flush_denormal_numbers();
  keep_freed_memory();
  CaseBench bench(of, options.threads);
  BenchmarkResult result;
  result.of = of;
  result.threads = bench.plan();
  result.shards = bench.shards();
  result.core_to_core.what = "from core to core";
  result.epoch = bench.time_epochs(options.repeats, result.core_to_core);
  result.evaluation = bench.time_evaluations(options.repeats);
  result.details = bench.time_parts(options.repeats);
  return result;
}

}  // namespace twingrad
