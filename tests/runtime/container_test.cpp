#include "twingrad/runtime/container.h"

#include <gtest/gtest.h>

#include <string>

#include "../support/temporary_folder.h"

namespace twingrad::container_test {

using namespace twingrad::testing;

const std::string kRoot = "21 20 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a\n";
const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Whether the directory "home/my runs" is lost if what is mounted at its parent has this root and type.
bool is_lost(const std::string& root, const std::string& type) {
  const TemporaryFolder folder;
  const std::filesystem::path home = std::filesystem::canonical(folder.path()) / "home";
  std::filesystem::create_directories(home / "my runs");
  folder.write("mounts", kRoot + "22 21 8:1 " + root + " " + home.string() +
                             " rw,noatime shared:3 master:1 - " + type + " /dev/sda1 rw\n");
  return is_lost_with_container(home / "my runs", folder.path() / "mounts");
}

TEST(Container, LosesDirectoriesOfItsOwn) {
  const TemporaryFolder folder;
  folder.write("mounts", kRoot + "22 21 8:1 /runs /somewhere/else rw - ext4 /dev/sda1 rw\n" +
                             "23 21 8:1 /runs " + folder.path().string() + "x rw - ext4 /dev/sda1 rw\n");
  EXPECT_TRUE(is_lost_with_container(folder.path(), folder.path() / "mounts"));
  EXPECT_TRUE(is_lost("/", "tmpfs"));
}

TEST(Container, LosesUnnamedVolumes) {
  EXPECT_TRUE(is_lost("/var/lib/docker/volumes/" + kId + "/_data", "ext4"));
  EXPECT_TRUE(is_lost("/home/me/.local/share/containers/storage/volumes/" + kId + "/_data", "btrfs"));
}

TEST(Container, KeepsWhatIsMounted) {
  EXPECT_FALSE(is_lost("/home/me/runs", "ext4"));
  EXPECT_FALSE(is_lost("/var/lib/docker/volumes/twingrad-runs/_data", "ext4"));
  EXPECT_FALSE(is_lost("/", "nfs4"));
}

TEST(Container, DirectoryBelongsToItsInnermostAndLastMount) {
  const TemporaryFolder folder;
  const std::filesystem::path runs = std::filesystem::canonical(folder.path()) / "my runs";
  std::filesystem::create_directory(runs);
  std::string escaped = runs.string();
  escaped.replace(escaped.find(' '), 1, "\\040");
  const auto lost = [&](const std::string& mounts) {
    folder.write("mounts", mounts);
    return is_lost_with_container(runs, folder.path() / "mounts");
  };
  const std::string mounted = "23 21 8:1 /keep " + escaped + " rw - ext4 /dev/sda1 rw\n";
  const std::string memory = "24 21 0:9 / " + escaped + " rw - tmpfs tmpfs rw\n";
  EXPECT_FALSE(lost(mounted + kRoot));
  EXPECT_TRUE(lost(mounted + memory));
  EXPECT_FALSE(lost(memory + mounted));
}

TEST(Container, WithoutMountsLosesNothing) {
  const TemporaryFolder folder;
  folder.write("mounts", "nonsense\n\n1 2 3\n");
  EXPECT_FALSE(is_lost_with_container(folder.path(), folder.path() / "mounts"));
  EXPECT_FALSE(is_lost_with_container(folder.path(), "/nonexistent"));
  folder.write("mounts", kRoot);
  EXPECT_FALSE(is_lost_with_container(folder.path() / "missing", folder.path() / "mounts"));
}

}  // namespace twingrad::container_test
