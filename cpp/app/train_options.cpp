#include "app/train_options.h"

#include <fmt/format.h>

#include <filesystem>

#include "app/command_line.h"
#include "app/recipe.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/report/run_description.h"
#include "twingrad/runtime/text.h"
#include "twingrad/training/run_record.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

/// The distribution with this name, which is not that of a file.
Initialization choose_initialization(const std::string& text) {
  std::vector<std::string> names;
  for (const auto& [name, initialization] : initializations()) {
    if (name == text) {
      return initialization;
    }
    names.push_back(name);
  }
  std::error_code error;
  const bool is_directory = fs::is_directory(text, error);
  const std::string found = is_directory ? "a directory" : "no such file";
  throw UserError("--init " + text,
                  fmt::format("expected uniform, normal or a file of weights, found {}", found),
                  is_directory ? "name the file, for example manual.safetensors of a run"
                               : "check the path" + suggestion(text, names));
}

/// A file of weights, or a distribution to draw them from.
Field<TrainCommandOptions> init_field() {
  return {
      "--init",
      "NAME|FILE",
      {},
      "",
      "uniform: as torch::nn::Linear; normal: weights from N(0, 1), biases 0; or a .safetensors or .pt file",
      [](TrainCommandOptions& options, const std::string& text) {
        std::error_code error;
        options.initial_weights = fs::is_regular_file(text, error) ? text : "";
        if (options.initial_weights.empty()) {
          options.network.initialization = choose_initialization(text);
        }
      },
      [](const TrainCommandOptions& options) {
        return options.initial_weights.empty() ? name_of(initializations(), options.network.initialization)
                                               : options.initial_weights;
      }};
}

const FieldTable<TrainCommandOptions>& data_fields() {
  using O = TrainCommandOptions;
  // clang-format off
  static const FieldTable<O> table = {"Data and recipe", "", {
    text("--recipe", "NAME|FILE", &O::recipe, "options from a recipe; those on the command line take "
         "precedence: " + join_alternatives(recipe_names())).without_default(),
    text("--dataset", "NAME|DIR", &O::dataset,
         "fashion-mnist, mnist, synthetic, or a directory with the four IDX files"),
    integer("--hold-out", &O::hold_out, {0}, {}, "",
            "hold out the last N training images and evaluate on them instead of the test images"),
    integer("--classes", &O::classes, {2, 256}, {}, "", "number of classes"),
    init_field(),
  }};
  // clang-format on
  return table;
}

const FieldTable<TrainCommandOptions>& run_fields() {
  using O = TrainCommandOptions;
  // clang-format off
  static const FieldTable<O> table = {"Run and output", "", {
    choice("--twins", &O::twins, twin_choices(), {}, "", ""),
    integer("--threads", &O::threads, {1, kMaxThreads}, {}, "",
            "maximum number of threads; default: OMP_NUM_THREADS, or all processors").without_default(),
    text("--out", "DIR", &O::out,
         "new or empty directory for the files of the run; default: runs/<time>-<data set>")
        .without_default(),
    text("--resume", "DIR", &O::resume,
         "resume the run in this directory; only --epochs, --quiet and --json may differ").without_default(),
    flag("--quiet", &O::quiet, {}, "", "print only errors"),
    flag("--json", &O::json, {}, "", kJsonHelp),
  }};
  // clang-format on
  return table;
}

/// Calls `visit` with each table, in the order of --help.
void for_each_table(const auto& visit) {
  visit(data_fields());
  visit(network_fields());
  visit(loss_fields());
  visit(optimizer_fields());
  visit(schedule_fields());
  visit(training_fields());
  visit(run_fields());
}

std::vector<std::string> all_option_names() {
  std::vector<std::string> names;
  for_each_table([&](const auto& table) {
    for (const auto& field : table.fields) {
      names.push_back(field.option);
    }
  });
  return names;
}

/// Parses the options of a resumed run, as options_to_resume_with returned them.
GivenOptions parse_recorded(const std::vector<std::string>& options, const std::string& where) {
  const std::vector<std::string> known = all_option_names();
  GivenOptions given;
  for (const std::string& option : options) {
    const std::size_t equals = option.find('=');
    const std::string name = option.substr(0, equals);
    if (std::find(known.begin(), known.end(), name) == known.end() || !is_plain_text(option)) {
      throw UserError(where,
                      fmt::format("expected a run with options of 'twingrad train', found the option '{}'",
                                  printable(option)),
                      "resume with the release of twingrad that started the run");
    }
    given[name] = {equals == std::string::npos ? "true" : option.substr(equals + 1), where};
  }
  return given;
}

