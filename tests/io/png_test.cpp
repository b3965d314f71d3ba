#include "twingrad/io/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "../support/bytes.h"
#include "../support/refusal.h"
#include "../support/temporary_folder.h"

namespace twingrad::png_test {

using namespace ::testing;
using namespace twingrad::testing;

// ---- Files that libpng writes ----------------------------------------------------------------------------

/// The content of a PNG file. Samples are row-major, with the channels of a pixel next to each other.
struct Picture {
  int colour_type = PNG_COLOR_TYPE_GRAY;
  int depth = 8;
  bool is_interlaced = false;
  std::uint32_t height = 1, width = 1;
  std::vector<std::uint16_t> samples = {};
  std::vector<png_color> palette = {};
  Bytes palette_alpha = {};
  const png_color_16* transparent = nullptr;  ///< a single transparent grey or colour

  std::size_t channels() const {
    const bool has_colour = colour_type == PNG_COLOR_TYPE_RGB || colour_type == PNG_COLOR_TYPE_RGBA;
    return (has_colour ? 3U : 1U) + ((colour_type & PNG_COLOR_MASK_ALPHA) != 0 ? 1U : 0U);
  }
};

void append_bytes(png_structp png, png_bytep bytes, std::size_t count) {
  auto* file = static_cast<Bytes*>(png_get_io_ptr(png));
  file->insert(file->end(), bytes, bytes + count);
}

/// The samples in the format of libpng: one byte each, or two in big endian.
Bytes sample_bytes(const Picture& picture) {
  Bytes bytes;
  for (const std::uint16_t sample : picture.samples) {
    if (picture.depth == 16) bytes.push_back(static_cast<std::uint8_t>(sample >> 8));
    bytes.push_back(static_cast<std::uint8_t>(sample));
  }
  return bytes;
}

/// The PNG file. A libpng error, which would be a bug in the test, ends the program.
Bytes encode(const Picture& picture) {
  Bytes file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &file, append_bytes, nullptr);
  png_set_IHDR(png, info, picture.width, picture.height, picture.depth, picture.colour_type,
               picture.is_interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
               PNG_FILTER_TYPE_BASE);
  if (!picture.palette.empty()) {
    png_set_PLTE(png, info, picture.palette.data(), static_cast<int>(picture.palette.size()));
  }
  if (!picture.palette_alpha.empty() || picture.transparent != nullptr) {
    png_set_tRNS(png, info, picture.palette_alpha.data(), static_cast<int>(picture.palette_alpha.size()),
                 picture.transparent);
  }
  png_write_info(png, info);
  png_set_packing(png);
  Bytes bytes = sample_bytes(picture);
  const std::size_t row_size = bytes.size() / picture.height;
  std::vector<png_bytep> rows;
  for (std::size_t y = 0; y < picture.height; ++y) rows.push_back(bytes.data() + y * row_size);
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

Picture grey_picture(std::uint32_t height, std::uint32_t width, std::vector<std::uint16_t> samples) {
  return {.height = height, .width = width, .samples = std::move(samples)};
}

/// One pixel of this colour type and depth.
Bytes one_pixel(int colour_type, int depth, std::vector<std::uint16_t> samples) {
  return encode({.colour_type = colour_type, .depth = depth, .samples = std::move(samples)});
}

GreyImage decode(const Bytes& file) {
  return decode_png({reinterpret_cast<const char*>(file.data()), file.size()}, "a.png");
}

std::string refusal(const Bytes& file) {
  return refusal_of([&] { decode(file); });
}

// ---- Pixels ----------------------------------------------------------------------------------------------

TEST(Png, DoesNotChangeGrey) {
  Picture picture = grey_picture(16, 16, {});
  for (std::uint16_t grey = 0; grey < 256; ++grey) picture.samples.push_back(grey);
  const GreyImage image = decode(encode(picture));
  EXPECT_EQ(image.height, 16);
  EXPECT_EQ(image.width, 16);
  for (std::size_t i = 0; i < 256; ++i) EXPECT_EQ(image.pixels[i], i);
}

TEST(Png, ConvertsColoursToTheLumaOfBt601) {
  const auto grey = [](std::uint16_t r, std::uint16_t g, std::uint16_t b) {
    return decode(one_pixel(PNG_COLOR_TYPE_RGB, 8, {r, g, b})).pixels[0];
  };
  EXPECT_EQ(grey(255, 0, 0), 76);   // 0.299 · 255 = 76.2
  EXPECT_EQ(grey(0, 255, 0), 150);  // 0.587 · 255 = 149.7
  EXPECT_EQ(grey(0, 0, 255), 29);   // 0.114 · 255 = 29.1
  EXPECT_EQ(grey(255, 255, 255), 255);
  EXPECT_EQ(grey(77, 77, 77), 77);
}

TEST(Png, ComposesTransparencyOverWhite) {
  const auto grey = [](std::uint16_t value, std::uint16_t alpha) {
    return decode(one_pixel(PNG_COLOR_TYPE_GRAY_ALPHA, 8, {value, alpha})).pixels[0];
  };
  EXPECT_EQ(grey(0, 0), 255);
  EXPECT_EQ(grey(200, 0), 255);
  EXPECT_EQ(grey(0, 255), 0);
  EXPECT_EQ(grey(100, 255), 100);
  EXPECT_EQ(grey(0, 51), 204);  // a fifth of black
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_RGBA, 8, {255, 0, 0, 0})).pixels[0], 255);
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY_ALPHA, 16, {0, 0})).pixels[0], 255);
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY_ALPHA, 16, {0, 51 * 257})).pixels[0], 204);
}

