#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/option_values.h"
#include "twingrad/catalogue/check.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::app {
namespace {

using catalogue::Check;
using Json = nlohmann::ordered_json;

/// A planted bug with the entry it belongs to.
struct PlantedBug {
  std::string name;
  std::string why;
  std::function<std::vector<Check>()> run;
};

/// An entry of the catalogue as this command sees it, a layer, a loss or an optimizer.
struct Target {
  std::string name;
  std::function<std::vector<Check>()> run;
  std::vector<PlantedBug> bugs;
  std::function<std::vector<catalogue::SweepPoint>()> sweep;  ///< empty: an optimizer
};

template <typename Entry>
Target target_of(const Entry& entry) {
  Target target{entry.name, [entry] { return catalogue::check(entry); }, {}, {}};
  for (const auto& bug : entry.bugs) {
    target.bugs.push_back({bug.name, bug.why, [entry, bug] { return catalogue::check(entry, bug); }});
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
  return targets;
}

/// What the command was asked for.
struct Request {
  std::vector<std::string> names;
  std::string bug;
  bool list = false;
  bool list_bugs = false;
  bool sweep = false;
  bool json = false;
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

Json to_json(const Check& check) {
  return {{"name", check.name},
          {"oracle", check.oracle},
          {"dtype", check.dtype},
          {"max_abs_error", check.max_abs_error},
          {"max_rel_error", check.max_rel_error},
          {"tolerance", check.tolerance},
          {"passed", check.passed}};
}

int list(const std::vector<Target>& targets, const Request& request) {
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

int sweep(const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    const std::vector<catalogue::SweepPoint> points =
        target.sweep ? target.sweep() : std::vector<catalogue::SweepPoint>{};
    if (points.empty()) {
      continue;
    }
    fmt::print("{}\n{:>10}  error of central differences, relative to the largest entry\n", target.name,
               "step");
    for (const auto& [step, error] : points) {
      const int length =
          std::isfinite(error) && error > 0 ? std::max(0, 18 + static_cast<int>(std::log10(error))) : 0;
      fmt::print("{:>10.1e}  {:<8.1e} {}\n", step, error,
                 std::string(static_cast<std::size_t>(2 * length), '*'));
    }
    fmt::print("\n");
  }
  return kDone;
}

/// Runs the target of a bug with the bug planted, and shows what the oracles say.
int show_bug(const std::vector<Target>& targets, const Request& request) {
  std::vector<std::string> known = {"none"};
  for (const Target& target : targets) {
    for (const PlantedBug& bug : target.bugs) {
      known.push_back(bug.name);
      if (bug.name != request.bug) {
        continue;
      }
      const std::vector<Check> checks = bug.run();
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

std::string cell(const std::vector<Check>& checks, const std::vector<std::string>& oracles) {
  for (const Check& check : checks) {
    for (const std::string& oracle : oracles) {
      if (check.oracle == oracle) {
        const std::string text =
            check.max_rel_error == 0 ? "exact" : fmt::format("{:.1e}", check.max_rel_error);
        return check.passed ? text : text + " FAILED";
      }
    }
  }
  return "";
}

int run_checks(const std::vector<Target>& targets, bool json) {
  const auto start = std::chrono::steady_clock::now();
  Json rows = Json::array();
  Json bug_rows = Json::array();
  int agreeing = 0;
  int bugs = 0;
  int rejected = 0;
  std::FILE* stream = json ? stderr : stdout;
  std::size_t width = 5;
  for (const Target& target : targets) {
    width = std::max(width, target.name.size());
  }
  fmt::print(stream, "{:<{}} {:>10} {:>12} {:>10}   {}\n", "entry", width, "reference", "differences",
             "float32", "planted bugs");
  for (const Target& target : targets) {
    const std::vector<Check> checks = target.run();
    for (const Check& check : checks) {
      rows.push_back(to_json(check));
    }
    int here = 0;
    for (const PlantedBug& bug : target.bugs) {
      const bool is_rejected = !all_passed(bug.run());
      here += is_rejected ? 1 : 0;
      bug_rows.push_back({{"name", bug.name}, {"rejected", is_rejected}});
    }
    agreeing += all_passed(checks) ? 1 : 0;
    bugs += static_cast<int>(target.bugs.size());
    rejected += here;
    fmt::print(stream, "{:<{}} {:>10} {:>12} {:>10}   {} of {} rejected\n", target.name, width,
               cell(checks, {"autograd", "torch::optim"}), cell(checks, {"finite-difference"}),
               cell(checks, {"float64"}), here, target.bugs.size());
    for (const Check& check : checks) {
      fmt::print(stream, "{}", check.detail);
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const bool passed = agreeing == static_cast<int>(targets.size()) && rejected == bugs;
  fmt::print(stream, "{} of {} entries agree · {} of {} planted bugs rejected · {:.1f} s\n", agreeing,
             targets.size(), rejected, bugs, seconds);
  if (json) {
    fmt::print("{}\n", Json{{"passed", passed}, {"checks", rows}, {"bugs", bug_rows}}.dump(2));
  }
  return passed ? kDone : kCheckFailed;
}

}  // namespace

int check_command(const std::vector<std::string>& arguments) {
  Request request;
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
  add_flag(command, group, "--sweep", request.sweep,
           "show the error of central differences against their step");
  add_flag(command, group, "--json", request.json,
           "print JSON on standard output, all else on standard error");
  if (!parse(command, arguments)) {
    return kDone;
  }
  set_threads(1);  // the tensors are small
  const std::vector<Target> targets = all_targets();
  if (!request.bug.empty() && request.bug != "none") {
    return show_bug(targets, request);
  }
  const std::vector<Target> selection = select(targets, request.names);
  if (request.list || request.list_bugs) {
    return list(selection, request);
  }
  return request.sweep ? sweep(selection) : run_checks(selection, request.json);
}

}  // namespace twingrad::app
