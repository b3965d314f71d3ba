#include "twingrad/data/drawing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../support/refusal.h"
#include "twingrad/data/dataset.h"

namespace twingrad::data::drawing_test {

using namespace ::testing;
using namespace twingrad::testing;

constexpr std::int64_t kSide = 28;

// ---- Drawings --------------------------------------------------------------------------------------------

struct Point {
  double y, x;
};

/// Points of a digit in a box of 1 × 1, connected by strokes.
using Strokes = std::vector<Point>;

const Strokes kSeven{{0.1, 0.15}, {0.1, 0.85}, {0.9, 0.4}};
const Strokes kTwo{{0.3, 0.2}, {0.12, 0.35}, {0.1, 0.6}, {0.3, 0.8}, {0.5, 0.7}, {0.9, 0.2}, {0.9, 0.8}};

double distance_to_stroke(Point p, Point from, Point to) {
  const double dy = to.y - from.y, dx = to.x - from.x;
  const double along = ((p.y - from.y) * dy + (p.x - from.x) * dx) / (dy * dy + dx * dx);
  const double t = std::clamp(along, 0.0, 1.0);
  return std::hypot(p.y - from.y - t * dy, p.x - from.x - t * dx);
}

struct Drawing {
  Strokes strokes = kTwo;
  std::int64_t height = 280, width = 280;
  double top = 40, left = 40, size = 200;  ///< the box of the digit
  double pen = 20;                         ///< the width of a stroke
  std::uint8_t paper = 255, ink = 0;
};

GreyImage draw(const Drawing& drawing) {
  GreyImage image{drawing.height, drawing.width, {}};
  const auto place = [&](Point p) {
    return Point{drawing.top + p.y * drawing.size, drawing.left + p.x * drawing.size};
  };
  for (std::int64_t y = 0; y < drawing.height; ++y) {
    for (std::int64_t x = 0; x < drawing.width; ++x) {
      double distance = 1e9;
      for (std::size_t i = 1; i < drawing.strokes.size(); ++i) {
        distance =
            std::min(distance, distance_to_stroke({static_cast<double>(y), static_cast<double>(x)},
                                                  place(drawing.strokes[i - 1]), place(drawing.strokes[i])));
      }
      const double cover = std::clamp(drawing.pen / 2 - distance + 0.5, 0.0, 1.0);  // antialiased
      image.pixels.push_back(
          static_cast<std::uint8_t>(std::lround(drawing.paper + cover * (drawing.ink - drawing.paper))));
    }
  }
  return image;
}

/// Replaces each pixel with a function of its position, from −½ to ½ across the image, and its brightness.
GreyImage changed(GreyImage image, const std::function<double(double, double, double)>& change) {
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      std::uint8_t& pixel = image.pixels[static_cast<std::size_t>(y * image.width + x)];
      const double value = change(static_cast<double>(y) / static_cast<double>(image.height) - 0.5,
                                  static_cast<double>(x) / static_cast<double>(image.width) - 0.5, pixel);
      pixel = static_cast<std::uint8_t>(std::clamp(std::lround(value), 0L, 255L));
    }
  }
  return image;
}

GreyImage with_noise(const GreyImage& image, double deviation) {
  std::mt19937 random(1);
  const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0 - 0.5; };
  return changed(image, [&](double, double, double grey) {
    double sum = 0;  // of twelve uniform numbers: variance 1, nearly Gaussian
    for (int i = 0; i < 12; ++i) sum += uniform();
    return grey + deviation * sum;
  });
}

/// Simulates a phone photo: ink a third as bright as the paper, light from one side, dark corners, noise.
GreyImage photo_of(const GreyImage& drawn) {
  const GreyImage lit = changed(drawn, [](double y, double x, double grey) {
    const double light = 180 + 60 * x - 40 * y - 50 * (x * x + y * y);
    return light * (0.35 + 0.65 * grey / 255);
  });
  return with_noise(lit, 8);
}

GreyImage blank(std::int64_t height, std::int64_t width, std::uint8_t grey) {
  return {height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width), grey)};
}

GreyImage as_mnist(const GreyImage& image) {
  return prepare(image, Preparation::mnist, kSide, kSide, "a.png");
}

GreyImage as_fashion_mnist(const GreyImage& image) {
  return prepare(image, Preparation::fashion_mnist, kSide, kSide, "a.png");
}

std::string refusal(const GreyImage& image, Preparation preparation) {
  return refusal_of([&] { prepare(image, preparation, kSide, kSide, "a.png"); });
}

