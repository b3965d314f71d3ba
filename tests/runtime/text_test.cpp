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
  for (const char* text : {"", "\x7f", "\xc2\x80\xdf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
                           "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(text)) << printable(text);
  }
}

TEST(Utf8, RefusesMalformedText) {
  for (const char* text : {"\x80", "\xbf", "\xf8\x88\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98",
                           "\xe2\x82g", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
                           "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text)) << printable(text);
  }
}

TEST(DescribeText, SkipsBlanksAndAByteOrderMark) {
  for (const std::string front : {"", " ", "\r\n\t ", "\xef\xbb\xbf", "\xef\xbb\xbf\n"}) {
    EXPECT_EQ(describe_text(front + "<!DOCTYPE html>"), "an HTML page");
    EXPECT_EQ(describe_text(front + "<html>"), "an HTML page");
    EXPECT_EQ(describe_text(front + "<?xml version='1.0'?><a/>"), "an XML document");
    EXPECT_EQ(describe_text(front + "<?xml version='1.0'?><svg/>"), "an SVG image");
    EXPECT_EQ(describe_text(front + "<svg>"), "an SVG image");
    EXPECT_EQ(describe_text(front + "{ \"error\": 1}"), "a JSON document");
    EXPECT_EQ(describe_text(front + "{}"), "a JSON document");
    EXPECT_EQ(describe_text(front + "[\n[1]]"), "a JSON document");
    EXPECT_EQ(describe_text(front + "version https://git-lfs.github.com/spec/v1"), "a Git LFS pointer");
  }
}

TEST(DescribeText, IsEmptyForOtherBytes) {
  for (const char* text :
       {"", " ", "\xef\xbb\xbf", "{", "[", "{x", "[x", "version 2", "\x93NUMPY", "a<html>"}) {
    EXPECT_EQ(describe_text(text), "") << printable(text);
  }
}

}  // namespace twingrad::text_test
