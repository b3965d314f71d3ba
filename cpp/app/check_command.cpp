#include <fmt/format.h>
#include <torch/cuda.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/option_values.h"
#include "twingrad/catalogue/check.h"
#include "twingrad/io/atomic_file.h"
#include "twingrad/report/line_plot.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::app {
namespace {

using catalogue::Check;
using catalogue::Where;
using Json = nlohmann::ordered_json;

/// A planted bug with the entry it belongs to.
struct PlantedBug {
  std::string name;
  std::string why;
  std::function<std::vector<Check>(const Where&)> run;
};

/// An entry of the catalogue as this command sees it: a layer, a loss, an optimizer, a schedule or clipping.
struct Target {
  std::string name;
  std::function<std::vector<Check>(const Where&)> run;
  std::vector<PlantedBug> bugs;
  std::function<std::vector<catalogue::SweepPoint>()> sweep;  ///< empty: neither layer nor loss
};

template <typename Entry>
Target target_of(const Entry& entry) {
  Target target{entry.name, [entry](const Where& where) { return catalogue::check(entry, where); }, {}, {}};
  for (const auto& bug : entry.bugs) {
    target.bugs.push_back({bug.name, bug.why,
                           [entry, bug](const Where& where) { return catalogue::check(entry, bug, where); }});
  }
  return target;
}

std::vector<Target> all_targets() {
  std::vector<Target> targets;
  for (const auto& entries : {catalogue::layer_entries(), catalogue::loss_entries()}) {
    for (const catalogue::Entry& entry : entries) {
      targets.push_back(target_of(entry));
      targets.back().sweep = [entry] { return catalogue::sweep(entry); };
    }
  }
  for (const catalogue::OptimizerEntry& entry : catalogue::optimizer_entries()) {
    targets.push_back(target_of(entry));
  }
  for (const auto& entries : {catalogue::schedule_entries(), catalogue::clipping_entries()}) {
    for (const catalogue::ValuesEntry& entry : entries) {
      targets.push_back(target_of(entry));
    }
  }
  return targets;
}

/// What the command was asked for.
struct CheckRequest {
  std::vector<std::string> names;
  std::string bug;
  bool list = false;
  bool list_bugs = false;
  bool sweep = false;
  std::string out;
  bool json = false;
  Where where;
};

/// The targets of that name or below it: "sgd" means "sgd.momentum" too. No names: all.
std::vector<Target> select(const std::vector<Target>& targets, const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const Target& target : targets) {
    known.push_back(target.name);
  }
  std::vector<bool> chosen(targets.size(), names.empty());
  for (const std::string& name : names) {
    bool found = false;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const bool matches = known[i] == name || known[i].rfind(name + ".", 0) == 0;
      chosen[i] = chosen[i] || matches;
      found = found || matches;
    }
    if (!found) {
      throw UserError(name, "expected an entry of the catalogue, found none of that name",
                      "see 'twingrad check --list'" + suggestion(name, known));
    }
  }
  std::vector<Target> selection;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (chosen[i]) {
      selection.push_back(targets[i]);
    }
  }
  return selection;
}

bool all_passed(const std::vector<Check>& checks) {
  return !checks.empty() &&
         std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed; });
}

/// Whether a check fails with the bug planted.
bool rejects(const PlantedBug& bug, Where where) {
  where.until_failure = true;
  const std::vector<Check> checks = bug.run(where);
  return !checks.empty() && !all_passed(checks);
}

Json to_json(const Check& check) {
  return {{"name", check.name},
          {"oracle", check.oracle},
          {"dtype", check.dtype},
          {"max_abs_error", check.max_abs_error},
          {"max_rel_error", check.max_rel_error},
          {"tolerance", check.tolerance},
          {"passed", check.passed}};
}