// ---- Measures --------------------------------------------------------------------------------------------

double mean_difference(const GreyImage& a, const GreyImage& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(a.pixels[i] - b.pixels[i]);
  return sum / static_cast<double>(a.pixels.size());
}

/// The largest difference due to rounding, in levels of 255.
constexpr double kRounding = 1;

/// The largest difference at the edges of strokes: a seventh of the pixels differ by a tenth of the range.
constexpr double kEdges = 4;

/// The difference caused by a shift of one pixel.
double off_by_one(const GreyImage& image) {
  GreyImage moved = image;
  std::rotate(moved.pixels.begin(), moved.pixels.end() - 1, moved.pixels.end());
  return mean_difference(moved, image);
}

struct Extent {
  std::int64_t top = kSide, left = kSide, bottom = 0, right = 0;  ///< of the pixels that are not black
  Point mass{0, 0};
  std::int64_t height() const { return bottom - top; }
  std::int64_t width() const { return right - left; }
};

Extent extent_of(const GreyImage& image) {
  Extent extent;
  double sum = 0;
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      const double grey = image.pixels[static_cast<std::size_t>(y * image.width + x)];
      if (grey == 0) continue;
      extent.top = std::min(extent.top, y), extent.bottom = std::max(extent.bottom, y + 1);
      extent.left = std::min(extent.left, x), extent.right = std::max(extent.right, x + 1);
      extent.mass.y += grey * static_cast<double>(y), extent.mass.x += grey * static_cast<double>(x);
      sum += grey;
    }
  }
  extent.mass.y /= sum, extent.mass.x /= sum;
  return extent;
}

// ---- None ------------------------------------------------------------------------------------------------

TEST(PrepareNone, OnlyScales) {
  const auto prepared = [](const GreyImage& image) {
    return prepare(image, Preparation::none, 28, 28, "a.png");
  };
  const GreyImage bright = blank(28, 28, 255);
  EXPECT_EQ(prepared(bright), bright);
  EXPECT_EQ(prepared(blank(100, 7, 200)), blank(28, 28, 200));
  EXPECT_EQ(prepare(blank(5, 5, 9), Preparation::none, 2, 3, "a.png"), blank(2, 3, 9));
}

// ---- Finished images -------------------------------------------------------------------------------------

/// A drawing of the network's size.
GreyImage small(std::uint8_t paper, std::uint8_t ink, double top = 4, double left = 4, double size = 20) {
  return draw({.height = 28,
               .width = 28,
               .top = top,
               .left = left,
               .size = size,
               .pen = size / 10,
               .paper = paper,
               .ink = ink});
}

/// The image with this border of its first pixel's brightness.
GreyImage with_border(const GreyImage& image, std::int64_t border) {
  GreyImage larger = blank(image.height + 2 * border, image.width + 2 * border, image.pixels[0]);
  for (std::int64_t y = 0; y < image.height; ++y) {
    const auto row = image.pixels.begin() + y * image.width;
    std::copy(row, row + image.width, larger.pixels.begin() + (y + border) * larger.width + border);
  }
  return larger;
}

TEST(Prepare, DoesNotChangeAFinishedImage) {
  const GreyImage digit = as_mnist(draw({}));
  EXPECT_EQ(as_mnist(digit), digit);
  EXPECT_EQ(prepare(digit, Preparation::other, kSide, kSide, "a.png"), digit);
  const GreyImage clothing = as_fashion_mnist(draw({.top = 0, .left = 0, .size = 280, .pen = 60}));
  EXPECT_EQ(as_fashion_mnist(clothing), clothing);
  EXPECT_EQ(prepare(clothing, Preparation::other, kSide, kSide, "a.png"), clothing) << "may fill the input";
  EXPECT_NE(as_mnist(clothing), clothing) << "larger than 20 × 20";
  EXPECT_NE(as_fashion_mnist(digit), digit) << "smaller than the input";
}

