#include "twingrad/runtime/memory.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace twingrad::memory_test {

/// The message of the c10::Error that the call throws.
std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "(it did not throw)";
}

TEST(OutOfMemory, IsReportedByLibTorchsAllocator) {
  const std::string message = error_of([] { at::empty({std::int64_t{1} << 50}); });
  EXPECT_TRUE(reports_out_of_memory(message)) << message;
  EXPECT_TRUE(reports_out_of_memory("CUDA out of memory. Tried to allocate 2.00 GiB"));
}

TEST(OutOfMemory, IsNotReportedByOtherErrorsThatMentionMemory) {
  const std::string message = error_of([] { at::empty({-1}); });
  EXPECT_FALSE(reports_out_of_memory(message)) << message;
  EXPECT_FALSE(reports_out_of_memory("unsupported memory format option ChannelsLast"));
  EXPECT_FALSE(reports_out_of_memory("cannot allocate a tensor of dtype complex on this device"));
}

TEST(MemoryInUse, GrowsWithMemoryThatIsWritten) {
  const double before = memory_in_use();
  EXPECT_GT(before, 1e6);
  const at::Tensor tensor = at::empty({50'000'000}, at::kByte).fill_(1);
  EXPECT_GT(memory_in_use(), before + 40e6);
  EXPECT_GT(memory_of_machine(), memory_in_use());
}

}  // namespace twingrad::memory_test
