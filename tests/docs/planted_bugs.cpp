// Runs every planted bug of the catalogue. Prints one JSON object per bug: its name, entry and explanation,
// the references that reject it and those that do not see it, the output of the gradient checker, and the
// options of `twingrad compare` for a network that contains the entry, if there is one. script/docs makes
// docs/bugs.md from it.

#include "twingrad/catalogue/planted_bugs.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "twingrad/catalogue/targets.h"

namespace {

using namespace twingrad::catalogue;
using Json = nlohmann::ordered_json;

Json describe(const Target& target, const TargetBug& bug) {
  Json rejected = Json::array();
  Json accepted = Json::array();
  std::string detail;
  for (const Check& check : bug.run({.dtype = at::kDouble})) {
    (check.passed ? accepted : rejected).push_back(check.oracle);
    if (check.oracle == "finite-difference") {
      detail = check.detail;
    }
  }
  Json row = {{"name", bug.name},        {"entry", target.name},    {"why", bug.why},
              {"rejected by", rejected}, {"not seen by", accepted}, {"detail", detail}};
  const auto& networks = entries_in_networks();
  const auto network = std::find_if(networks.begin(), networks.end(),
                                    [&](const EntryInNetwork& known) { return known.entry == target.name; });
  if (network != networks.end()) {
    row["compare"] = network->options;
  }
  return row;
}

}  // namespace

int main() {
  at::set_num_threads(1);
  Json rows = Json::array();
  for (const Target& target : all_targets()) {
    for (const TargetBug& bug : target.bugs) {
      rows.push_back(describe(target, bug));
    }
  }
  std::cout << rows.dump() << "\n";
}