TEST(Prepare, DoesNotDependOnTheSizeOfTheImage) {
  for (const auto& [paper, ink] : std::vector<std::pair<int, int>>{{110, 255},
                                                                   {110, 0},
                                                                   {60, 200},
                                                                   {127, 255},
                                                                   {20, 255},
                                                                   {0, 90},
                                                                   {255, 0},
                                                                   {200, 110},
                                                                   {128, 40}}) {
    SCOPED_TRACE(std::to_string(paper) + " " + std::to_string(ink));
    const GreyImage image = small(static_cast<std::uint8_t>(paper), static_cast<std::uint8_t>(ink));
    EXPECT_LT(mean_difference(as_mnist(image), as_mnist(with_border(image, 6))), kEdges);
    EXPECT_EQ(as_fashion_mnist(image), as_fashion_mnist(with_border(image, 6)));
  }
  for (const GreyImage& image :
       {small(0, 255, 1, 1, 10), small(0, 255, 16, 2, 10), small(0, 255, 8, 8, 12)}) {
    EXPECT_LT(mean_difference(as_mnist(image), as_mnist(with_border(image, 6))), kEdges)
        << "white on black, but small or off-centre";
    EXPECT_EQ(as_fashion_mnist(image), as_fashion_mnist(with_border(image, 6)));
  }
}

TEST(Prepare, RefusesABlankImageOfAnySize) {
  for (const std::int64_t side : {28, 29, 40}) {
    for (const std::uint8_t grey : {0, 1, 12, 100, 127, 128, 255}) {
      for (const Preparation preparation :
           {Preparation::mnist, Preparation::fashion_mnist, Preparation::other}) {
        EXPECT_THAT(refusal(blank(side, side, grey), preparation), StartsWith("a.png: expected a drawing"))
            << +grey;
      }
    }
  }
}

TEST(Prepare, DoesNotChangeTheTestImagesOfInstalledDatasets) {
  for (const auto& [name, preparation] :
       std::vector<std::pair<std::string, Preparation>>{{"fashion-mnist", Preparation::fashion_mnist},
                                                        {"mnist", Preparation::mnist},
                                                        {"synthetic", Preparation::none}}) {
    LabelledImages test;
    const std::string refusal = refusal_of([&, name = name] { test = load(name, 10).test; });
    EXPECT_THAT(refusal, AnyOf("(it was accepted)", HasSubstr("get it with")));
    for (std::int64_t i = 0; i < test.count; ++i) {
      const auto first = test.pixels.begin() + i * 28 * 28;
      const GreyImage image{28, 28, {first, first + 28 * 28}};
      ASSERT_EQ(prepare(image, preparation, 28, 28, "a.png"), image) << name << " " << i;
    }
  }
}

TEST(Prepare, PreparesAnImageOfTheNetworksSizeWithALightBorder) {
  const GreyImage digit = as_mnist(draw({}));
  const GreyImage negative = changed(digit, [](double, double, double grey) { return 255 - grey; });
  EXPECT_LT(mean_difference(as_mnist(negative), digit), off_by_one(digit) / 2)
      << "faint edges become background";
}

// ---- MNIST -----------------------------------------------------------------------------------------------

TEST(PrepareMnist, FitsTheDigitInto20By20AndCentresItsMass) {
  for (const Strokes& strokes : {kTwo, kSeven}) {
    const Extent extent = extent_of(as_mnist(draw({.strokes = strokes})));
    EXPECT_EQ(extent.height(), 20);
    EXPECT_LT(extent.width(), 20);
    EXPECT_GT(extent.width(), 10);
    EXPECT_NEAR(extent.mass.y, 14, 0.5);
    EXPECT_NEAR(extent.mass.x, 14, 0.5);
  }
  const Extent dash = extent_of(as_mnist(draw({.strokes = {{0.5, 0}, {0.5, 1}}})));
  EXPECT_EQ(dash.width(), 20);
  EXPECT_NEAR(static_cast<double>(dash.height()), 2, 1) << "200 + 20 × 20 pixels, scaled by 20 / 220";
}

TEST(PrepareMnist, KeepsTheDigitWithinTheImage) {
  // A T with a thin stem: centring its mass, near its upper edge, would push the stem out of the image.
  GreyImage image = blank(200, 200, 0);
  for (std::int64_t y = 20; y < 180; ++y) {
    for (std::int64_t x = 20; x < 180; ++x) {
      if (y < 50 || (x >= 98 && x < 102)) image.pixels[static_cast<std::size_t>(y * 200 + x)] = 255;
    }
  }
  EXPECT_EQ(extent_of(as_mnist(image)).height(), 20);
  EXPECT_EQ(extent_of(as_mnist(image)).bottom, 28);
  std::reverse(image.pixels.begin(), image.pixels.end());  // upside down
  EXPECT_EQ(extent_of(as_mnist(image)).height(), 20);
  EXPECT_EQ(extent_of(as_mnist(image)).top, 0);
}