TEST(Png, ShowsWhiteInkOnTransparency) {
  // Ink, half-covered ink and paper that is transparent, of the same colour or black.
  for (const std::uint16_t paper : {255, 0}) {
    Picture picture = grey_picture(1, 3, {255, 255, 255, 128, paper, 0});
    picture.colour_type = PNG_COLOR_TYPE_GRAY_ALPHA;
    EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(255, 128, 0)) << paper;
    picture.samples = {250, 255, 250, 128, paper, 0};
    EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(250, 125, 0)) << "nearly white";
    picture.depth = 16;
    picture.samples = {0xffff, 0xffff, 0xffff, 0x8080, static_cast<std::uint16_t>(257 * paper), 0};
    EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(255, 128, 0)) << "16 bits";
  }
  Picture palette = grey_picture(1, 2, {0, 1});
  palette.colour_type = PNG_COLOR_TYPE_PALETTE;
  palette.palette = {{255, 255, 255}, {255, 255, 255}};
  palette.palette_alpha = {255, 0};
  EXPECT_THAT(decode(encode(palette)).pixels, ElementsAre(255, 0));

  Picture visible = grey_picture(1, 3, {200, 255, 0, 0, 255, 255});
  visible.colour_type = PNG_COLOR_TYPE_GRAY_ALPHA;
  EXPECT_THAT(decode(encode(visible)).pixels, ElementsAre(200, 255, 255)) << "visible over white";
}

TEST(Png, RoundsSixteenBitsToEight) {
  const auto grey = [](std::uint16_t value) {
    return decode(one_pixel(PNG_COLOR_TYPE_GRAY, 16, {value})).pixels[0];
  };
  EXPECT_EQ(grey(0xffff), 255);
  EXPECT_EQ(grey(0x8080), 128);
  EXPECT_EQ(grey(128), 0);  // 257 16-bit levels are one 8-bit level
  EXPECT_EQ(grey(129), 1);
}

TEST(Png, ScalesFewBitsToTheFullRange) {
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY, 1, {1})).pixels[0], 255);
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY, 2, {1})).pixels[0], 85);
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY, 4, {5})).pixels[0], 85);
}

TEST(Png, ReadsTheTransparentColourOfAnImage) {
  png_color_16 grey{};
  grey.gray = 9;
  Picture picture = grey_picture(1, 2, {9, 10});
  picture.transparent = &grey;
  EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(255, 10));

  png_color_16 deep{};  // compared in all 16 bits
  deep.gray = 0x0101;
  picture = grey_picture(1, 2, {0x0101, 0x0102});
  picture.depth = 16;
  picture.transparent = &deep;
  EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(255, 1));

  png_color_16 red{};
  red.red = 255;
  picture = grey_picture(1, 2, {255, 0, 0, 254, 0, 0});
  picture.colour_type = PNG_COLOR_TYPE_RGB;
  picture.transparent = &red;
  EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(255, 76));
}

