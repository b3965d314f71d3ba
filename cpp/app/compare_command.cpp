#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/run_setup.h"
#include "app/train_options.h"
#include "twingrad/compare/twin_comparer.h"
#include "twingrad/data/batches.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/report/comparison_table.h"
#include "twingrad/report/console.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/training/checkpoint.h"
#include "twingrad/training/run_record.h"
#include "twingrad/training/run_requirements.h"

namespace twingrad::app {
namespace {

/// The newest checkpoint of a run and the options that the run began with.
struct ComparedRun {
  CheckpointFolder::Newest newest;
  RunRecord record;

  explicit ComparedRun(const std::filesystem::path& directory)
      : newest(CheckpointFolder(directory / "checkpoint").read_newest()),
        record(run_record_of(newest.checkpoint.run, newest.path.string())) {}
};

/// The first batch of the first epoch of training.
Batch first_batch(const TrainCommandOptions& options, const data::Dataset& dataset) {
  const data::ImageTensors train(dataset.train, options.training.device);
  const std::int64_t rows = options.training.rows_per_step(train.count());
  const at::Tensor order = options.training.batch_size == 0
                               ? at::arange(rows, at::kLong)
                               : data::shuffled_indices(train.count(), options.training.seed, /*epoch=*/1);
  const auto tensors = at::TensorOptions(options.training.device);
  Batch batch{.images = at::empty({0}, tensors.dtype(options.training.dtype)),
              .labels = at::empty({0}, tensors.dtype(at::kLong))};
  train.gather(order.narrow(0, 0, rows), batch.images, batch.labels);
  for (const at::Tensor& mask :
       draw_dropout_masks(options.network, rows, options.training.seed, /*step=*/0)) {
    batch.masks.push_back(mask.to(options.training.device));
  }
  return batch;
}

std::string about(const TrainCommandOptions& options, const data::Dataset& dataset, std::int64_t rows) {
  return fmt::format("{} · {} · {} · {} · batch {} of {}", describe_widths(options.network),
                     options.network.activation, entry_of(options.network.loss).name,
                     name_of(dtypes(), options.training.dtype), with_separators(rows), dataset.title);
}

/// Copies the weights of a run into the twins: those of its manual twin if it had one.
void load_run(const std::vector<Twin*>& twins, const ComparedRun& run) {
  const std::vector<NamedTensor>& tensors = run.newest.checkpoint.tensors;
  const bool has_manual = std::any_of(tensors.begin(), tensors.end(), [](const NamedTensor& tensor) {
    return tensor.name.starts_with("manual.");
  });
  const std::string prefix = has_manual ? "manual." : "autograd.";
  std::vector<NamedTensor> network;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) {
      network.push_back({name.substr(prefix.size()), tensor});
    }
  }
  try {
    for (const Twin* twin : twins) {
      load_network(*twin, network);
    }
  } catch (const std::invalid_argument& error) {
    throw UserError(run.newest.path.string(), error.what(),
                    "leave out the options of the network; they follow from the run");
  }
}

int run_compare(const GivenOptions& command_line, const std::string& weights) {
  std::optional<ComparedRun> run;
  std::error_code error;
  if (std::filesystem::is_directory(weights, error)) {
    run.emplace(weights);
  } else if (!weights.empty() && !std::filesystem::exists(weights, error)) {
    throw UserError("--weights " + weights,
                    "expected a file of weights or the directory of a run, found nothing", "check the name");
  }
  const GivenOptions given = with_recipe(command_line, run ? run->record.options : std::vector<std::string>(),
                                         "--weights " + weights);
  TrainCommandOptions options = read_train_options(given);
  options.twins = Twins::both;
  use_threads({.aten = 1, .blas = 1});
  flush_denormal_numbers();
  const data::Dataset dataset = load_dataset(options);
  require_possible({.network = options.network,
                    .optimizer = options.optimizer,
                    .training = options.training,
                    .twins = 2,
                    .images = dataset.train});
  const ThreadPlan threads = plan_of(options, dataset.train.count);
  const std::vector<std::unique_ptr<Twin>> owned =
      make_twins(options, threads, std::make_shared<ThreadPool>(threads.workers));
  Twin& autograd = *owned[0];
  Twin& manual = *owned[1];
  if (run) {
    load_run({&autograd, &manual}, *run);
  } else {
    initialize({&autograd, &manual}, "--weights", weights);
  }
  const Batch batch = first_batch(options, dataset);
  const Comparison comparison = TwinComparer(manual, autograd).compare_with_update(batch);
  if (comparison.is_empty()) {
    throw UserError("--activation " + options.network.activation,
                    fmt::format("expected rows whose activations are not at a kink, found none in {} rows",
                                comparison.rows),
                    "choose a smooth activation, other weights or other data");
  }
  if (options.json) {
    fmt::print("{}\n", to_json(comparison).dump(2));
  } else {
    fmt::print("{}", comparison_table(comparison, about(options, dataset, comparison.rows)));
  }
  return comparison.passed() ? kDone : kCheckFailed;
}

}  // namespace

std::function<int()> add_compare_command(CLI::App& program) {
  CLI::App& command = add_command(
      program, "compare", "Compare the gradients of both twins, tensor by tensor, at the same weights.");
  const auto weights = std::make_shared<std::string>();
  add_option(
      command, "Comparison",
      {"--weights", "FILE|DIR", "",
       "weights to compare at: a .safetensors or .pt file, or the directory of a run, whose network and "
       "data are then used; default: the initial weights of a run"},
      *weights);
  std::vector<std::string> omitted = options_of_table("Schedule of the learning rate");
  omitted.insert(omitted.end(), {"--epochs", "--evaluate-every", "--checkpoint-every", "--twins", "--out",
                                 "--resume", "--quiet"});
  add_train_options(command, omitted);
  return [&command, weights] { return run_compare(given_train_options(command), *weights); };
}

}  // namespace twingrad::app