GivenOptions parse_recipe(const std::string& recipe) {
  GivenOptions given = read_recipe(find_recipe(recipe));
  const std::vector<std::string> known = all_option_names();
  for (const auto& [name, option] : given) {
    read_given(option, [&, &name = name] {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        throw UserError(name, "expected an option of 'twingrad train', found an unknown one",
                        "see 'twingrad train --help'" + suggestion(name, known));
      }
    });
  }
  return given;
}

// ---- Validation -------------------------------------------------------------------------------------------

void require_one_per_class(const std::string& option, const std::vector<double>& weights,
                           std::int64_t classes) {
  if (!weights.empty() && std::ssize(weights) != classes) {
    throw UserError(
        option, fmt::format("expected one number for each of {} classes, found {}", classes, weights.size()),
        "give one per class, or change --classes");
  }
}

/// Refuses combinations of options that are valid individually.
void require_compatible(const TrainCommandOptions& options) {
  const MlpSpec& network = options.network;
  require_one_per_class("--class-weights", network.class_weights, options.classes);
  require_one_per_class("--positive-weights", network.positive_weights, options.classes);
  if (network.ignore_index.value_or(0) >= options.classes) {
    throw UserError(
        "--ignore-index",
        fmt::format("expected a class from 0 to {}, found {}", options.classes - 1, *network.ignore_index),
        "choose one of the classes");
  }
  if (network.batch_mean && network.reduction == nn::Reduction::sum) {
    throw UserError("--batch-mean", "expected --reduction mean with it, found --reduction sum",
                    "leave one of the two out");
  }
  if (options.optimizer.nesterov && options.optimizer.dampening != 0) {
    throw UserError("--nesterov", "expected no --dampening with it, found one", "leave one of the two out");
  }
  require_available("--device", options.training.device);
}

void require_resumable(const GivenOptions& given, const TrainCommandOptions& options) {
  if (options.resume.empty()) {
    return;
  }
  if (const auto init = given.find("--init"); init != given.end() && init->second.where.empty()) {
    throw UserError("--init", "expected none with --resume, which uses the weights of the run, found one",
                    "leave it out");
  }
  if (!options.out.empty()) {
    throw UserError("--out",
                    "expected none with --resume, which writes to the directory of the run, found one",
                    "leave it out");
  }
}

}  // namespace

void add_train_options(CLI::App& command, const std::vector<std::string>& omitted) {
  for_each_table([&](const auto& table) { add_fields(command, table, omitted); });
}

GivenOptions with_recipe(GivenOptions given, const std::vector<std::string>& options_of_run,
                         const std::string& run) {
  if (const auto recipe = given.find("--recipe"); recipe != given.end()) {
    given.merge(parse_recipe(recipe->second.value));
  }
  given.merge(parse_recorded(options_of_run, run));
  return given;
}

std::vector<std::string> options_of_table(const std::string& title) {
  std::vector<std::string> names;
  for_each_table([&](const auto& table) {
    for (const auto& field : table.fields) {
      if (table.title == title) {
        names.push_back(field.option);
      }
    }
  });
  return names;
}

TrainCommandOptions read_train_options(const GivenOptions& given) {
  TrainCommandOptions options;
  read_fields(data_fields(), given, options);
  read_fields(run_fields(), given, options);
  read_fields(network_fields(), given, options.network);
  read_fields(loss_fields(), given, options.network);
  read_fields(training_fields(), given, options.training);
  read_fields(schedule_fields(), given, options.training.schedule);
  read_fields(optimizer_fields(), given, options.optimizer);
  options.optimizer = default_options(options.optimizer.kind);
  read_fields(optimizer_fields(), given, options.optimizer);
  options.training.lr = options.optimizer.lr;

  require_belonging(network_fields(), given, options.network);
  require_belonging(loss_fields(), given, options.network);
  require_belonging(schedule_fields(), given, options.training.schedule);
  require_belonging(optimizer_fields(), given, options.optimizer);
  require_compatible(options);
  require_resumable(given, options);
  return options;
}

std::vector<std::string> options_to_resume_with(const GivenOptions& given) {
  std::vector<std::string> options;
  for (const auto& [name, option] : given) {
    std::error_code error;
    const bool is_for_output =
        name == "--recipe" || name == "--out" || name == "--resume" || name == "--quiet" || name == "--json";
    const bool is_in_checkpoint = name == "--init" && fs::is_regular_file(option.value, error);
    if (is_for_output || is_in_checkpoint) {
      continue;
    }
    const bool is_directory = name == "--dataset" && fs::is_directory(option.value, error);
    options.push_back(name + "=" +
                      (is_directory ? fs::absolute(option.value).lexically_normal().string() : option.value));
  }
  return options;
}

}  // namespace twingrad::app
