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
#include "app/processes.h"
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
                                                            const std::filesystem::path& directory,
                                                            int ranks) {
  std::vector<std::pair<std::string, std::string>> heading = heading_of(run);
  if (ranks > 1) {
    const std::int64_t rows = run.training.rows_per_step(run.dataset.train.count);
    heading.emplace_back("Processes", fmt::format("{} · batch {} = {} × {}", ranks, rows, ranks,
                                                  fmt::format("{:.3g}", static_cast<double>(rows) / ranks)));
  }
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
  } catch (const RankLost& error) {
    report.finish_failed(error.what());
    throw;
  }
}

/// Trains as described. Returns the exit status.
int train(const RunDescription& run, const TrainCommandOptions& options, const RunRecord& record,
          std::optional<Resumption>& resumption, Processes& processes) {
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
  } else if (processes.is_first()) {
    const auto floats = at::TensorOptions(options.training.device).dtype(options.training.dtype);
    initialize(twins, "--init", run.initial_weights, first_images(train_images, floats));
  }
  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
  processes.wait_for_all();  // before anything is written
  if (!processes.is_first()) {
    processes.continue_with("");
    processes.copy_weights(twins);
    Trainer trainer(run.network, twins, train_images, test_images, run.training, {}, processes.group());
    return trainer.run(stop_requested, std::move(progress)).interrupted ? kInterrupted : kDone;
  }
  const std::unique_ptr<RunFolder> folder =
      resumption ? resumption->release_folder() : RunFolder::begin(options.out, run.dataset.name);

  std::FILE* stream = options.json ? stderr : stdout;
  Console::Style style = Console::style_of(stream);
  style.quiet = options.quiet;
  Console console(stream, style);
  console.heading(heading_of(run, resumption, folder->path(), processes.count()));

  CheckpointWriter checkpoints(twins, *folder, to_json(record));
  ReportWriter report(run, twins, folder->path(),
                      command_of(record.options, record.initial_weights, options.threads));
  Trainer trainer(run.network, twins, train_images, test_images, run.training,
                  {folder.get(), &console, &checkpoints, &report}, processes.group());
  processes.continue_with("");
  processes.copy_weights(twins);
  const TrainingResult result = train_and_report(trainer, report, std::move(progress));

  const std::string files = write_weights(twins, run, folder->path());
  nlohmann::ordered_json summary = summary_of(run, result);
  if (processes.count() > 1) {
    summary["processes"] = {{"ranks", processes.count()}, {"exchange_seconds", result.exchange_seconds}};
  }
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

/// The options of the command, the recipe and the resumed run, if any.
TrainCommandOptions read_options(GivenOptions& given, const std::optional<Resumption>& resumption,
                                 int ranks) {
  const std::string run = resumption ? "--resume " + given.at("--resume").value : "";
  given = with_recipe(std::move(given),
                      resumption ? resumption->record().options : std::vector<std::string>(), run);
  TrainCommandOptions options = read_train_options(given);
  if (resumption) {
    options.recipe = resumption->record().settings.at("recipe").get<std::string>();
    options.initial_weights = resumption->record().initial_weights;
  } else if (ranks > 1 && options.training.batch_size > 0) {  // given for each process, recorded for all
    options.training.batch_size *= ranks;
    given["--batch-size"].value = std::to_string(options.training.batch_size);
  }
  return options;
}

/// What rank 0 tells the others: the settings of the run, and the checkpoint to resume from, if any.
struct Start {
  std::string settings, checkpoint;

  std::string text() const { return settings + '\0' + checkpoint; }
  static Start from(const std::string& text) {
    const std::size_t end = text.find('\0');
    return {text.substr(0, end), text.substr(end + 1)};
  }
};

void require_same(const Start& of_rank_0, const nlohmann::ordered_json& settings) {
  if (of_rank_0.settings != settings.dump()) {
    throw UserError("the command", "expected the options and data of rank 0, found others",
                    "start all processes with the same command and data");
  }
}

int run_train_command(GivenOptions given, Processes& processes) {
  const int ranks = processes.count();
  const Start start = processes.is_first() ? Start() : Start::from(processes.continue_with(""));
  std::optional<Resumption> resumption;
  if (const auto resume = given.find("--resume"); resume != given.end()) {
    processes.is_first() ? resumption.emplace(resume->second.value)
                         : resumption.emplace(resume->second.value, start.checkpoint);
  }
  TrainCommandOptions options = read_options(given, resumption, ranks);
  if (resumption) {
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
                    .images = dataset.train,
                    .ranks = ranks});

  const bool keeps_threads = resumption && resumption->record().ranks == ranks;
  const RunDescription run{
      .recipe = options.recipe,
      .dataset = dataset,
      .network = options.network,
      .initial_weights = options.initial_weights,
      .optimizer = options.optimizer,
      .training = options.training,
      .twins = options.twins,
      .threads = keeps_threads ? resumption->record().threads : plan_of(options, dataset.train.count, ranks),
      .requested_threads = options.threads};
  const nlohmann::ordered_json settings = settings_of(run);
  if (resumption) {
    resumption->require_same_settings(settings);
  }
  const RunRecord record{.options = options_to_resume_with(given),
                         .settings = settings,
                         .initial_weights = options.initial_weights,
                         .threads = run.threads,
                         .ranks = ranks};
  to_json(record);  // before anything is written, because it can be refused
  if (!processes.is_first()) {
    require_same(start, settings);
  } else if (ranks > 1) {
    processes.continue_with(Start{settings.dump(), resumption ? resumption->content() : ""}.text());
  }
  return train(run, options, record, resumption, processes);
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
  return [&command] {
    return run_in_processes(read_ranks(), [&](Processes& processes) {
      return run_train_command(given_options(command), processes);
    });
  };
}

}  // namespace twingrad::app
