#include "twingrad/runtime/control_groups.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "../support/temporary_folder.h"

namespace twingrad::control_groups_test {

using namespace twingrad::testing;

using Files = std::map<std::string, std::string>;

/// The limits of a process in these groups, in a system with these files under the mount point.
ControlGroupLimits limits(const std::string& groups, const Files& files) {
  const TemporaryFolder folder;
  for (const auto& [name, content] : files) {
    const std::filesystem::path file = folder.path() / "mount" / name;
    std::filesystem::create_directories(file.parent_path());
    folder.write("mount/" + name, content);
  }
  folder.write("groups", groups);
  return control_group_limits(folder.path() / "groups", folder.path() / "mount");
}

TEST(ControlGroups, WithoutFilesSetNoLimit) {
  for (const std::string groups :
       {"", "0::/\n", "0::/a/b\n", "4:memory:/a\n3:cpu,cpuacct:/b\n", "nonsense\n:\n"}) {
    EXPECT_TRUE(std::isinf(limits(groups, {}).processors)) << groups;
    EXPECT_TRUE(std::isinf(limits(groups, {}).memory)) << groups;
  }
  EXPECT_TRUE(std::isinf(control_group_limits("/nonexistent", "/nonexistent").memory));
}

TEST(ControlGroups, OfVersion2LimitTheirMembersAndGroupsWithin) {
  const auto of = [](const Files& files) { return limits("0::/outer/inner\n", files); };
  EXPECT_EQ(of({{"outer/inner/cpu.max", "150000 100000\n"}}).processors, 1.5);
  EXPECT_EQ(of({{"outer/cpu.max", "50000 100000\n"}, {"outer/inner/cpu.max", "max 100000\n"}}).processors,
            0.5);
  EXPECT_EQ(of({{"outer/cpu.max", "400000 100000\n"}, {"outer/inner/cpu.max", "20000 10000\n"}}).processors,
            2);
  EXPECT_EQ(of({{"cpu.max", "300000 100000\n"}}).processors, 3)
      << "in a container, only the root may be visible";
  EXPECT_EQ(of({{"outer/memory.max", "1000\n"}, {"outer/inner/memory.max", "max\n"}}).memory, 1000);
  EXPECT_EQ(of({{"outer/memory.max", "1000\n"}, {"outer/inner/memory.max", "999\n"}}).memory, 999);
  EXPECT_TRUE(
      std::isinf(of({{"outer/inner/deeper/cpu.max", "1 2\n"}, {"other/memory.max", "1"}}).processors));
  EXPECT_TRUE(std::isinf(of({{"other/memory.max", "1"}}).memory));
  for (const std::string broken :
       {"", "max", "100000", "-1 100000", "nan 100000", "100000 0", "100000 x", "0 100000"}) {
    EXPECT_TRUE(std::isinf(of({{"cpu.max", broken}}).processors)) << broken;
  }
}

TEST(ControlGroups, OfVersion1LimitTheirMembersAndGroupsWithin) {
  const std::string groups = "9:name=systemd:/\n4:memory:/docker/1a\n2:cpu,cpuacct:/docker/1a\n";
  const auto of = [&](const Files& files) { return limits(groups, files); };
  for (const std::string hierarchy : {"cpu,cpuacct", "cpu", "cpuacct"}) {
    for (const std::string group : {"", "/docker", "/docker/1a"}) {
      const std::string path = hierarchy + group;
      EXPECT_EQ(of({{path + "/cpu.cfs_quota_us", "250000\n"}, {path + "/cpu.cfs_period_us", "100000\n"}})
                    .processors,
                2.5)
          << path;
      EXPECT_TRUE(std::isinf(
          of({{path + "/cpu.cfs_quota_us", "-1\n"}, {path + "/cpu.cfs_period_us", "100000\n"}}).processors));
    }
  }
  EXPECT_EQ(of({{"memory/docker/memory.limit_in_bytes", "5000\n"},
                {"memory/docker/1a/memory.limit_in_bytes", "9223372036854771712\n"}})
                .memory,
            5000);
  EXPECT_EQ(limits("4:memory:/a\n0::/b\n", {{"unified/b/memory.max", "77"}}).memory, 77) << "both versions";
}

}  // namespace twingrad::control_groups_test
