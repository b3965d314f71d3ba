#pragma once

#include <filesystem>
#include <limits>

namespace twingrad {

/// What the control groups of a process allow, as in a container. Infinite without a limit.
struct ControlGroupLimits {
  double processors = std::numeric_limits<double>::infinity();  ///< CPU time per wall time
  double memory = std::numeric_limits<double>::infinity();      ///< in bytes
};

/// Reads the limits of a process: the smallest of its group and all groups around it, in version 2 of control
/// groups (cpu.max, memory.max) and in version 1 (cpu.cfs_quota_us, memory.limit_in_bytes). Files that are
/// missing set no limit (cgroups(7); Linux, Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
///
/// membership: the list of the process's groups; mount: the directory where the hierarchies are mounted.
ControlGroupLimits control_group_limits(const std::filesystem::path& membership = "/proc/self/cgroup",
                                        const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace twingrad