int list(const std::vector<Target>& targets, const CheckRequest& request) {
  Json rows = Json::array();
  for (const Target& target : targets) {
    if (request.list) {
      rows.push_back(target.name);
      if (!request.json) {
        fmt::print("{}\n", target.name);
      }
      continue;
    }
    for (const PlantedBug& bug : target.bugs) {
      rows.push_back({{"name", bug.name}, {"target", target.name}, {"why", bug.why}});
      if (!request.json) {
        fmt::print("{:<42} {}\n", bug.name, bug.why);
      }
    }
  }
  if (request.json) {
    fmt::print("{}\n", rows.dump(2));
  }
  return kDone;
}

/// A curve of the sweep.
struct Sweep {
  std::string name;
  std::vector<catalogue::SweepPoint> points;
};

void print_table(const Sweep& sweep) {
  fmt::print("{}\n{:>10}  error of central differences, relative to the largest entry\n", sweep.name, "step");
  for (const auto& [step, error] : sweep.points) {
    const int length =
        std::isfinite(error) && error > 0 ? std::max(0, 18 + static_cast<int>(std::log10(error))) : 0;
    fmt::print("{:>10.1e}  {:<8.1e} {}\n", step, error,
               std::string(static_cast<std::size_t>(2 * length), '*'));
  }
  fmt::print("\n");
}

Json to_json(const Sweep& sweep) {
  Json points = Json::array();
  for (const auto& [step, error] : sweep.points) {
    points.push_back({{"step", step}, {"error", error}});
  }
  return {{"name", sweep.name}, {"points", points}};
}

/// The sweeps as a picture, with what bounds them: truncation and rounding.
LinePlot plot_of(const std::vector<Sweep>& sweeps) {
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  const double best = std::cbrt(kEpsilon);
  LinePlot plot = {.title = "How wrong a central difference is, and why no step size helps",
                   .subtitle =
                       "Large steps h err by truncation, like h²; small ones by rounding, like ε/h. Best "
                       "near ∛ε = 6·10⁻⁶.",
                   .x = {.label = "step size h (in units of the input)", .logarithmic = true},
                   .y = {.label = "error, relative to the largest gradient entry", .logarithmic = true},
                   .lines = {},
                   .guides = {{"truncation h²", {best, best * best}, {0.1, 0.01}},
                              {"rounding ε/h", {1e-12, kEpsilon / 1e-12}, {best, kEpsilon / best}}}};
  for (const Sweep& sweep : sweeps) {
    PlotLine line{sweep.name, {}};
    for (const auto& [step, error] : sweep.points) {
      line.points.push_back({step, error});
    }
    plot.lines.push_back(line);
  }
  return plot;
}

/// Refuses --out before the work is done.
void require_writable(const std::string& out) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(out).parent_path();
  if (fs::is_directory(out)) {
    throw UserError("--out", "expected a file to write, found the folder " + out, "name a file in it");
  }
  if (!folder.empty() && !fs::is_directory(folder)) {
    throw UserError("--out", "expected a file in a folder that exists, found no folder " + folder.string(),
                    "make it, or choose another");
  }
}

int sweep(const std::vector<Target>& targets, const CheckRequest& request) {
  if (!request.out.empty()) {
    require_writable(request.out);
  }
  std::vector<Target> swept;
  std::copy_if(targets.begin(), targets.end(), std::back_inserter(swept),
               [](const Target& target) { return static_cast<bool>(target.sweep); });
  if (swept.empty()) {
    throw UserError("--sweep", "expected a layer or a loss, found none among the names",
                    "name one, for example tanh");
  }
  if (!request.out.empty() && swept.size() > kMostPlotLines) {
    throw UserError(
        "--out",
        fmt::format("expected at most {} entries in one picture, found {}", kMostPlotLines, swept.size()),
        "name some of them, for example tanh gelu softmax");
  }
  std::vector<Sweep> sweeps;
  Json rows = Json::array();
  for (const Target& target : swept) {
    sweeps.push_back({target.name, target.sweep()});
    rows.push_back(to_json(sweeps.back()));
    if (!request.json) {
      print_table(sweeps.back());
    }
  }
  if (!request.out.empty()) {
    write_atomically(request.out, to_svg(plot_of(sweeps)));
    fmt::print(request.json ? stderr : stdout, "Written to {}\n", request.out);
  }
  if (request.json) {
    fmt::print("{}\n", rows.dump(2));
  }
  return kDone;
}

