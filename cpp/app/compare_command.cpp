#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/run_setup.h"
#include "app/train_options.h"
#include "twingrad/catalogue/planted_bugs.h"
#include "twingrad/compare/distance.h"
#include "twingrad/compare/twin_comparer.h"
#include "twingrad/data/batches.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/report/comparison_table.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/runtime/text.h"
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
                    "leave out the network options; they follow from the run");
  }
}

struct CompareOptions {
  std::string weights;
  std::string bug;
};

// clang-format off
const FieldTable<CompareOptions> kCompareFields = {"Comparison", "", {
  text("--weights", "FILE|DIR", &CompareOptions::weights,
       "weights to compare at: a .safetensors or .pt file, or a run directory, which also determines the "
       "network and the data; default: the initial weights of a run").without_default(),
  text("--bug", "NAME", &CompareOptions::bug,
       "plant this bug in the manual twin and show how the comparison detects it; names: 'twingrad check "
       "--list-bugs'; none: plant no bug").without_default(),
}};
// clang-format on

/// Refuses a planted bug without a visible effect, which would look like a correct gradient.
[[noreturn]] void refuse_invisible_bug(const CompareOptions& compare, const TrainCommandOptions& options,
                                       bool changes_bits) {
  const bool is_float = options.training.dtype == c10::ScalarType::Float;
  throw UserError(
      "--bug " + compare.bug,
      changes_bits ? "expected a difference larger than rounding, found none on this batch"
                   : "expected a change on this batch, found the same bits with and without the bug",
      is_float && changes_bits ? "use --dtype float64" : "use other data, weights or layer widths");
}

/// The rows of a comparison and the twins that are compared on them.
struct ComparisonSetup {
  ComparisonSetup(const TrainCommandOptions& options, const data::Dataset& dataset,
                  const CompareOptions& compare, const std::optional<ComparedRun>& run)
      : batch(first_batch(options, dataset)) {
    const ThreadPlan threads = plan_of(options, dataset.train.count);
    const ManualParts parts = compare.bug.empty() || compare.bug == "none"
                                  ? ManualParts()
                                  : catalogue::plant_bug(compare.bug, options.network, options.optimizer);
    twins = make_twins(options, threads, std::make_shared<ThreadPool>(threads.workers), parts);
    if (run) {
      load_run({twins[0].get(), twins[1].get()}, *run);
    } else if (!compare.weights.empty()) {
      initialize({twins[0].get(), twins[1].get()}, "--weights", compare.weights, batch.images);
    } else {
      initialize({twins[0].get(), twins[1].get()}, "--init", options.initial_weights, batch.images);
    }
  }
  Batch batch;
  std::vector<std::unique_ptr<Twin>> twins;  ///< autograd, manual
};

void require_comparable(const Comparison& comparison, const MlpSpec& network) {
  if (!comparison.is_finite) {
    throw UserError("--loss " + entry_of(network.loss).name,
                    fmt::format("expected a finite loss, found {}", comparison.autograd_loss),
                    "use smaller weights, or --loss cross_entropy");
  }
  if (!comparison.is_conditioned) {
    throw UserError("--normalization " + name_of(normalizations(), network.normalization),
                    "expected inputs that differ by more than rounding, found equal ones",
                    "use other weights or other data");
  }
  if (comparison.is_empty()) {
    throw UserError("--activation " + network.activation,
                    fmt::format("expected rows whose activations are not at a kink, found none in {} rows",
                                comparison.rows),
                    "choose a smooth activation, other weights or other data");
  }
}

int run_compare(const GivenOptions& command_line, const CompareOptions& compare) {
  std::optional<ComparedRun> run;
  std::error_code error;
  if (std::filesystem::is_directory(compare.weights, error)) {
    run.emplace(compare.weights);
  } else if (!compare.weights.empty() && !std::filesystem::exists(compare.weights, error)) {
    throw UserError("--weights " + compare.weights,
                    "expected a weight file or a run directory, found nothing", "check the path");
  }
  if (!compare.weights.empty() && command_line.contains("--init")) {
    throw UserError("--init", "expected none with --weights, found one", "leave one of the two out");
  }
  const GivenOptions given = with_recipe(command_line, run ? run->record.options : std::vector<std::string>(),
                                         "--weights " + compare.weights);
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
  const ComparisonSetup setup(options, dataset, compare, run);
  const Comparison comparison =
      TwinComparer(*setup.twins[1], *setup.twins[0]).compare_with_update(setup.batch);
  require_comparable(comparison, options.network);
  if (!compare.bug.empty() && compare.bug != "none" && comparison.passed()) {
    const ComparisonSetup buggy(options, dataset, compare, run);
    const ComparisonSetup correct(options, dataset, {.weights = compare.weights, .bug = ""}, run);
    refuse_invisible_bug(compare, options,
                         compare_one_step(*correct.twins[1], *buggy.twins[1], setup.batch).absolute > 0);
  }
  if (options.json) {
    print_json(to_json(comparison));
  } else {
    fmt::print("{}", comparison_table(comparison, about(options, dataset, comparison.rows)));
  }
  return comparison.passed() ? kDone : kCheckFailed;
}

}  // namespace

std::function<int()> add_compare_command(CLI::App& program) {
  CLI::App& command =
      add_command(program, "compare", "Compare all gradients of both twins at the same weights.",
                  {{"twingrad compare", "at the initial weights"},
                   {"twingrad compare --weights runs/first", "at the weights of this run"},
                   {"twingrad compare --hidden 64,64 --activation gelu --dtype float64", "another network"},
                   {"twingrad compare --bug relu.mask_from_gradient", "plant a bug and locate it"}});
  add_fields(command, kCompareFields);
  std::vector<std::string> omitted = options_of_table("Learning rate schedule");
  omitted.insert(omitted.end(), {"--epochs", "--evaluate-every", "--compare-every", "--checkpoint-every",
                                 "--twins", "--out", "--resume", "--quiet"});
  add_train_options(command, omitted);
  return [&command] {
    const GivenOptions given = given_options(command);
    CompareOptions compare;
    read_fields(kCompareFields, given, compare);
    return run_compare(given, compare);
  };
}

}  // namespace twingrad::app
