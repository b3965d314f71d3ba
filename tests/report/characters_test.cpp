#include "twingrad/report/characters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace twingrad::characters_test {

using namespace ::testing;

using Pixels = std::vector<std::uint8_t>;

std::vector<std::string> in_blocks(const GreyImage& image) {
  return draw_in_characters(image, Characters::blocks);
}
std::vector<std::string> in_ascii(const GreyImage& image) {
  return draw_in_characters(image, Characters::ascii);
}

TEST(Characters, ShowTwoPixelsOneAboveTheOther) {
  const GreyImage image{2,
                        4,
                        {0, 255, 0, 255,  //
                         0, 0, 255, 255}};
  EXPECT_THAT(in_blocks(image), ElementsAre(" ▀▄█"));
  EXPECT_THAT(in_ascii(image), ElementsAre(" \"_@"));
}

TEST(Characters, ShowGreyByShades) {
  const GreyImage image{2,
                        5,
                        {0, 64, 128, 191, 255,  //
                         0, 64, 128, 191, 255}};
  EXPECT_THAT(in_blocks(image), ElementsAre(" ░▒▓█"));
  EXPECT_THAT(in_ascii(image), ElementsAre(" -+#@"));
}

TEST(Characters, ShowALineForTwoRowsFromTheTop) {
  const GreyImage image{5,
                        2,
                        {255, 255,  //
                         255, 255,  //
                         255, 0,    //
                         0, 255,    //
                         255, 0}};
  EXPECT_THAT(in_blocks(image), ElementsAre("██", "▀▄", "▀ ")) << "a row that lacks is dark";
}

TEST(Characters, AreFourteenLinesOfTwentyEightForAnMnistImage) {
  const GreyImage image{28, 28, Pixels(784, 255)};
  EXPECT_THAT(in_ascii(image), SizeIs(14));
  EXPECT_THAT(in_ascii(image), Each(std::string(28, '@')));
}

TEST(Characters, NarrowAWideImage) {
  const GreyImage image{50, 200, Pixels(10'000, 255)};
  EXPECT_THAT(in_ascii(image), SizeIs(7)) << "200 × 50 become 56 × 14";
  EXPECT_THAT(in_ascii(image), Each(SizeIs(56)));
  EXPECT_THAT(draw_in_characters(image, Characters::ascii, 10),
              ElementsAre("@@@@@@@@@@", "\"\"\"\"\"\"\"\"\"\""));
  EXPECT_THAT(draw_in_characters({1, 1000, Pixels(1000, 255)}, Characters::blocks, 3), ElementsAre("▀▀▀"));
}

TEST(Characters, StayInAscii) {
  GreyImage image{256, 256, {}};
  for (int upper = 0; upper < 256; ++upper) {
    for (int x = 0; x < 256; ++x)
      image.pixels.push_back(static_cast<std::uint8_t>(upper % 2 == 0 ? x : upper));
  }
  for (const std::string& line : draw_in_characters(image, Characters::ascii, 256)) {
    for (const char character : line) {
      EXPECT_GE(character, ' ');
      EXPECT_LE(character, '~');
    }
  }
}

/// Sets the variables of the locale, and restores them when it goes out of scope.
class ScopedLocale {
 public:
  ScopedLocale(const char* all, const char* characters, const char* language) {
    const char* values[] = {all, characters, language};
    for (int i = 0; i < 3; ++i) {
      if (const char* old = std::getenv(kNames[i])) old_[i] = old;
      set(kNames[i], values[i]);
    }
  }
  ScopedLocale(const ScopedLocale&) = delete;
  ScopedLocale& operator=(const ScopedLocale&) = delete;
  ~ScopedLocale() {
    for (int i = 0; i < 3; ++i) set(kNames[i], old_[i] ? old_[i]->c_str() : nullptr);
  }

 private:
  static constexpr const char* kNames[] = {"LC_ALL", "LC_CTYPE", "LANG"};
  static void set(const char* name, const char* value) {
    value != nullptr ? setenv(name, value, 1) : unsetenv(name);
  }
  std::optional<std::string> old_[3];
};

TEST(Characters, AreBlocksWhereTheLocaleIsUtf8) {
  const auto chosen = [](const char* all, const char* characters, const char* language) {
    const ScopedLocale locale(all, characters, language);
    return characters_of_locale();
  };
  EXPECT_EQ(chosen(nullptr, nullptr, nullptr), Characters::ascii);
  EXPECT_EQ(chosen(nullptr, nullptr, "de_DE.UTF-8"), Characters::blocks);
  EXPECT_EQ(chosen(nullptr, nullptr, "C.utf8"), Characters::blocks);
  EXPECT_EQ(chosen(nullptr, nullptr, "de_DE.ISO-8859-1"), Characters::ascii);
  EXPECT_EQ(chosen("C", nullptr, "de_DE.UTF-8"), Characters::ascii) << "the first of them decides";
  EXPECT_EQ(chosen("", "C.UTF-8", "C"), Characters::blocks) << "an empty one counts as none";
}

}  // namespace twingrad::characters_test
