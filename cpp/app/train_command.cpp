#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/train_options.h"
#include "twingrad/data/dataset.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/report/console.h"
#include "twingrad/report/run_description.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/run_folder.h"

namespace twingrad::app {
namespace {

std::atomic<bool> stop_requested = false;

/// The first signal finishes the step in hand, the second ends the program at once.
void request_stop(int signal) {
  stop_requested = true;
  std::signal(signal, SIG_DFL);
}

data::Dataset load_dataset(const TrainCommandOptions& options) {
  data::Dataset dataset = options.dataset == "synthetic"
                              ? data::synthetic(options.training.seed, 2000, 500, options.classes)
                              : data::load(options.dataset, options.classes);
  if (options.hold_out > 0) {
    data::hold_out(dataset, options.hold_out);
  }
  return dataset;
}

std::vector<std::unique_ptr<Twin>> make_twins(const TrainCommandOptions& options, const ThreadPlan& threads,
                                              const std::shared_ptr<Workers>& workers) {
  const Tensor initial = draw_initial_parameters(options.network, options.training.seed);
  const auto tensors = at::TensorOptions().dtype(options.training.dtype).device(options.training.device);
  std::vector<std::unique_ptr<Twin>> twins;
  if (options.autograd) {
    twins.push_back(std::make_unique<AutogradTwin>(options.network, options.optimizer, initial, tensors,
                                                   threads.autograd));
  }
  if (options.manual) {
    twins.push_back(std::make_unique<ManualTwin>(options.network, options.optimizer, initial, tensors,
                                                 workers, threads.manual));
  }
  return twins;
}

ThreadPlan plan_of(const TrainCommandOptions& options, std::int64_t images) {
  if (!options.training.device.is_cpu()) {
    return {};
  }
  const std::int64_t rows =
      options.training.batch_size == 0 ? images : std::min(options.training.batch_size, images);
  return plan_threads(options.threads, work_of(options.network, rows), options.autograd && options.manual);
}

/// Refuses a network that cannot fit, before the system has to kill the program. What is counted is the least
/// that is needed: weights, gradients and the optimizer's state of each twin, and the batch with its
/// activations.
void refuse_too_large(const TrainCommandOptions& options, std::int64_t images) {
  const double entry = options.training.dtype == at::kDouble ? 8 : 4;
  const double twins = static_cast<double>(options.autograd) + static_cast<double>(options.manual);
  const double copies = options.optimizer.kind == OptimizerOptions::Kind::sgd ? 2 : 4;
  double parameters = 0;  // in floating point: a product of widths may exceed 64 bits
  double activations = 0;
  for (const LayerSpec& layer : flat_layers_of(options.network)) {
    if (layer.kind == LayerSpec::Kind::linear || layer.kind == LayerSpec::Kind::matmul) {
      parameters += static_cast<double>(layer.inputs) * static_cast<double>(layer.outputs);
    }
    activations += 2 * static_cast<double>(layer.outputs);
  }
  const auto batch = static_cast<double>(
      options.training.batch_size == 0 ? images : std::min(options.training.batch_size, images));
  const double needed = entry * (twins * (copies * parameters + batch * activations) +
                                 batch * static_cast<double>(options.network.inputs));
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  if (options.training.device.is_cpu() && needed > memory) {
    throw UserError("--hidden",
                    fmt::format("expected a network that fits into this machine's {:.0f} GB of memory, found "
                                "one that needs at least {:.0f} GB",
                                memory / 1e9, needed / 1e9),
                    "choose smaller layers, or a smaller --batch-size");
  }
}

/// Batch normalization divides by the deviation of a batch, and one row has none.
void refuse_one_row_batches(const TrainCommandOptions& options, std::int64_t images) {
  const std::int64_t batch_size =
      options.training.batch_size == 0 ? images : std::min(options.training.batch_size, images);
  if (options.network.normalization == Normalization::batch && !options.network.hidden.empty() &&
      (batch_size == 1 || images % batch_size == 1)) {
    throw UserError(
        "--batch-size",
        fmt::format("expected batches of two images or more under --normalization batch, found that {} "
                    "images in batches of {} end with a batch of one",
                    images, batch_size),
        "choose another --batch-size");
  }
}

void refuse_residual_without_a_block(const MlpSpec& network) {
  if (network.residual && !has_residual_block(network)) {
    throw UserError("--residual",
                    "expected a hidden layer as wide as its input, found " + describe_widths(network),
                    "choose --hidden with two equal widths in a row, or leave --residual out");
  }
}

/// A run whose every image is ignored learns nothing.
void refuse_nothing_to_learn(const MlpSpec& network, const data::LabelledImages& train) {
  const auto is_ignored = [&](std::uint8_t label) { return label == network.ignore_index; };
  if (std::all_of(train.labels.begin(), train.labels.end(), is_ignored)) {
    throw UserError("--ignore-index", "expected images of other classes too, found none",
                    "leave the option out");
  }
}

/// In a short run a phase of the schedule may have no length. The first and the last update show it.
void refuse_schedule_without_length(const TrainingOptions& training, std::int64_t images) {
  const std::int64_t batch_size = training.batch_size == 0 ? images : std::min(training.batch_size, images);
  const std::int64_t steps_per_epoch = (images + batch_size - 1) / batch_size;
  const std::int64_t steps = steps_per_epoch * training.epochs;
  try {
    for (const std::int64_t step : {std::int64_t{0}, steps - 1}) {
      learning_rate_at(training.schedule, training.learning_rate, step, steps_per_epoch, steps);
    }
  } catch (const std::invalid_argument&) {
    throw UserError("--schedule one_cycle",
                    fmt::format("expected phases of some length, found one without in {} updates with "
                                "--pct-start {:g}",
                                steps, training.schedule.pct_start),
                    "train for more --epochs, or choose another --pct-start");
  }
}

}  // namespace

int train_command(const std::vector<std::string>& arguments) {
  std::optional<TrainCommandOptions> parsed = parse_train_options(arguments);
  if (!parsed) {
    return kDone;
  }
  TrainCommandOptions& options = *parsed;
  use_threads({.aten = 1, .blas = 1});
  flush_denormal_numbers();
  const data::Dataset dataset = load_dataset(options);
  options.network.inputs = dataset.train.height * dataset.train.width;
  options.network.classes = dataset.classes;
  refuse_too_large(options, dataset.train.count);
  refuse_one_row_batches(options, dataset.train.count);
  refuse_residual_without_a_block(options.network);
  refuse_nothing_to_learn(options.network, dataset.train);
  refuse_schedule_without_length(options.training, dataset.train.count);

  const ThreadPlan threads = plan_of(options, dataset.train.count);
  const auto workers = std::make_shared<Workers>(threads.workers);
  const data::ImageTensors train(dataset.train, options.training.device, workers);
  const data::ImageTensors test(dataset.test, options.training.device, workers);
  const std::vector<std::unique_ptr<Twin>> twins = make_twins(options, threads, workers);
  std::vector<Twin*> driven;
  for (const auto& twin : twins) {
    driven.push_back(twin.get());
  }

  std::FILE* stream = options.json ? stderr : stdout;
  Console::Style style = Console::style_of(stream);
  style.quiet = options.quiet;
  Console console(stream, style);
  RunFolder folder(options.out, dataset.name);
  const RunDescription description{.recipe = options.recipe,
                                   .dataset = dataset,
                                   .network = options.network,
                                   .optimizer = options.optimizer,
                                   .training = options.training,
                                   .autograd = options.autograd,
                                   .manual = options.manual,
                                   .threads = threads};
  console.heading(heading_of(description));

  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  Trainer trainer(options.network, driven, train, test, options.training, {&folder, &console});
  const TrainingResult result = trainer.run(stop_requested);

  const nlohmann::ordered_json summary = summary_of(description, result);
  folder.write_summary(summary);
  console.ending(result, folder.path().string(), "metrics.jsonl, summary.json");
  if (options.json) {
    fmt::print("{}\n", summary.dump(2));
  }
  return result.interrupted ? kInterrupted : kDone;
}

}  // namespace twingrad::app