[[noreturn]] void throw_nothing_to_check(const CheckRequest& request) {
  throw UserError("--dtype",
                  fmt::format("expected an entry with a check in {}, found none",
                              *request.where.dtype == at::kFloat ? "float32" : "float64"),
                  "leave --dtype out, or name other entries");
}

/// Runs the target of a bug with the bug planted, and shows what the oracles say.
int show_bug(const std::vector<Target>& targets, const CheckRequest& request) {
  std::vector<std::string> known = {"none"};
  for (const Target& target : targets) {
    for (const PlantedBug& bug : target.bugs) {
      known.push_back(bug.name);
      if (bug.name != request.bug) {
        continue;
      }
      const std::vector<Check> checks = bug.run(request.where);
      if (checks.empty()) {
        throw_nothing_to_check(request);
      }
      Json rows = Json::array();
      for (const Check& check : checks) {
        rows.push_back(to_json(check));
        if (!request.json) {
          fmt::print("{} against {} in {}: {}\n{}\n", check.name, check.oracle, check.dtype,
                     check.passed ? "agrees" : "REJECTED", check.detail);
        }
      }
      const bool passed = all_passed(checks);
      if (request.json) {
        fmt::print("{}\n", Json{{"passed", passed}, {"bug", bug.name}, {"checks", rows}}.dump(2));
      } else {
        fmt::print("{}: {}\n", bug.name, bug.why);
      }
      return passed ? kDone : kCheckFailed;
    }
  }
  throw UserError("--bug", fmt::format("expected the name of a planted bug or none, found '{}'", request.bug),
                  "see 'twingrad check --list-bugs'" + suggestion(request.bug, known));
}

std::string cell(const Check& check) {
  const std::string text = check.max_rel_error == 0 ? "exact" : fmt::format("{:.1e}", check.max_rel_error);
  return check.passed ? text : text + " FAILED";
}

/// A line of the table: the oracle that knows the right answer, our distance from it, and from the other two.
std::string table_line(const std::string& name, std::size_t width, const std::vector<Check>& checks,
                       int rejected, std::size_t bugs) {
  std::string oracle, reference, differences, float32;
  for (const Check& check : checks) {
    if (check.dtype == "float32") {
      float32 = cell(check);
    } else if (check.oracle == "finite-difference") {
      differences = cell(check);
    } else {
      oracle = check.oracle;
      reference = cell(check);
    }
  }
  return fmt::format("{:<{}}  {:<16} {:>9} {:>12} {:>9}   {} of {} rejected\n", name, width, oracle,
                     reference, differences, float32, rejected, bugs);
}

