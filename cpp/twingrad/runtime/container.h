#pragma once

#include <filesystem>

namespace twingrad {

/// Whether a directory of a container is lost when the container is removed: because it is in the container's
/// own file system, in memory, or in an unnamed volume (a `VOLUME` of the image without a mount). Everything
/// else was mounted by the user.
///
/// mounts: the mounts that the process sees (proc_pid_mountinfo(5)). A directory that does not exist, or
/// unreadable mounts, give false.
bool is_lost_with_container(const std::filesystem::path& directory,
                            const std::filesystem::path& mounts = "/proc/self/mountinfo");

}  // namespace twingrad