TEST(PrepareMnist, ConvertsDarkOnLightToLightOnDark) {
  const GreyImage digit = as_mnist(draw({.paper = 0, .ink = 255}));
  EXPECT_LT(mean_difference(as_mnist(draw({.paper = 255, .ink = 0})), digit), kRounding);
  EXPECT_EQ(digit.pixels[0], 0);
  EXPECT_EQ(*std::max_element(digit.pixels.begin(), digit.pixels.end()), 255);
}

TEST(PrepareMnist, StretchesContrastToBlackAndWhite) {
  const GreyImage digit = as_mnist(draw({}));
  EXPECT_LT(mean_difference(as_mnist(draw({.paper = 140, .ink = 90})), digit), kRounding);
  EXPECT_LT(mean_difference(as_mnist(draw({.paper = 120, .ink = 200})), digit), kRounding);
  EXPECT_LT(mean_difference(as_mnist(draw({.paper = 200, .ink = 180})), digit), kRounding);
}

TEST(PrepareMnist, DoesNotDependOnThePositionOfTheDigit) {
  const GreyImage digit = as_mnist(draw({.top = 0, .left = 0}));
  // Moved by even numbers, because the image is processed at half its size.
  EXPECT_LT(mean_difference(as_mnist(draw({.top = 60, .left = 20})), digit), kRounding);
  EXPECT_LT(mean_difference(as_mnist(draw({.top = 30, .left = 60})), digit), kRounding);
}

TEST(PrepareMnist, DoesNotDependOnTheSizeOfTheDrawing) {
  const GreyImage digit = as_mnist(draw({}));
  const auto at_scale = [](double scale) {
    const auto side = static_cast<std::int64_t>(280 * scale);
    return as_mnist(draw({.height = side,
                          .width = side,
                          .top = 40 * scale,
                          .left = 40 * scale,
                          .size = 200 * scale,
                          .pen = 20 * scale}));
  };
  for (const double scale : {10.0, 3.0, 2.0, 0.5})
    EXPECT_LT(mean_difference(at_scale(scale), digit), kEdges) << scale;
  // 84, 56 and 28 pixels, where the centre may be rounded to the next pixel.
  for (const double scale : {0.3, 0.2, 0.1})
    EXPECT_LT(mean_difference(at_scale(scale), digit), off_by_one(digit)) << scale;
  EXPECT_EQ(extent_of(at_scale(0.05)).height(), 20) << "14 × 14 pixels";
}

TEST(PrepareMnist, FindsASmallDigitOnALargeSheet) {
  const GreyImage digit = as_mnist(draw({}));
  const GreyImage sheet = draw({.height = 1000, .width = 800, .top = 700, .left = 50});
  EXPECT_LT(mean_difference(as_mnist(sheet), digit), off_by_one(digit) / 2);
}

TEST(PrepareMnist, MakesThinStrokesVisible) {
  const GreyImage digit = as_mnist(draw({.height = 1000, .width = 1000, .size = 900, .pen = 1}));
  EXPECT_EQ(*std::max_element(digit.pixels.begin(), digit.pixels.end()), 255);
  EXPECT_EQ(extent_of(digit).height(), 20);
}

TEST(PrepareMnist, KeepsThickStrokesSeparate) {
  const GreyImage digit = as_mnist(draw({.strokes = kSeven, .pen = 50}));
  const Extent extent = extent_of(digit);
  EXPECT_EQ(extent.height(), 20);
  // The area left of the leg and below the bar is background.
  EXPECT_EQ(digit.pixels[static_cast<std::size_t>((extent.bottom - 5) * kSide + extent.left)], 0);
}

TEST(PrepareMnist, RemovesUnevenLightAndNoise) {
  for (const Strokes& strokes : {kTwo, kSeven}) {
    const GreyImage drawn = draw({.strokes = strokes});
    const GreyImage digit = as_mnist(drawn);
    EXPECT_LT(mean_difference(as_mnist(photo_of(drawn)), digit), kEdges);
    EXPECT_LT(
        mean_difference(as_mnist(with_noise(draw({.strokes = strokes, .paper = 60, .ink = 190}), 15)), digit),
        kEdges);
  }
}

TEST(PrepareMnist, IgnoresSpecks) {
  GreyImage drawn = draw({});
  const GreyImage digit = as_mnist(drawn);
  for (const std::size_t pixel : {5 * 280 + 5, 5 * 280 + 6, 270 * 280 + 140}) drawn.pixels[pixel] = 0;
  EXPECT_LT(mean_difference(as_mnist(drawn), digit), kRounding);
}

