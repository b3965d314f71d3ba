#include <fmt/format.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/train_options.h"
#include "twingrad/data/dataset.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/report/console.h"
#include "twingrad/report/run_description.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/checkpoint_writer.h"
#include "twingrad/training/resumption.h"
#include "twingrad/training/run_folder.h"
#include "twingrad/training/run_requirements.h"

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
                                              const std::shared_ptr<ThreadPool>& workers) {
  const at::Tensor initial = draw_initial_parameters(options.network, options.training.seed);
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
  const std::int64_t rows = options.training.rows_of_a_step(images);
  const int threads = options.threads > 0 ? options.threads : std::min(available_processors(), kMostThreads);
  return plan_threads(threads, work_of(options.network, rows, options.training.dtype),
                      !options.manual     ? Twins::autograd
                      : !options.autograd ? Twins::manual
                                          : Twins::both);
}

/// Whether nothing is left to do. Says so.
bool is_finished(const Resumption& resumption, const TrainCommandOptions& options) {
  const nlohmann::ordered_json summary = resumption.finished_summary(options.training.epochs);
  if (summary.is_null()) {
    return false;
  }
  if (!options.quiet) {
    fmt::print(
        options.json ? stderr : stdout,
        "{}: the run is finished, it has trained for {} epochs; --epochs with a larger number continues it\n",
        options.resume, resumption.newest().checkpoint.progress.epoch - 1);
  }
  if (options.json) {
    fmt::print("{}\n", summary.dump(2));
  }
  return true;
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

int train_command(const std::vector<std::string>& arguments) {
  std::optional<Resumption> resumption;
  if (const std::string path = argument_of("--resume", arguments); !path.empty()) {
    resumption.emplace(path);
  }
  std::optional<TrainCommandOptions> parsed =
      parse_train_options(arguments, resumption ? resumption->record().lasting : std::vector<std::string>());
  if (!parsed) {
    return kDone;
  }
  TrainCommandOptions& options = *parsed;
  if (resumption) {
    options.recipe = resumption->record().settings.at("recipe").get<std::string>();
    options.initial_weights = resumption->record().initial_weights;
    if (is_finished(*resumption, options)) {
      return kDone;
    }
  }
  options.training.weights_are_given = !options.initial_weights.empty();
  use_threads({.aten = 1, .blas = 1});
  flush_denormal_numbers();
  const data::Dataset dataset = load_dataset(options);
  keep_freed_memory();
  options.network.inputs = dataset.train.height * dataset.train.width;
  options.network.classes = dataset.classes;
  require_possible({.network = options.network,
                    .optimizer = options.optimizer,
                    .training = options.training,
                    .twins = options.autograd && options.manual ? 2 : 1,
                    .images = dataset.train});

  std::optional<ops::LibTorchProductsGuard> same_products;
  if (options.autograd && options.manual) {
    same_products
        .emplace();  // no sum is added up in another order, which would put inputs of ReLU beyond the kink
  }
  const ThreadPlan threads =
      resumption ? resumption->record().threads : plan_of(options, dataset.train.count);
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
  if (resumption) {
    resumption->refuse_another_run(settings);
  }

  const auto workers = std::make_shared<ThreadPool>(threads.workers);
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
  if (resumption) {
    progress = resumption->take_up(driven, options.training, dataset.train.count);
  } else if (!options.initial_weights.empty()) {
    const TensorFile weights = read_tensor_file(options.initial_weights);
    for (const Twin* twin : driven) {
      load_weights(*twin, weights, "--init " + options.initial_weights);
    }
  }
  const std::unique_ptr<RunFolder> folder =
      resumption ? resumption->take_folder() : RunFolder::begin(options.out, dataset.name);
  std::vector<std::pair<std::string, std::string>> heading = heading_of(description);
  if (resumption) {
    describe_resumption(resumption->newest(), heading);
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

}  // namespace

std::function<int()> add_train_command(CLI::App& program) {
  CLI::App& command =
      add_command(program, "train", "Train both twins in lockstep and compare all gradients.");
  command.prefix_command()->set_help_flag();
  return [&command] { return train_command(command.remaining()); };
}

}  // namespace twingrad::app
