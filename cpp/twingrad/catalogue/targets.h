#pragma once

#include <functional>
#include <string>
#include <vector>

#include "twingrad/catalogue/check_result.h"

namespace twingrad::catalogue {

/// A planted bug in an entry of any kind.
struct TargetBug {
  std::string name;
  std::string why;
  std::function<std::vector<Check>(const Where&)> run;  ///< the checks of the entry with this bug
};

/// An entry of the catalogue, of any kind: a layer, a loss, an optimizer, a schedule, clipping or a
/// convention.
struct Target {
  std::string name;
  std::function<std::vector<Check>(const Where&)> run;
  std::vector<TargetBug> bugs;
  std::function<std::vector<SweepPoint>()> sweep;  ///< empty unless it is a layer or a loss
};

std::vector<Target> all_targets();

/// The targets with one of the names, and those below it: "sgd" includes "sgd.momentum". No names: all.
/// Throws UserError for an unknown name.
std::vector<Target> select_targets(const std::vector<Target>& targets, const std::vector<std::string>& names);

/// Whether there are checks and none failed.
bool all_passed(const std::vector<Check>& checks);

/// Whether a check detects the bug. Stops at the first check that does.
bool rejects(const TargetBug& bug, Where where);

}  // namespace twingrad::catalogue
