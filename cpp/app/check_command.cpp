#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/check_plugin.h"
#include "app/check_verdicts.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "twingrad/catalogue/targets.h"
#include "twingrad/io/atomic_file.h"
#include "twingrad/report/sweep.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/option_values.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/options.h"

namespace twingrad::app {
namespace {

using catalogue::Check;
using catalogue::Target;
using catalogue::TargetBug;
using Json = nlohmann::ordered_json;

struct CheckOptions {
  std::vector<std::string> names;
  std::string bug;
  bool list = false;
  bool list_bugs = false;
  bool sweep = false;
  std::string out;
  std::string plugin;
  bool json = false;
  CheckFormat format = CheckFormat::text;
  std::optional<c10::ScalarType> dtype;  ///< none: float64 and float32
  c10::Device device = c10::DeviceType::CPU;

  catalogue::Where where() const { return {.dtype = dtype, .device = device}; }
};

// clang-format off
const FieldTable<CheckOptions> kCheckFields = {"Options", "", {
  flag("--list", &CheckOptions::list, {}, "", "list the entries"),
  flag("--list-bugs", &CheckOptions::list_bugs, {}, "",
       "list the planted bugs and why these mistakes are common"),
  text("--bug", "NAME", &CheckOptions::bug,
       "plant this bug and show how the checks detect it; none: plant no bug").without_default(),
  choice("--dtype", &CheckOptions::dtype,
         Names<std::optional<c10::ScalarType>>(dtypes().begin(), dtypes().end()), {}, "",
         "only run the checks in float32 (compared with float64) or in float64").without_default(),
  choice("--device", &CheckOptions::device, devices(), {}, "", ""),
  flag("--sweep", &CheckOptions::sweep, {}, "",
       "show the error of central differences for different step sizes"),
  text("--out", "FILE", &CheckOptions::out, "with --sweep: write a plot to an SVG file").without_default(),
  text("--plugin", "FILE", &CheckOptions::plugin,
       "check the functions of a shared library instead; see twingrad/gradcheck/plugin.h").without_default(),
  choice("--format", &CheckOptions::format,
         {{"text", CheckFormat::text}, {"json", CheckFormat::json}, {"github", CheckFormat::github},
          {"junit", CheckFormat::junit}}, {}, "",
         "how to print the results: a table, JSON, annotations for GitHub Actions, or JUnit's XML"),
  flag("--json", &CheckOptions::json, {}, "", kJsonHelp),
}};
// clang-format on

Json check_to_json(const Check& check) {
  return {{"name", check.name},
          {"oracle", check.oracle},
          {"dtype", check.dtype},
          {"max_abs_error", check.max_abs_error},
          {"max_rel_error", check.max_rel_error},
          {"tolerance", check.tolerance},
          {"passed", check.passed}};
}

/// Prints one line per row of text, or the rows of JSON.
int print_list(const std::vector<Target>& targets, const CheckOptions& options) {
  Json rows = Json::array();
  std::string lines;
  for (const Target& target : targets) {
    if (options.list) {
      rows.push_back(target.name);
      lines += target.name + "\n";
      continue;
    }
    for (const TargetBug& bug : target.bugs) {
      rows.push_back({{"name", bug.name}, {"target", target.name}, {"why", bug.why}});
      lines += fmt::format("{:<42} {}\n", bug.name, bug.why);
    }
  }
  if (options.json) {
    print_json(rows);
  } else {
    fmt::print("{}", lines);
  }
  return kDone;
}

// ---- Sweep ------------------------------------------------------------------------------------------------

/// Checks --out before the computation starts.
void require_writable(const std::string& out) {
  namespace fs = std::filesystem;
  const fs::path directory = fs::path(out).parent_path();
  if (fs::is_directory(out)) {
    throw UserError("--out", "expected a file to write, found the directory " + out, "choose a file in it");
  }
  if (!directory.empty() && !fs::is_directory(directory)) {
    throw UserError("--out",
                    "expected a file in an existing directory, found no directory " + directory.string(),
                    "create it, or choose another one");
  }
}

std::vector<Target> targets_with_sweep(std::vector<Target> targets, const std::string& out) {
  std::erase_if(targets, [](const Target& target) { return !target.sweep; });
  if (targets.empty()) {
    throw UserError("--sweep", "expected a layer or a loss, found none among the names",
                    "name one, for example tanh");
  }
  if (!out.empty() && targets.size() > kMostPlotLines) {
    throw UserError(
        "--out",
        fmt::format("expected at most {} entries in one plot, found {}", kMostPlotLines, targets.size()),
        "name some of them, for example tanh gelu softmax");
  }
  return targets;
}

int run_sweep(const std::vector<Target>& selection, const CheckOptions& options) {
  if (!options.out.empty()) {
    require_writable(options.out);
  }
  std::vector<Sweep> sweeps;
  Json rows = Json::array();
  for (const Target& target : targets_with_sweep(selection, options.out)) {
    const Sweep& sweep = sweeps.emplace_back(Sweep{target.name, target.sweep()});
    Json points = Json::array();
    for (const auto& [step, error] : sweep.points) {
      points.push_back({{"step", step}, {"error", error}});
    }
    rows.push_back({{"name", sweep.name}, {"points", points}});
    if (!options.json) {
      fmt::print("{}\n", sweep_table(sweep));
    }
  }
  if (!options.out.empty()) {
    write_atomically(options.out, to_svg(sweep_plot(sweeps)));
    fmt::print(options.json ? stderr : stdout, "Written to {}\n", options.out);
  }
  if (options.json) {
    print_json(rows);
  }
  return kDone;
}

// ---- A single planted bug ---------------------------------------------------------------------------------

[[noreturn]] void refuse_without_checks(const CheckOptions& options) {
  throw UserError("--dtype",
                  fmt::format("expected an entry with a check in {}, found none",
                              *options.dtype == c10::ScalarType::Float ? "float32" : "float64"),
                  "omit --dtype, or name other entries");
}

TargetBug find_bug(const std::vector<Target>& targets, const std::string& name) {
  std::vector<std::string> known = {"none"};
  for (const Target& target : targets) {
    for (const TargetBug& bug : target.bugs) {
      if (bug.name == name) {
        return bug;
      }
      known.push_back(bug.name);
    }
  }
  throw UserError("--bug", fmt::format("expected the name of a planted bug or none, found '{}'", name),
                  "see 'twingrad check --list-bugs'" + suggestion(name, known));
}

/// Runs the checks of an entry with a bug, and shows their results.
int show_bug(const TargetBug& bug, const CheckOptions& options) {
  const std::vector<Check> checks = bug.run(options.where());
  if (checks.empty()) {
    refuse_without_checks(options);
  }
  Json rows = Json::array();
  for (const Check& check : checks) {
    rows.push_back(check_to_json(check));
    if (!options.json) {
      fmt::print("{} against {} in {}: {}\n{}\n", check.name, check.oracle, check.dtype,
                 check.passed ? "agrees" : "REJECTED", check.detail);
    }
  }
  const bool passed = all_passed(checks);
  if (options.json) {
    print_json({{"passed", passed}, {"bug", bug.name}, {"checks", rows}});
  } else {
    fmt::print("{}: {}\n", bug.name, bug.why);
  }
  return passed ? kDone : kCheckFailed;
}

// ---- All checks -------------------------------------------------------------------------------------------

/// Prints the table of checks and collects the results.
class CheckTable {
 public:
  CheckTable(const std::vector<Target>& targets, const CheckOptions& options)
      : options_(options), stream_(options.format == CheckFormat::text ? stdout : stderr) {
    for (const Target& target : targets) {
      width_ = std::max(width_, target.name.size());
    }
  }

