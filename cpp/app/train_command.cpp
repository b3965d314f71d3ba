#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/run_setup.h"
#include "app/train_options.h"
#include "twingrad/data/batches.h"
#include "twingrad/data/dataset.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/report/console.h"
#include "twingrad/report/report_writer.h"
#include "twingrad/report/run_description.h"
#include "twingrad/runtime/container.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/checkpoint_writer.h"
#include "twingrad/training/resumption.h"
#include "twingrad/training/run_folder.h"
#include "twingrad/training/run_requirements.h"
#include "twingrad/training/trainer.h"

namespace twingrad::app {
namespace {

std::atomic<bool> stop_requested = false;

/// The first signal stops the run after the current step, the second terminates the program.
void request_stop(int signal) {
  stop_requested = true;
  std::signal(signal, SIG_DFL);
}

/// The summary of the resumed run if it has already trained for all epochs, after a message; otherwise null.
nlohmann::ordered_json finished_summary(const Resumption& resumption, const TrainCommandOptions& options) {
  nlohmann::ordered_json summary = resumption.finished_summary(options.training.epochs);
  if (!summary.is_null() && !options.quiet) {
    fmt::print(options.json ? stderr : stdout,
               "{}: the run is finished after {} epochs; resume it with a larger --epochs to continue\n",
               options.resume, resumption.newest().checkpoint.progress.epoch - 1);
  }
  return summary;
}

/// How to keep the runs of a container, if the directory is lost with it; otherwise empty. The image sets
/// TWINGRAD_VOLUME to the directory where runs should be mounted.
std::string how_to_keep(const std::filesystem::path& directory) {
  const char* volume = std::getenv("TWINGRAD_VOLUME");
  if (volume == nullptr || *volume == '\0' || !is_lost_with_container(directory)) {
    return "";
  }
  return fmt::format(
      "the run is lost when the container is removed; to keep runs: docker run -v DIRECTORY:{}", volume);
}

std::vector<std::pair<std::string, std::string>> heading_of(const RunDescription& run,
                                                            const std::optional<Resumption>& resumption,
                                                            const std::filesystem::path& directory) {
  std::vector<std::pair<std::string, std::string>> heading = heading_of(run);
  heading.emplace_back("Directory", directory.string());
  if (const std::string note = how_to_keep(directory); !note.empty()) {
    heading.emplace_back("Note", note);
  }
  if (resumption) {
    for (const std::string& damage : resumption->newest().damages) {
      heading.emplace_back("Skipped", damage);
    }
    const TrainingProgress& progress = resumption->newest().checkpoint.progress;
    heading.emplace_back("Resumed",
                         fmt::format("after step {}, in epoch {}", progress.result.steps, progress.epoch));
  }
  return heading;
}

/// Writes the weights of each twin. Returns a list of the files of the run, for the last line of the output.
std::string write_weights(const std::vector<Twin*>& twins, const RunDescription& run,
                          const std::filesystem::path& directory) {
  std::string files = "report.html, report.json, metrics.jsonl, metrics.csv, summary.json, checkpoint/";
  for (const Twin* twin : twins) {
    const std::string file = twin->name() + ".safetensors";
    write_tensor_file(directory / file, weights_of(*twin, run.network,
                                                   {{kDataset, run.dataset.name},
                                                    {kImageHeight, std::to_string(run.dataset.train.height)},
                                                    {kImageWidth, std::to_string(run.dataset.train.width)}}));
    files += ", " + file;
  }
  return files;
}

/// A word for a shell: quoted unless it has only plain characters.
std::string shell_word(const std::string& text) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-_=./,:+@%").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) {
    return text;
  }
  std::string word = "'";
  for (const char c : text) {
    word += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return word + "'";
}

/// The command that repeats a run, with the same number of threads. threads: as given; 0: not given
std::string command_of(const std::vector<std::string>& options, const std::string& initial_weights,
                       int threads) {
  std::string command = "twingrad train";
  for (const std::string& option : options) {
    command += " " + shell_word(option);
  }
  if (threads == 0) {
    command += fmt::format(" --threads={}", default_threads());
  }
  return initial_weights.empty() ? command : command + " " + shell_word("--init=" + initial_weights);
}

/// Runs the trainer and writes the report, also after a failed check.
TrainingResult train_and_report(Trainer& trainer, ReportWriter& report, TrainingProgress progress) {
  try {
    return trainer.run(stop_requested, std::move(progress));
  } catch (const CheckFailed& error) {
    report.finish_failed(error.what());
    throw;
  }
}

/// Trains as described. Returns the exit status.
int train(const RunDescription& run, const TrainCommandOptions& options, const RunRecord& record,
          std::optional<Resumption>& resumption) {
  const nlohmann::json recorded = to_json(record);  // before anything is written, because it can be refused
  const auto workers = std::make_shared<ThreadPool>(run.threads.workers);
  const data::ImageTensors train_images(run.dataset.train, run.training.device, workers);
  const data::ImageTensors test_images(run.dataset.test, run.training.device, workers);
  const std::vector<std::unique_ptr<Twin>> owned = make_twins(options, run.threads, workers);
  std::vector<Twin*> twins;
  for (const auto& twin : owned) {
    twins.push_back(twin.get());
  }
  TrainingProgress progress;
  if (resumption) {
    progress = resumption->restore(twins, run.training, run.dataset.train.count);
  } else {
    const auto floats = at::TensorOptions(options.training.device).dtype(options.training.dtype);
    initialize(twins, "--init", run.initial_weights, first_images(train_images, floats));
  }
  const std::unique_ptr<RunFolder> folder =
      resumption ? resumption->release_folder() : RunFolder::begin(options.out, run.dataset.name);

  std::FILE* stream = options.json ? stderr : stdout;
  Console::Style style = Console::style_of(stream);
  style.quiet = options.quiet;
  Console console(stream, style);
  console.heading(heading_of(run, resumption, folder->path()));

  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  CheckpointWriter checkpoints(twins, *folder, recorded);
  ReportWriter report(run, twins, folder->path(),
                      command_of(record.options, record.initial_weights, options.threads));
  Trainer trainer(run.network, twins, train_images, test_images, run.training,
                  {folder.get(), &console, &checkpoints, &report});
  const TrainingResult result = train_and_report(trainer, report, std::move(progress));

  const std::string files = write_weights(twins, run, folder->path());
  const nlohmann::ordered_json summary = summary_of(run, result);
  folder->write_summary(summary);
  report.finish(result);
  console.ending(result, folder->path().string(), files);
  if (options.json) {
    print_json(summary);
  }
  if (!result.interrupted) {
    return kDone;
  }
  const std::string note = how_to_keep(folder->path());
  fmt::print(stderr, "twingrad: interrupted after step {}; {}\n", result.steps,
             note.empty() ? "resume with: twingrad train --resume " + folder->path().string() : note);
  return kInterrupted;
}

int run_train_command(const GivenOptions& command_line) {
  std::optional<Resumption> resumption;
  std::vector<std::string> recorded_options;
  std::string resumed_run;
  if (const auto resume = command_line.find("--resume"); resume != command_line.end()) {
    resumption.emplace(resume->second.value);
    resumed_run = "--resume " + resume->second.value;
    recorded_options = resumption->record().options;
  }
  const GivenOptions given = with_recipe(command_line, recorded_options, resumed_run);
  TrainCommandOptions options = read_train_options(given);
  if (resumption) {
    options.recipe = resumption->record().settings.at("recipe").get<std::string>();
    options.initial_weights = resumption->record().initial_weights;
    if (const nlohmann::ordered_json summary = finished_summary(*resumption, options); !summary.is_null()) {
      if (options.json) {
        print_json(summary);
      }
      return kDone;
    }
  }
  use_threads({.aten = 1, .blas = 1});
  flush_denormal_numbers();
  const data::Dataset dataset = load_dataset(options);
  keep_freed_memory();
  require_possible({.network = options.network,
                    .optimizer = options.optimizer,
                    .training = options.training,
                    .twins = options.twins == Twins::both ? 2 : 1,
                    .images = dataset.train});

  const RunDescription run{
      .recipe = options.recipe,
      .dataset = dataset,
      .network = options.network,
      .initial_weights = options.initial_weights,
      .optimizer = options.optimizer,
      .training = options.training,
      .twins = options.twins,
      .threads = resumption ? resumption->record().threads : plan_of(options, dataset.train.count),
      .requested_threads = options.threads};
  const nlohmann::ordered_json settings = settings_of(run);
  if (resumption) {
    resumption->require_same_settings(settings);
  }
  const RunRecord record{.options = options_to_resume_with(given),
                         .settings = settings,
                         .initial_weights = options.initial_weights,
                         .threads = run.threads};
  return train(run, options, record, resumption);
}

}  // namespace

std::function<int()> add_train_command(CLI::App& program) {
  CLI::App& command = add_command(
      program, "train", "Train both twins in lockstep and compare all gradients.",
      {{"twingrad train --epochs 2 --out runs/first", "both twins on Fashion-MNIST"},
       {"twingrad train --resume runs/first --epochs 3", "train one more epoch"},
       {"twingrad train --recipe fashion-mnist --epochs 1", "a recipe with one option overridden"},
       {"twingrad train --dataset synthetic --hidden 64,32 --out runs/second",
        "another network, without data files"}});
  add_train_options(command);
  return [&command] { return run_train_command(given_options(command)); };
}

}  // namespace twingrad::app