int run_checks(const std::vector<Target>& targets, const CheckRequest& request) {
  const bool json = request.json;
  const auto start = std::chrono::steady_clock::now();
  Json rows = Json::array();
  Json bug_rows = Json::array();
  int entries = 0;
  int agreeing = 0;
  int bugs = 0;
  int rejected = 0;
  std::FILE* stream = json ? stderr : stdout;
  std::size_t width = 5;
  for (const Target& target : targets) {
    width = std::max(width, target.name.size());
  }
  for (const Target& target : targets) {
    const std::vector<Check> checks = target.run(request.where);
    if (checks.empty()) {
      continue;  // nothing of that dtype
    }
    if (entries++ == 0) {
      fmt::print(stream, "{:<{}}  {:<16} {:>9} {:>12} {:>9}   {}\n", "entry", width, "oracle", "error",
                 "differences", "float32", "planted bugs");
    }
    for (const Check& check : checks) {
      rows.push_back(to_json(check));
    }
    int here = 0;
    for (const PlantedBug& bug : target.bugs) {
      const bool is_rejected = rejects(bug, request.where);
      here += is_rejected ? 1 : 0;
      bug_rows.push_back({{"name", bug.name}, {"rejected", is_rejected}});
    }
    agreeing += all_passed(checks) ? 1 : 0;
    bugs += static_cast<int>(target.bugs.size());
    rejected += here;
    fmt::print(stream, "{}", table_line(target.name, width, checks, here, target.bugs.size()));
    for (const Check& check : checks) {
      fmt::print(stream, "{}", check.detail);
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (entries == 0) {
    throw_nothing_to_check(request);
  }
  const bool passed = agreeing == entries && rejected == bugs;
  fmt::print(stream, "{} of {} entries agree · {} of {} planted bugs rejected · {:.1f} s\n", agreeing,
             entries, rejected, bugs, seconds);
  if (json) {
    fmt::print("{}\n", Json{{"passed", passed}, {"checks", rows}, {"bugs", bug_rows}}.dump(2));
  }
  return passed ? kDone : kCheckFailed;
}

/// Refuses options that do not fit together, and a device that is not there.
void require_sense(const CheckRequest& request) {
  if (!request.out.empty() && !request.sweep) {
    throw UserError("--out", "expected it with --sweep, found it alone", "add --sweep");
  }
  if (request.sweep &&
      (request.where.dtype.value_or(at::kDouble) != at::kDouble || !request.where.device.is_cpu())) {
    throw UserError("--sweep", "expected float64 on the CPU, found another --dtype or --device",
                    "leave them out");
  }
  if (request.where.device.is_cuda() && !torch::cuda::is_available()) {
    throw UserError("--device", "expected a GPU that this LibTorch can use, found none", "use --device cpu");
  }
}

}  // namespace

int check_command(const std::vector<std::string>& arguments) {
  CheckRequest request;
  CLI::App command(
      "Holds every gradient that is written by hand against autograd, central differences and planted bugs.",
      "twingrad check");
  command.add_option("names", request.names, "entries of the catalogue; none: all")->type_name("NAME");
  const std::string group = "Options";
  add_flag(command, group, "--list", request.list, "name the entries");
  add_flag(command, group, "--list-bugs", request.list_bugs,
           "name the planted bugs, and why people make them");
  add_option(command, group,
             {"--bug", "NAME", "", "plant this bug and show what the oracles say; none: plant nothing"},
             [&](const std::string& text) { request.bug = text; });
  add_option(command, group,
             {"--dtype", "NAME", "", "run only the checks in float32 (beside float64) or in float64"},
             [&](const std::string& text) {
               request.where.dtype = choose<at::ScalarType>(
                   "--dtype", text, {{"float32", at::kFloat}, {"float64", at::kDouble}});
             });
  add_option(command, group, {"--device", "NAME", "cpu", "cpu or cuda"}, [&](const std::string& text) {
    request.where.device = choose<at::DeviceType>("--device", text, {{"cpu", at::kCPU}, {"cuda", at::kCUDA}});
  });
  add_flag(command, group, "--sweep", request.sweep,
           "show the error of central differences against their step");
  add_option(command, group, {"--out", "FILE", "", "with --sweep: draw it, an SVG file"},
             [&](const std::string& text) { request.out = text; });
  add_flag(command, group, "--json", request.json,
           "print JSON on standard output, all else on standard error");
  if (!parse(command, arguments)) {
    return kDone;
  }
  require_sense(request);
  use_threads({.aten = 1, .blas = 1});  // the tensors are small
  const std::vector<Target> targets = all_targets();
  if (!request.bug.empty() && request.bug != "none") {
    return show_bug(targets, request);
  }
  const std::vector<Target> selection = select(targets, request.names);
  if (request.list || request.list_bugs) {
    return list(selection, request);
  }
  return request.sweep ? sweep(selection, request) : run_checks(selection, request);
}

}  // namespace twingrad::app
