#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/commands.h"
#include "app/train_options.h"
#include "twingrad/data/dataset.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/report/console.h"
#include "twingrad/report/run_description.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/runtime/text.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/checkpoint_writer.h"
#include "twingrad/training/run_folder.h"
#include "twingrad/training/run_record.h"

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

/// A run that is taken up again.
struct Resumed {
  std::unique_ptr<RunFolder> folder;
  CheckpointFolder::Newest newest;
  RunRecord before;  ///< of the newest
};

std::optional<Resumed> resume(const std::string& path) {
  if (path.empty()) {
    return std::nullopt;
  }
  std::unique_ptr<RunFolder> folder = RunFolder::reopen(path);
  CheckpointFolder::Newest newest =
      CheckpointFolder(std::filesystem::path(path) / "checkpoint").read_newest();
  RunRecord before = run_record_of(newest.checkpoint.run, newest.path.string());
  return Resumed{std::move(folder), std::move(newest), std::move(before)};
}

/// "network widths 784-64-10 in place of 784-128-10": the first setting that is not what it was; "" if there is none.
std::string first_difference(const nlohmann::ordered_json& now, const nlohmann::json& before) {
  const nlohmann::json flat_before = before.flatten();
  const nlohmann::ordered_json flat_now = now.flatten();
  for (const auto& [key, value] : flat_now.items()) {
    const nlohmann::json was = flat_before.value(key, nlohmann::json());
    if (nlohmann::json(value) != was) {
      std::string name = key.substr(1);
      std::replace(name.begin(), name.end(), '/', ' ');
      return fmt::format("{} {} in place of {}", name, value.dump(), printable(was.dump()));
    }
  }
  return "";
}

/// Throws UserError unless the run may go on with these settings and this data.
void refuse_another_run(const std::string& path, nlohmann::ordered_json now, const nlohmann::json& before) {
  const nlohmann::ordered_json data = {{"dataset", now.at("dataset")}};
  now.erase("dataset");
  if (const std::string difference = first_difference(now, before); !difference.empty()) {
    throw UserError("--resume " + path,
                    "expected the options that the run was begun with, found " + difference,
                    "leave out all options but --epochs, --quiet and --json");
  }
  if (const std::string difference = first_difference(data, before); !difference.empty()) {
    throw UserError("--resume " + path, "expected the data that the run was begun with, found " + difference,
                    "put the data back as it was");
  }
}

ThreadPlan plan_of(const TrainCommandOptions& options, std::int64_t images) {
  if (!options.training.device.is_cpu()) {
    return {};
  }
  const std::int64_t rows =
      options.training.batch_size == 0 ? images : std::min(options.training.batch_size, images);
  const int threads = options.threads > 0 ? options.threads : std::min(available_processors(), kMostThreads);
  return plan_threads(threads, work_of(options.network, rows, options.training.dtype),
                      options.autograd && options.manual);
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

/// Whether nothing is left to do. Says so.
bool is_finished(const Resumed& resumed, const TrainCommandOptions& options) {
  const TrainingProgress& progress = resumed.newest.checkpoint.progress;
  const nlohmann::ordered_json summary = resumed.folder->read_summary();
  // A run that was continued beyond its end has the summary of its first end until the next one.
  const nlohmann::ordered_json::json_pointer steps("/training/steps");
  if (progress.epoch <= options.training.epochs || !summary.is_object() ||
      summary.value("status", nlohmann::ordered_json()) != "finished" || !summary.contains(steps) ||
      summary.at(steps) != progress.result.steps) {
    return false;
  }
  if (!options.quiet) {
    fmt::print(
        options.json ? stderr : stdout,
        "{}: the run is finished, it has trained for {} epochs; --epochs with a larger number continues it\n",
        options.resume, progress.epoch - 1);
  }
  if (options.json) {
    fmt::print("{}\n", summary.dump(2));
  }
  return true;
}

/// Whether a run over so many images can stand there.
bool is_moment_of(const TrainingProgress& progress, const TrainingOptions& training, std::int64_t images,
                  std::size_t twins) {
  const std::int64_t batch_size = training.batch_size == 0 ? images : std::min(training.batch_size, images);
  const std::int64_t steps_per_epoch = (images + batch_size - 1) / batch_size;
  const std::int64_t steps_before = progress.result.steps - progress.samples_done / batch_size;
  return progress.epoch >= 1 && progress.samples_done < images && progress.samples_done % batch_size == 0 &&
         steps_before % steps_per_epoch == 0 && steps_before / steps_per_epoch == progress.epoch - 1 &&
         (progress.samples_done == 0 || progress.tallies.size() == twins);
}

/// Puts the twins and the run's folder back to the checkpoint.
TrainingProgress take_up(Resumed& resumed, const std::vector<Twin*>& twins, const TrainingOptions& training,
                         std::int64_t images) {
  const Checkpoint& checkpoint = resumed.newest.checkpoint;
  const TrainingProgress& progress = checkpoint.progress;
  const std::string where = (resumed.folder->path() / "checkpoint").string();
  if (!is_moment_of(progress, training, images, twins.size())) {
    throw UserError(where, "expected the progress of this run, found one that cannot be its",
                    "begin the run anew");
  }
  try {
    for (Twin* twin : twins) {
      load(*twin, checkpoint);
    }
  } catch (const std::invalid_argument& error) {
    throw UserError(where, error.what(), "begin the run anew");
  }
  resumed.folder->cut_metrics(checkpoint.metrics_size);
  return progress;
}

void describe_resumption(const CheckpointFolder::Newest& newest,
                         std::vector<std::pair<std::string, std::string>>& heading) {
  for (const std::string& damage : newest.damages) {
    heading.emplace_back("Passed over", damage);
  }
  const TrainingProgress& progress = newest.checkpoint.progress;
  heading.emplace_back("Continued",
                       fmt::format("after step {}, in epoch {}", progress.result.steps, progress.epoch));
}

}  // namespace

