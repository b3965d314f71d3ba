#include "twingrad/runtime/control_groups.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace twingrad {
namespace {

namespace fs = std::filesystem;

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// A positive number, or no limit for "max", −1 and anything else.
double limit_from(const std::string& text) {
  const double number = std::strtod(text.c_str(), nullptr);
  return std::isfinite(number) && number > 0 ? number : kNoLimit;
}

/// The first two words of a file; empty if it is missing.
std::pair<std::string, std::string> words_of(const fs::path& file) {
  std::ifstream stream(file);
  std::string first, second;
  stream >> first >> second;
  return {first, second};
}

void restrict_to(ControlGroupLimits& limits, double quota, double period, double memory) {
  limits.processors = std::min(limits.processors, quota / period);
  limits.memory = std::min(limits.memory, memory);
}

/// Applies the limits of one group in a hierarchy of either version.
void apply_group(ControlGroupLimits& limits, const fs::path& group) {
  const auto [quota, period] = words_of(group / "cpu.max");
  if (const double of = limit_from(period); of != kNoLimit) {
    restrict_to(limits, limit_from(quota), of, kNoLimit);
  }
  if (const double of = limit_from(words_of(group / "cpu.cfs_period_us").first); of != kNoLimit) {
    restrict_to(limits, limit_from(words_of(group / "cpu.cfs_quota_us").first), of, kNoLimit);
  }
  for (const char* file : {"memory.max", "memory.limit_in_bytes"}) {
    restrict_to(limits, kNoLimit, 1, limit_from(words_of(group / file).first));
  }
}

/// Applies the limits of a group and of all groups around it. In a container, the path may be that of the
/// host; then only the root of the hierarchy exists.
void apply_groups(ControlGroupLimits& limits, const fs::path& hierarchy, const std::string& group) {
  for (fs::path path = fs::path(group).relative_path().lexically_normal();; path = path.parent_path()) {
    apply_group(limits, hierarchy / path);
    if (path.empty() || path == ".") {
      return;
    }
  }
}

}  // namespace

ControlGroupLimits control_group_limits(const fs::path& membership, const fs::path& mount) {
  ControlGroupLimits limits;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // "4:cpu,cpuacct:/docker/0a1b", version 2: "0::/group"
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      apply_groups(limits, mount, group);
      apply_groups(limits, mount / "unified", group);  // beside version 1
      continue;
    }
    apply_groups(limits, mount / controllers, group);
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name != controllers) {
        apply_groups(limits, mount / name, group);
      }
    }
  }
  return limits;
}

}  // namespace twingrad