TEST(PrepareMnist, ScalesToANetworkOfAnotherSize) {
  const GreyImage digit = prepare(draw({}), Preparation::mnist, 56, 56, "a.png");
  EXPECT_EQ(digit.height, 56);
  EXPECT_EQ(digit.width, 56);
  EXPECT_EQ(extent_of(digit).bottom - extent_of(digit).top, 40) << "20 of 28";
}

TEST(PrepareMnist, RefusesAnImageWithoutInk) {
  EXPECT_EQ(refusal(blank(100, 100, 255), Preparation::mnist),
            "a.png: expected a drawing on a background, found too little contrast; use an image with a clear "
            "background");
  const GreyImage paper = blank(200, 300, 180);
  const GreyImage lit =
      changed(paper, [](double y, double x, double grey) { return grey + 60 * y - 40 * x; });
  for (const GreyImage& image : {blank(1, 1, 0), blank(28, 28, 255), blank(1000, 2, 77), lit,
                                 with_noise(paper, 5), with_noise(paper, 40), with_noise(lit, 10)}) {
    EXPECT_THAT(refusal(image, Preparation::mnist), StartsWith("a.png: expected a drawing"));
  }
}

TEST(PrepareMnist, AcceptsImagesOfAnyShape) {
  for (const auto& [height, width] :
       {std::pair(1, 2), {2, 1}, {1, 5000}, {5000, 1}, {2, 2}, {3, 7}, {139, 141}}) {
    GreyImage image = blank(height, width, 0);
    const auto inked = static_cast<std::ptrdiff_t>((image.pixels.size() + 4) / 5);
    std::fill(image.pixels.end() - inked, image.pixels.end(), std::uint8_t{255});
    const GreyImage digit = as_mnist(image);
    EXPECT_EQ(digit.pixels.size(), 784U);
    EXPECT_EQ(*std::max_element(digit.pixels.begin(), digit.pixels.end()), 255) << height << " × " << width;
  }
}

// ---- Fashion-MNIST ---------------------------------------------------------------------------------------

/// A piece of clothing: a rectangle on a white background.
GreyImage garment(std::int64_t height, std::int64_t width, std::uint8_t grey, std::uint8_t background = 255) {
  GreyImage image = blank(200, 300, background);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x)
      image.pixels[static_cast<std::size_t>((30 + y) * 300 + 20 + x)] = grey;
  }
  return image;
}

TEST(PrepareFashionMnist, TrimsFitsAndCentres) {
  const GreyImage tall = as_fashion_mnist(garment(140, 70, 0));
  EXPECT_EQ(extent_of(tall).height(), 28);
  EXPECT_EQ(extent_of(tall).width(), 14);
  EXPECT_EQ(extent_of(tall).left, 7);
  const GreyImage wide = as_fashion_mnist(garment(56, 280, 0));
  EXPECT_EQ(extent_of(wide).width(), 28);
  EXPECT_EQ(extent_of(wide).height(), 6) << "56 / 10, rounded";
  EXPECT_EQ(extent_of(wide).top, 11);
}

TEST(PrepareFashionMnist, NegatesOnlyDarkOnLight) {
  EXPECT_EQ(as_fashion_mnist(garment(140, 140, 55)), blank(28, 28, 200));
  EXPECT_EQ(as_fashion_mnist(garment(140, 140, 0)), blank(28, 28, 255));
  EXPECT_EQ(as_fashion_mnist(garment(140, 140, 200, 0)), blank(28, 28, 200));
}

TEST(PrepareFashionMnist, MakesTheBackgroundBlack) {
  const GreyImage image = as_fashion_mnist(with_noise(garment(140, 70, 100, 240), 2));
  const Extent extent = extent_of(image);
  EXPECT_EQ(extent.height(), 28) << "noise within 5 % is trimmed";
  EXPECT_EQ(image.pixels[0], 0);
  EXPECT_NEAR(image.pixels[14 * 28 + 14], 255.0 * (240 - 100) / 240, 3);
}

TEST(PrepareFashionMnist, RefusesAnImageWithoutClothing) {
  for (const GreyImage& image : {blank(1, 1, 255), blank(200, 100, 128), blank(200, 100, 127),
                                 garment(100, 100, 243), blank(28, 28, 255)}) {
    EXPECT_THAT(refusal(image, Preparation::fashion_mnist), StartsWith("a.png: expected a drawing"));
  }
}

}  // namespace twingrad::data::drawing_test
