#include "twingrad/io/input_file.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../support/bytes.h"
#include "../support/refusal.h"
#include "../support/temporary_folder.h"

namespace twingrad::input_file_test {

using namespace twingrad::testing;

Bytes numbered_bytes(std::size_t size) {
  Bytes bytes;
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::uint8_t>(i * i >> 3));
  return bytes;
}

TEST(WholeFile, IsReadCompletely) {
  const TemporaryFolder folder;
  // Sizes around one piece of 64 KiB, and several pieces.
  for (const std::size_t size : {0, 1, 65535, 65536, 65537, 200'000}) {
    const Bytes content = numbered_bytes(size);
    EXPECT_EQ(read_whole_file(folder.write("file", content), 200'000),
              std::string(content.begin(), content.end()))
        << size;
  }
}

TEST(WholeFile, IsRefusedAboveTheLimit) {
  const TemporaryFolder folder;
  const auto file = folder.write("file", numbered_bytes(100));
  EXPECT_EQ(read_whole_file(file, 100).size(), 100U);
  EXPECT_EQ(refusal_of([&] { read_whole_file(file, 99); }),
            file.string() + ": expected at most 99 bytes, found more; give a smaller file");
}

TEST(WholeFile, IsNotReadBeyondTheLimit) {
  // A sparse file of 1 TB: reading it completely would take minutes.
  const TemporaryFolder folder;
  const auto file = folder.write("file", "");
  std::filesystem::resize_file(file, std::uintmax_t{1} << 40);
  EXPECT_THROW(read_whole_file(file, 1000), UserError);
}

}  // namespace twingrad::input_file_test