  void add(const Target& target) {
    const std::vector<Check> checks = target.run(options_.where());
    if (checks.empty()) {
      return;  // none with this dtype
    }
    if (entries_++ == 0) {
      print_row("entry", "reference", "error", "differences", "float32", "planted bugs");
    }
    agreeing_ += all_passed(checks) ? 1 : 0;
    int rejected = 0;
    for (const TargetBug& bug : target.bugs) {
      const bool is_rejected = rejects(bug, options_.where());
      rejected += is_rejected ? 1 : 0;
      bug_rows_.push_back({{"name", bug.name}, {"rejected", is_rejected}});
      verdicts_.push_back(
          {target.name, "rejects " + bug.name, is_rejected, "the planted bug passes the checks: " + bug.why});
    }
    rejected_ += rejected;
    print_checks(target, checks, fmt::format("{} of {} rejected", rejected, target.bugs.size()));
  }

  /// Prints the summary. Returns whether all entries agree and all bugs are rejected.
  bool finish(double seconds) const {
    if (entries_ == 0) {
      refuse_without_checks(options_);
    }
    const bool passed = agreeing_ == entries_ && rejected_ == std::ssize(bug_rows_);
    fmt::print(stream_, "{} of {} entries agree · {} of {} planted bugs rejected · {:.1f} s\n", agreeing_,
               entries_, rejected_, bug_rows_.size(), seconds);
    if (options_.json) {
      print_json({{"passed", passed}, {"checks", rows_}, {"bugs", bug_rows_}});
    }
    print_verdicts(verdicts_, seconds, options_.format);
    return passed;
  }