TEST(Png, LooksUpColoursAndTransparencyInThePalette) {
  Picture picture = grey_picture(1, 4, {3, 2, 1, 0});
  picture.colour_type = PNG_COLOR_TYPE_PALETTE;
  picture.depth = 2;
  picture.palette = {{0, 0, 0}, {0, 0, 0}, {0, 255, 0}, {7, 7, 7}};
  picture.palette_alpha = {0, 51};  // the rest is opaque
  EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(7, 150, 204, 255));
}

/// The grey of a pixel as defined in png.h, before rounding.
double expected_grey(const Picture& picture, const std::uint16_t* pixel) {
  const double largest = (1 << picture.depth) - 1;
  double rgb[3], alpha = 1;
  if (picture.colour_type == PNG_COLOR_TYPE_PALETTE) {
    const png_color& colour = picture.palette[pixel[0]];
    rgb[0] = colour.red, rgb[1] = colour.green, rgb[2] = colour.blue;
    if (pixel[0] < picture.palette_alpha.size()) alpha = picture.palette_alpha[pixel[0]] / 255.0;
  } else {
    const bool has_alpha = (picture.colour_type & PNG_COLOR_MASK_ALPHA) != 0;
    const std::size_t colours = picture.channels() - (has_alpha ? 1 : 0);
    for (std::size_t i = 0; i < 3; ++i) rgb[i] = pixel[colours == 3 ? i : 0] / largest * 255;
    if (has_alpha) alpha = pixel[colours] / largest;
  }
  return (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) * alpha + 255 * (1 - alpha);
}

Picture random_picture(int colour_type, int depth, bool is_interlaced, std::uint32_t height,
                       std::uint32_t width) {
  std::mt19937 random(height * 100 + width);
  Picture picture{.colour_type = colour_type,
                  .depth = depth,
                  .is_interlaced = is_interlaced,
                  .height = height,
                  .width = width};
  for (std::size_t i = 0; i < height * width * picture.channels(); ++i) {
    picture.samples.push_back(static_cast<std::uint16_t>(random() & ((1U << depth) - 1)));
  }
  if (colour_type == PNG_COLOR_TYPE_PALETTE) {
    const auto byte = [&] { return static_cast<png_byte>(random()); };
    for (int i = 0; i < 1 << depth; ++i) picture.palette.push_back({byte(), byte(), byte()});
    for (int i = 0; i < 1 << (depth - 1); ++i) picture.palette_alpha.push_back(byte());
  }
  return picture;
}

/// (colour type, bit depth), interlaced
class PngFormats : public ::testing::TestWithParam<std::tuple<std::pair<int, int>, bool>> {};

TEST_P(PngFormats, ReadsEveryPixel) {
  const auto [format, is_interlaced] = GetParam();
  const auto [colour_type, depth] = format;
  // Interlaced images of fewer than 5 pixels per side lack some of the seven passes.
  for (const auto& [height, width] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {1, 1}, {1, 2}, {2, 1}, {1, 9}, {9, 1}, {3, 3}, {4, 5}, {5, 4}, {8, 8}, {13, 9}, {40, 33}}) {
    const Picture picture = random_picture(colour_type, depth, is_interlaced, height, width);
    const GreyImage image = decode(encode(picture));
    ASSERT_EQ(image.height, height);
    ASSERT_EQ(image.width, width);
    ASSERT_EQ(image.pixels.size(), height * width);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      // There are up to three roundings: to 8 bits, to the luma and after composition with white.
      EXPECT_NEAR(image.pixels[i], expected_grey(picture, &picture.samples[i * picture.channels()]), 1.5)
          << height << " × " << width << ", pixel " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PngFormats,
    Combine(Values(std::pair(PNG_COLOR_TYPE_GRAY, 1), std::pair(PNG_COLOR_TYPE_GRAY, 2),
                   std::pair(PNG_COLOR_TYPE_GRAY, 4), std::pair(PNG_COLOR_TYPE_GRAY, 8),
                   std::pair(PNG_COLOR_TYPE_GRAY, 16), std::pair(PNG_COLOR_TYPE_PALETTE, 1),
                   std::pair(PNG_COLOR_TYPE_PALETTE, 2), std::pair(PNG_COLOR_TYPE_PALETTE, 4),
                   std::pair(PNG_COLOR_TYPE_PALETTE, 8), std::pair(PNG_COLOR_TYPE_GRAY_ALPHA, 8),
                   std::pair(PNG_COLOR_TYPE_GRAY_ALPHA, 16), std::pair(PNG_COLOR_TYPE_RGB, 8),
                   std::pair(PNG_COLOR_TYPE_RGB, 16), std::pair(PNG_COLOR_TYPE_RGBA, 8),
                   std::pair(PNG_COLOR_TYPE_RGBA, 16)),
            Values(false, true)));

