#include "twingrad/report/characters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../support/scoped_variable.h"

namespace twingrad::characters_test {

using namespace ::testing;
using twingrad::testing::ScopedVariable;

using Pixels = std::vector<std::uint8_t>;

std::vector<std::string> in_blocks(const GreyImage& image) {
  return draw_in_characters(image, Characters::blocks);
}
std::vector<std::string> in_ascii(const GreyImage& image) {
  return draw_in_characters(image, Characters::ascii);
}

TEST(Characters, ShowTwoPixelsEach) {
  const GreyImage image{2,
                        4,
                        {0, 255, 0, 255,  //
                         0, 0, 255, 255}};
  EXPECT_THAT(in_blocks(image), ElementsAre(" ▀▄█"));
  EXPECT_THAT(in_ascii(image), ElementsAre(" \"_@"));
}

TEST(Characters, ShowGreyAsShades) {
  const GreyImage image{2,
                        5,
                        {0, 64, 128, 191, 255,  //
                         0, 64, 128, 191, 255}};
  EXPECT_THAT(in_blocks(image), ElementsAre(" ░▒▓█"));
  EXPECT_THAT(in_ascii(image), ElementsAre(" -+#@"));
}

TEST(Characters, AppendABlackRowToAnOddNumberOfRows) {
  const GreyImage image{5,
                        2,
                        {255, 255,  //
                         255, 255,  //
                         255, 0,    //
                         0, 255,    //
                         255, 0}};
  EXPECT_THAT(in_blocks(image), ElementsAre("██", "▀▄", "▀ ")) << "the missing row is black";
}

TEST(Characters, ShowAnMnistImageIn14LinesOf28) {
  const GreyImage image{28, 28, Pixels(784, 255)};
  EXPECT_THAT(in_ascii(image), SizeIs(14));
  EXPECT_THAT(in_ascii(image), Each(std::string(28, '@')));
}

TEST(Characters, ScaleDownAWideImage) {
  const GreyImage image{50, 200, Pixels(10'000, 255)};
  EXPECT_THAT(in_ascii(image), SizeIs(7)) << "200 × 50 become 56 × 14";
  EXPECT_THAT(in_ascii(image), Each(SizeIs(56)));
  EXPECT_THAT(draw_in_characters(image, Characters::ascii, 10),
              ElementsAre("@@@@@@@@@@", "\"\"\"\"\"\"\"\"\"\""));
  EXPECT_THAT(draw_in_characters({1, 1000, Pixels(1000, 255)}, Characters::blocks, 3), ElementsAre("▀▀▀"));
}

TEST(Characters, AreOnlyAsciiOnRequest) {
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

TEST(Characters, AreBlocksInAUtf8Locale) {
  using Value = std::optional<std::string>;
  const auto chosen = [](const Value& all, const Value& characters, const Value& language) {
    const ScopedVariable lc_all("LC_ALL", all), lc_ctype("LC_CTYPE", characters), lang("LANG", language);
    return characters_of_locale();
  };
  EXPECT_EQ(chosen({}, {}, {}), Characters::ascii);
  EXPECT_EQ(chosen({}, {}, "de_DE.UTF-8"), Characters::blocks);
  EXPECT_EQ(chosen({}, {}, "C.utf8"), Characters::blocks);
  EXPECT_EQ(chosen({}, {}, "de_DE.ISO-8859-1"), Characters::ascii);
  EXPECT_EQ(chosen("C", {}, "de_DE.UTF-8"), Characters::ascii) << "the first variable that is set counts";
  EXPECT_EQ(chosen("", "C.UTF-8", "C"), Characters::blocks) << "empty counts as unset";
}

}  // namespace twingrad::characters_test
