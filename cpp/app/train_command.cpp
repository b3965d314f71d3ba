#include <fmt/format.h>
#include <unistd.h>

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
  return options.dataset == "synthetic" ? data::synthetic(options.training.seed, 2000, 500, options.classes)
                                        : data::load(options.dataset, options.classes);
}

std::vector<std::unique_ptr<Twin>> make_twins(const TrainCommandOptions& options) {
  const Tensor initial = draw_initial_parameters(options.network, options.training.seed);
  const auto tensors = at::TensorOptions().dtype(options.training.dtype).device(options.training.device);
  std::vector<std::unique_ptr<Twin>> twins;
  if (options.autograd) {
    twins.push_back(std::make_unique<AutogradTwin>(options.network, options.optimizer, initial, tensors));
  }
  if (options.manual) {
    twins.push_back(std::make_unique<ManualTwin>(options.network, options.optimizer, initial, tensors));
  }
  return twins;
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
  for (const LayerSpec& layer : layers_of(options.network)) {
    if (layer.kind != LayerSpec::Kind::activation) {
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

}  // namespace

int train_command(const std::vector<std::string>& arguments) {
  std::optional<TrainCommandOptions> parsed = parse_train_options(arguments);
  if (!parsed) {
    return kDone;
  }
  TrainCommandOptions& options = *parsed;
  const ThreadSettings threads = set_threads(options.threads);
  const data::Dataset dataset = load_dataset(options);
  options.network.inputs = dataset.train.height * dataset.train.width;
  options.network.classes = dataset.classes;
  refuse_too_large(options, dataset.train.count);
  refuse_one_row_batches(options, dataset.train.count);

  const data::ImageTensors train(dataset.train, options.training.device);
  const data::ImageTensors test(dataset.test, options.training.device);
  const std::vector<std::unique_ptr<Twin>> twins = make_twins(options);
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