// ---- Damaged files ---------------------------------------------------------------------------------------

TEST(Png, RefusesATruncationAtEveryByte) {
  for (const bool is_interlaced : {false, true}) {
    const Bytes whole = encode(random_picture(PNG_COLOR_TYPE_PALETTE, 4, is_interlaced, 9, 7));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Bytes start(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_THAT(refusal(start), AllOf(StartsWith("a.png: "), Not(HasSubstr("\n")))) << size;
    }
  }
}

TEST(Png, RefusesEveryFlippedBit) {
  for (const bool is_interlaced : {false, true}) {
    const Bytes whole = encode(random_picture(PNG_COLOR_TYPE_RGBA, 8, is_interlaced, 5, 6));
    for (std::size_t position = 0; position < whole.size(); ++position) {
      for (int bit = 1; bit < 256; bit *= 2) {
        Bytes damaged = whole;
        damaged[position] ^= static_cast<std::uint8_t>(bit);
        EXPECT_THAT(refusal(damaged), StartsWith("a.png: ")) << "byte " << position << ", bit " << bit;
      }
    }
  }
}

// ---- Files -----------------------------------------------------------------------------------------------

TEST(Png, NamesTheFileInErrors) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.png", Bytes{1, 2, 3});
  EXPECT_THAT(refusal_of([&] { read_png(file); }),
              StartsWith(file.string() + ": expected a PNG image, found another file;"));
  EXPECT_THROW(read_png(folder.path()), UserError);
  EXPECT_THROW(read_png(folder.path() / "absent.png"), UserError);
}

TEST(Png, ReadsWhatItWrote) {
  const TemporaryFolder folder;
  GreyImage image{10, 77, {}};
  for (std::size_t i = 0; i < 770; ++i) image.pixels.push_back(static_cast<std::uint8_t>(i * i));
  write_png(folder.path() / "a.png", image);
  EXPECT_EQ(read_png(folder.path() / "a.png"), image);
}

TEST(Png, EncodesPalettes) {
  const PaletteImage image{1, 4, {0, 2, 1, 3}, {{10, 10, 10, 255}, {20, 20, 20, 255}, {30, 30, 30, 255}, {}}};
  const GreyImage decoded = decode_png(encode_png(image), "a");
  EXPECT_EQ(decoded, (GreyImage{1, 4, {10, 30, 20, 255}})) << "the last is transparent, over white";
  EXPECT_THROW(encode_png(PaletteImage{1, 1, {1}, {{0, 0, 0, 255}}}), std::invalid_argument);
  EXPECT_THROW(encode_png(PaletteImage{1, 1, {0}, {}}), std::invalid_argument);
}

TEST(Png, RefusesToWriteAnInvalidImage) {
  const TemporaryFolder folder;
  EXPECT_THROW(write_png(folder.path() / "a.png", {2, 2, {1, 2, 3}}), std::invalid_argument);
  EXPECT_THROW(write_png(folder.path() / "a.png", {0, 2, {}}), std::invalid_argument);
  EXPECT_THROW(write_png(folder.path() / "no" / "a.png", {1, 1, {1}}), UserError);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a.png"));
}

}  // namespace twingrad::png_test
