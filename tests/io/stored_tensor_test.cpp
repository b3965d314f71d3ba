#include "twingrad/io/stored_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>

namespace twingrad::stored_tensor_test {

using namespace ::testing;

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

std::string elements(const StoredTensor& tensor, std::string_view file) {
  std::string copy(byte_size_of(tensor.shape, tensor.type).value(), '?');
  copy_elements(tensor, file, copy.data());
  return copy;
}

TEST(ElementFormats, AreInTheOrderOfTheEnumeration) {
  for (std::size_t i = 0; i < kElementFormats.size(); ++i) {
    EXPECT_EQ(kElementFormats[i].type, static_cast<ElementType>(i));
  }
}

TEST(ByteSize, IsTheProductOfTheShapeAndTheElementSize) {
  EXPECT_EQ(byte_size_of({2, 3}, ElementType::kFloat32), 24U);
  EXPECT_EQ(byte_size_of({}, ElementType::kFloat64), 8U);
  EXPECT_EQ(byte_size_of({7}, ElementType::kBool), 7U);
  EXPECT_EQ(byte_size_of({0}, ElementType::kFloat32), 0U);
  EXPECT_EQ(byte_size_of({5, 0, 3}, ElementType::kFloat32), 0U);
}

TEST(ByteSize, IsUnknownForNegativeSizes) {
  EXPECT_EQ(byte_size_of({-1}, ElementType::kUInt8), std::nullopt);
  EXPECT_EQ(byte_size_of({-1, -1}, ElementType::kUInt8), std::nullopt);
  EXPECT_EQ(byte_size_of({0, -1}, ElementType::kUInt8), std::nullopt);
}

TEST(ByteSize, IsUnknownIfItOverflows) {
  EXPECT_EQ(byte_size_of({kLargest}, ElementType::kUInt8), static_cast<std::uint64_t>(kLargest));
  EXPECT_EQ(byte_size_of({kLargest}, ElementType::kInt16), std::nullopt);
  EXPECT_EQ(byte_size_of({std::int64_t{1} << 32, std::int64_t{1} << 32}, ElementType::kUInt8), std::nullopt);
  // LibTorch's strides would overflow, although there are no elements.
  EXPECT_EQ(byte_size_of({0, kLargest, kLargest}, ElementType::kUInt8), std::nullopt);
}

TEST(ByteSize, IsUnknownForMoreThan64Dimensions) {
  EXPECT_EQ(byte_size_of(std::vector<std::int64_t>(64, 1), ElementType::kUInt8), 1U);
  EXPECT_EQ(byte_size_of(std::vector<std::int64_t>(65, 1), ElementType::kUInt8), std::nullopt);
}

TEST(ContiguousStrides, AreRowMajor) {
  EXPECT_THAT(contiguous_strides({2, 3, 5}), ElementsAre(15, 5, 1));
  EXPECT_THAT(contiguous_strides({2, 0, 5}), ElementsAre(5, 5, 1));
  EXPECT_THAT(contiguous_strides({}), ElementsAre());
}

TEST(CopyElements, CopiesContiguousElements) {
  EXPECT_EQ(elements({"", ElementType::kUInt8, {2, 3}, {3, 1}, 2, 8}, "__abcdef__"), "abcdef");
  EXPECT_EQ(elements({"", ElementType::kInt16, {}, {}, 1, 3}, "_ab_"), "ab");
  EXPECT_EQ(elements({"", ElementType::kUInt8, {0, 3}, {3, 1}, 0, 0}, ""), "");
}

TEST(CopyElements, CopiesViews) {
  EXPECT_EQ(elements({"", ElementType::kUInt8, {3, 2}, {1, 3}, 0, 6}, "abcdef"), "adbecf");
  EXPECT_EQ(elements({"", ElementType::kInt16, {2, 2}, {1, 2}, 0, 8}, "aabbccdd"), "aaccbbdd");
  EXPECT_EQ(elements({"", ElementType::kUInt8, {3}, {2}, 1, 6}, "abcdef"), "bdf");
  EXPECT_EQ(elements({"", ElementType::kUInt8, {4}, {0}, 1, 2}, "abc"), "bbbb");
  EXPECT_EQ(elements({"", ElementType::kUInt8, {2, 2, 2}, {1, 2, 0}, 0, 4}, "abcd"), "aaccbbdd");
}

TEST(CopyElements, IgnoresTheStrideOfADimensionOfSizeOne) {
  EXPECT_EQ(elements({"", ElementType::kUInt8, {1, 3}, {kLargest, 1}, 0, 3}, "abc"), "abc");
  EXPECT_EQ(elements({"", ElementType::kUInt8, {3, 1, 2}, {1, kLargest, 3}, 0, 6}, "abcdef"), "adbecf");
}

}  // namespace twingrad::stored_tensor_test