int train_command(const std::vector<std::string>& arguments) {
  std::optional<Resumed> resumed = resume(argument_of("--resume", arguments));
  std::optional<TrainCommandOptions> parsed =
      parse_train_options(arguments, resumed ? resumed->before.lasting : std::vector<std::string>());
  if (!parsed) {
    return kDone;
  }
  TrainCommandOptions& options = *parsed;
  if (resumed) {
    options.recipe = resumed->before.settings.at("recipe").get<std::string>();
    options.initial_weights = resumed->before.initial_weights;
    if (is_finished(*resumed, options)) {
      return kDone;
    }
  }
  use_threads({.aten = 1, .blas = 1});
  flush_denormal_numbers();
  const data::Dataset dataset = load_dataset(options);
  keep_freed_memory();
  options.network.inputs = dataset.train.height * dataset.train.width;
  options.network.classes = dataset.classes;
  refuse_too_large(options, dataset.train.count);
  refuse_one_row_batches(options, dataset.train.count);
  refuse_residual_without_a_block(options.network);
  refuse_nothing_to_learn(options.network, dataset.train);
  refuse_schedule_without_length(options.training, dataset.train.count);

  const ThreadPlan threads = resumed ? resumed->before.threads : plan_of(options, dataset.train.count);
  const RunDescription description{.recipe = options.recipe,
                                   .dataset = dataset,
                                   .network = options.network,
                                   .initial_weights = options.initial_weights,
                                   .optimizer = options.optimizer,
                                   .training = options.training,
                                   .autograd = options.autograd,
                                   .manual = options.manual,
                                   .threads = threads,
                                   .threads_asked_for = options.threads};
  const nlohmann::ordered_json settings = settings_of(description);
  const nlohmann::json run = to_json(RunRecord{.lasting = options.lasting,
                                               .settings = settings,
                                               .initial_weights = options.initial_weights,
                                               .threads = threads});
  if (resumed) {
    refuse_another_run(options.resume, settings, resumed->before.settings);
  }

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
  TrainingProgress progress;
  if (resumed) {
    progress = take_up(*resumed, driven, options.training, dataset.train.count);
  } else if (!options.initial_weights.empty()) {
    const TensorFile weights = read_tensor_file(options.initial_weights);
    for (const Twin* twin : driven) {
      load_weights(*twin, weights, "--init " + options.initial_weights);
    }
  }
  const std::unique_ptr<RunFolder> folder =
      resumed ? std::move(resumed->folder) : RunFolder::begin(options.out, dataset.name);
  std::vector<std::pair<std::string, std::string>> heading = heading_of(description);
  if (resumed) {
    describe_resumption(resumed->newest, heading);
  }
  console.heading(heading);

  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  CheckpointWriter checkpoints(driven, *folder, run);
  Trainer trainer(options.network, driven, train, test, options.training,
                  {folder.get(), &console, &checkpoints});
  const TrainingResult result = trainer.run(stop_requested, std::move(progress));

  std::string files = "metrics.jsonl, summary.json, checkpoint/";
  for (const Twin* twin : driven) {
    write_tensor_file(folder->path() / (twin->name() + ".safetensors"),
                      weights_of(*twin, options.network,
                                 {{kDataset, dataset.name},
                                  {kImageHeight, std::to_string(dataset.train.height)},
                                  {kImageWidth, std::to_string(dataset.train.width)}}));
    files += fmt::format(", {}.safetensors", twin->name());
  }
  const nlohmann::ordered_json summary = summary_of(description, result);
  folder->write_summary(summary);
  console.ending(result, folder->path().string(), files);
  if (options.json) {
    fmt::print("{}\n", summary.dump(2));
  }
  if (!result.interrupted) {
    return kDone;
  }
  fmt::print(stderr, "twingrad: interrupted after step {}; continue with: twingrad train --resume {}\n",
             result.steps, folder->path().string());
  return kInterrupted;
}

}  // namespace twingrad::app
