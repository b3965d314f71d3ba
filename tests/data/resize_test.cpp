#include "twingrad/data/resize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

namespace twingrad::data::resize_test {

using namespace ::testing;

GreyImage numbered_image(std::int64_t height, std::int64_t width) {
  GreyImage image{height, width, {}};
  for (std::int64_t i = 0; i < height * width; ++i) {
    image.pixels.push_back(static_cast<std::uint8_t>(i * i * 7 + i));
  }
  return image;
}

TEST(Resize, DoesNotChangeAnImageOfThatSize) {
  for (const auto& [height, width] : {std::pair(28, 28), {1, 1}, {5, 300}, {300, 5}}) {
    const GreyImage image = numbered_image(height, width);
    EXPECT_EQ(resize(image, height, width), image) << height << " × " << width;
  }
}

TEST(Resize, KeepsUniformGrey) {
  for (const std::uint8_t grey : std::vector<std::uint8_t>{0, 77, 255}) {
    const GreyImage image{7, 9, std::vector<std::uint8_t>(63, grey)};
    EXPECT_THAT(resize(image, 3, 2).pixels, Each(grey));
    EXPECT_THAT(resize(image, 50, 60).pixels, Each(grey));
  }
}

TEST(Resize, IsBilinearWhereItGrows) {
  // The new pixels are at −1/4, 1/4, 3/4 and 5/4 of the old ones; the edges are extended.
  EXPECT_THAT(resize({1, 2, {0, 100}}, 1, 4).pixels, ElementsAre(0, 25, 75, 100));
  EXPECT_THAT(resize({2, 1, {0, 100}}, 4, 1).pixels, ElementsAre(0, 25, 75, 100));
}

TEST(Resize, IsAntialiasedWhereItShrinks) {
  // Each new pixel replaces two: a triangle filter over four, 1 : 3 : 3 : 1, clipped at the edge.
  EXPECT_THAT(resize({1, 6, {0, 0, 80, 80, 0, 0}}, 1, 3).pixels, ElementsAre(11, 60, 11));
  // Narrow stripes become grey.
  GreyImage stripes{1, 1000, std::vector<std::uint8_t>(1000)};
  for (std::size_t i = 0; i < 1000; i += 2) stripes.pixels[i] = 255;
  EXPECT_THAT(resize(stripes, 1, 7).pixels, Each(AllOf(Ge(127), Le(128))));
}

TEST(Resize, TreatsHeightAndWidthAlike) {
  const GreyImage image = numbered_image(40, 30);
  GreyImage turned{30, 40, {}};
  for (std::size_t x = 0; x < 30; ++x) {
    for (std::size_t y = 0; y < 40; ++y) turned.pixels.push_back(image.pixels[y * 30 + x]);
  }
  const GreyImage small = resize(image, 7, 5), small_turned = resize(turned, 5, 7);
  for (std::size_t y = 0; y < 7; ++y) {
    for (std::size_t x = 0; x < 5; ++x) {
      EXPECT_NEAR(small.pixels[y * 5 + x], small_turned.pixels[x * 7 + y], 1) << "rounding of one half";
    }
  }
}

TEST(Resize, ScalesToOnePixelAndFromOnePixel) {
  const GreyImage image = numbered_image(9, 9);
  EXPECT_EQ(resize(image, 1, 1).pixels.size(), 1U);
  EXPECT_THAT(resize({1, 1, {9}}, 3, 2), (GreyImage{3, 2, std::vector<std::uint8_t>(6, 9)}));
}

}  // namespace twingrad::data::resize_test