 private:
  static std::string cell(const Check& check) {
    const std::string text = check.max_rel_error == 0 ? "exact" : fmt::format("{:.1e}", check.max_rel_error);
    return check.passed ? text : text + " FAILED";
  }

  void print_row(const std::string& name, const std::string& oracle, const std::string& error,
                 const std::string& differences, const std::string& float32, const std::string& bugs) const {
    fmt::print(stream_, "{:<{}}  {:<16} {:>9} {:>12} {:>9}   {}\n", name, width_, oracle, error, differences,
               float32, bugs);
  }

  void print_checks(const Target& target, const std::vector<Check>& checks, const std::string& bugs) {
    std::string oracle, error, differences, float32;
    for (const Check& check : checks) {
      rows_.push_back(check_to_json(check));
      verdicts_.push_back(
          {target.name, fmt::format("{} in {}", check.oracle, check.dtype), check.passed, check.detail});
      if (check.dtype == "float32") {
        float32 = cell(check);
      } else if (check.oracle == "finite-difference") {
        differences = cell(check);
      } else {
        oracle = check.oracle;
        error = cell(check);
      }
    }
    print_row(target.name, oracle, error, differences, float32, bugs);
    for (const Check& check : checks) {
      fmt::print(stream_, "{}", check.detail);
    }
  }

  const CheckOptions& options_;
  std::FILE* stream_;
  std::size_t width_ = 5;
  int entries_ = 0;
  int agreeing_ = 0;
  int rejected_ = 0;
  Json rows_ = Json::array();
  Json bug_rows_ = Json::array();
  std::vector<CheckVerdict> verdicts_;
};

int run_checks(const std::vector<Target>& targets, const CheckOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  CheckTable table(targets, options);
  for (const Target& target : targets) {
    table.add(target);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return table.finish(elapsed.count()) ? kDone : kCheckFailed;
}

/// Refuses options that have no meaning together.
void require_consistent(const CheckOptions& options) {
  const bool entries = options.list || options.list_bugs || options.sweep || !options.bug.empty();
  if (options.format != CheckFormat::text && options.format != CheckFormat::json && entries) {
    throw UserError("--format",
                    "expected text or json with --list, --list-bugs, --bug and --sweep, found another",
                    "omit one of them");
  }
  if (!options.plugin.empty() && (entries || options.dtype || !options.device.is_cpu())) {
    throw UserError("--plugin", "expected only names, --format and --json with it, found another option",
                    "omit it: the plugin chooses dtypes and devices");
  }
}

int run_check(const CheckOptions& given) {
  CheckOptions options = given;
  if (options.json && options.format != CheckFormat::text && options.format != CheckFormat::json) {
    throw UserError("--json", "expected no other --format with it, found one", "omit one of them");
  }
  options.format = options.json ? CheckFormat::json : options.format;
  options.json = options.format == CheckFormat::json;
  require_consistent(options);
  require_available("--device", options.device);
  if (!options.out.empty() && !options.sweep) {
    throw UserError("--out", "expected --sweep with it, found none", "add --sweep");
  }
  const bool is_default = options.dtype != c10::ScalarType::Float && options.device.is_cpu();
  if (options.sweep && !is_default) {
    throw UserError("--sweep", "expected float64 on the CPU, found another --dtype or --device", "omit them");
  }
  use_threads({.aten = 1, .blas = 1});  // the tensors are small
  if (!options.plugin.empty()) {
    return check_plugin(options.plugin, options.names, options.format);
  }
  const std::vector<Target> targets = catalogue::all_targets();
  if (!options.bug.empty() && options.bug != "none") {
    return show_bug(find_bug(targets, options.bug), options);
  }
  const std::vector<Target> selection = select_targets(targets, options.names);
  if (options.list || options.list_bugs) {
    return print_list(selection, options);
  }
  return options.sweep ? run_sweep(selection, options) : run_checks(selection, options);
}

}  // namespace

std::function<int()> add_check_command(CLI::App& program) {
  const auto options = std::make_shared<CheckOptions>();
  CLI::App& command = add_command(
      program, "check", "Check every hand-written gradient, and detect planted bugs.",
      {{"twingrad check", "all gradients: a few seconds"},
       {"twingrad check linear cross_entropy --dtype float64", "two of them, in float64"},
       {"twingrad check --bug relu.mask_from_gradient", "how a wrong gradient is detected"},
       {"twingrad check gelu --sweep --out gelu.svg", "the error for each step size, as a plot"}});
  command.add_option("names", options->names, "entries of the catalogue; default: all")->type_name("NAME");
  return command_with(command, kCheckFields, run_check, options);
}

}  // namespace twingrad::app
