#include "twingrad/runtime/text.h"

#include <gtest/gtest.h>

#include <string>

namespace twingrad::text_test {

using namespace std::string_literals;

TEST(Printable, KeepsPrintableAscii) { EXPECT_EQ(printable("0.weight [~]"), "0.weight [~]"); }

TEST(Printable, EscapesAllOtherBytesAndBackslashes) {
  EXPECT_EQ(printable("a\nb\x1b[2J\0\x7f"s), R"(a\x0ab\x1b[2J\x00\x7f)");
  EXPECT_EQ(printable("größe"), R"(gr\xc3\xb6\xc3\x9fe)");
  EXPECT_EQ(printable(R"(\x0a)"), R"(\\x0a)");
}

TEST(Printable, ShortensLongText) {
  EXPECT_EQ(printable(std::string(80, 'a')), std::string(80, 'a'));
  EXPECT_EQ(printable(std::string(81, 'a')), std::string(80, 'a') + "…");
}

TEST(Utf8, AcceptsCharactersOfAnyLength) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("\x7f"));
  EXPECT_TRUE(is_utf8("\xc2\x80\xdf\xbf"));
  EXPECT_TRUE(is_utf8("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"));
  EXPECT_TRUE(is_utf8("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
}

TEST(Utf8, RefusesMalformedText) {
  EXPECT_FALSE(is_utf8("\x80"));
  EXPECT_FALSE(is_utf8("\xbf"));
  EXPECT_FALSE(is_utf8("\xf8\x88\x80\x80\x80"));
  EXPECT_FALSE(is_utf8("\xff"));
  EXPECT_FALSE(is_utf8("\xc3"));
  EXPECT_FALSE(is_utf8("\xe2\x82"));
  EXPECT_FALSE(is_utf8("\xf0\x9f\x98"));
  EXPECT_FALSE(is_utf8("\xe2\x82g"));
  EXPECT_FALSE(is_utf8("\xc0\x80"));
  EXPECT_FALSE(is_utf8("\xc1\xbf"));
  EXPECT_FALSE(is_utf8("\xe0\x9f\xbf"));
  EXPECT_FALSE(is_utf8("\xf0\x8f\xbf\xbf"));
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));
  EXPECT_FALSE(is_utf8("\xed\xbf\xbf"));
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));
}

}  // namespace twingrad::text_test
