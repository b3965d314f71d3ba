#include "twingrad/catalogue/targets.h"

#include <algorithm>
#include <iterator>

#include "twingrad/catalogue/check.h"
#include "twingrad/catalogue/conventions.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/option_values.h"

namespace twingrad::catalogue {
namespace {

template <typename Entry>
Target target_of(const Entry& entry) {
  Target target{entry.name, [entry](const Where& where) { return check(entry, where); }, {}, {}};
  for (const auto& bug : entry.bugs) {
    target.bugs.push_back(
        {bug.name, bug.why, [entry, bug](const Where& where) { return check(entry, bug, where); }});
  }
  return target;
}

template <typename Entry>
void append_targets(const std::vector<Entry>& entries, std::vector<Target>& targets) {
  std::transform(entries.begin(), entries.end(), std::back_inserter(targets), target_of<Entry>);
}

bool is_at_or_below(const std::string& target, const std::string& name) {
  return target == name || target.rfind(name + ".", 0) == 0;
}

void require_known(const std::vector<Target>& targets, const std::string& name) {
  std::vector<std::string> known;
  for (const Target& target : targets) {
    if (is_at_or_below(target.name, name)) {
      return;
    }
    known.push_back(target.name);
  }
  throw UserError(name, "expected the name of a catalogue entry, found an unknown name",
                  "see 'twingrad check --list'" + suggestion(name, known));
}

}  // namespace

std::vector<Target> all_targets() {
  std::vector<Target> targets;
  for (const auto& entries : {layer_entries(), loss_entries()}) {
    for (const auto& entry : entries) {
      targets.push_back(target_of(entry));
      targets.back().sweep = [entry] { return sweep(entry); };
    }
  }
  append_targets(optimizer_entries(), targets);
  append_targets(schedule_entries(), targets);
  append_targets(clipping_entries(), targets);
  append_targets(convention_entries(), targets);
  return targets;
}

std::vector<Target> select_targets(const std::vector<Target>& targets,
                                   const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    require_known(targets, name);
  }
  std::vector<Target> selection;
  std::copy_if(targets.begin(), targets.end(), std::back_inserter(selection), [&](const Target& target) {
    return names.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
             return is_at_or_below(target.name, name);
           });
  });
  return selection;
}

bool all_passed(const std::vector<Check>& checks) {
  return !checks.empty() &&
         std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed; });
}

bool rejects(const TargetBug& bug, Where where) {
  where.until_failure = true;
  const std::vector<Check> checks = bug.run(where);
  return !checks.empty() && !all_passed(checks);
}

}  // namespace twingrad::catalogue
