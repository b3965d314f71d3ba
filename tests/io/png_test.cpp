#include "twingrad/io/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <zlib.h>

#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "../support/temporary_folder.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

using ::testing::AllOf;
using ::testing::Combine;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using testing::TemporaryFolder;
using ::testing::Values;

using Bytes = std::vector<std::uint8_t>;

Bytes operator+(Bytes front, const Bytes& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

// ---- Files that libpng writes ----------------------------------------------------------------------------

/// A PNG file to be: its samples, a row after the other, the channels of a pixel side by side.
struct Picture {
  int colour_type = PNG_COLOR_TYPE_GRAY;
  int depth = 8;
  bool is_interlaced = false;
  std::uint32_t height = 1, width = 1;
  std::vector<std::uint16_t> samples = {};
  std::vector<png_color> palette = {};
  Bytes palette_alpha = {};
  const png_color_16* transparent = nullptr;  ///< the one transparent grey or colour

  std::size_t channels() const {
    const bool has_colour = colour_type == PNG_COLOR_TYPE_RGB || colour_type == PNG_COLOR_TYPE_RGBA;
    return (has_colour ? 3U : 1U) + ((colour_type & PNG_COLOR_MASK_ALPHA) != 0 ? 1U : 0U);
  }
};

void append_bytes(png_structp png, png_bytep bytes, std::size_t count) {
  auto* file = static_cast<Bytes*>(png_get_io_ptr(png));
  file->insert(file->end(), bytes, bytes + count);
}

/// The samples as libpng takes them: a byte each, or two, the high one first.
Bytes sample_bytes(const Picture& picture) {
  Bytes bytes;
  for (const std::uint16_t sample : picture.samples) {
    if (picture.depth == 16) bytes.push_back(static_cast<std::uint8_t>(sample >> 8));
    bytes.push_back(static_cast<std::uint8_t>(sample));
  }
  return bytes;
}

/// The file. (An error of libpng, which no test means to cause, ends the program.)
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

GreyImage decode(const Bytes& file) { return decode_png(file, "a.png"); }

std::string refusal(const Bytes& file) {
  try {
    decode(file);
  } catch (const UserError& error) {
    return error.what();
  }
  return "(the file was accepted)";
}

// ---- What is read ----------------------------------------------------------------------------------------

TEST(Png, KeepsGreyAsItIs) {
  Picture picture = grey_picture(16, 16, {});
  for (std::uint16_t grey = 0; grey < 256; ++grey) picture.samples.push_back(grey);
  const GreyImage image = decode(encode(picture));
  EXPECT_EQ(image.height, 16);
  EXPECT_EQ(image.width, 16);
  for (std::size_t i = 0; i < 256; ++i) EXPECT_EQ(image.pixels[i], i);
}

TEST(Png, WeighsColoursByTheLumaOfBt601) {
  const auto grey = [](std::uint16_t r, std::uint16_t g, std::uint16_t b) {
    return decode(one_pixel(PNG_COLOR_TYPE_RGB, 8, {r, g, b})).pixels[0];
  };
  EXPECT_EQ(grey(255, 0, 0), 76);   // 0.299 · 255 = 76.2
  EXPECT_EQ(grey(0, 255, 0), 150);  // 0.587 · 255 = 149.7
  EXPECT_EQ(grey(0, 0, 255), 29);   // 0.114 · 255 = 29.1
  EXPECT_EQ(grey(255, 255, 255), 255);
  EXPECT_EQ(grey(77, 77, 77), 77);
}

TEST(Png, LaysTransparencyOverWhite) {
  const auto grey = [](std::uint16_t value, std::uint16_t alpha) {
    return decode(one_pixel(PNG_COLOR_TYPE_GRAY_ALPHA, 8, {value, alpha})).pixels[0];
  };
  EXPECT_EQ(grey(0, 0), 255);
  EXPECT_EQ(grey(200, 0), 255);
  EXPECT_EQ(grey(0, 255), 0);
  EXPECT_EQ(grey(100, 255), 100);
  EXPECT_EQ(grey(0, 51), 204);  // a fifth of black
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_RGBA, 8, {255, 0, 0, 0})).pixels[0], 255);
}

TEST(Png, RoundsSixteenBitsToEight) {
  const auto grey = [](std::uint16_t value) {
    return decode(one_pixel(PNG_COLOR_TYPE_GRAY, 16, {value})).pixels[0];
  };
  EXPECT_EQ(grey(0xffff), 255);
  EXPECT_EQ(grey(0x8080), 128);
  EXPECT_EQ(grey(128), 0);  // 257 steps of 16 bits are one of 8
  EXPECT_EQ(grey(129), 1);
}

TEST(Png, SpreadsFewBitsOverTheWholeRange) {
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY, 1, {1})).pixels[0], 255);
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY, 2, {1})).pixels[0], 85);
  EXPECT_EQ(decode(one_pixel(PNG_COLOR_TYPE_GRAY, 4, {5})).pixels[0], 85);
}

TEST(Png, KnowsTheOneTransparentColourOfAnImage) {
  png_color_16 grey{};
  grey.gray = 9;
  Picture picture = grey_picture(1, 2, {9, 10});
  picture.transparent = &grey;
  EXPECT_THAT(decode(encode(picture)).pixels, ElementsAre(255, 10));

  png_color_16 deep{};  // told apart in all of its 16 bits
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

/// The grey of a pixel as png.h defines it, not rounded.
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

TEST_P(PngFormats, EveryPixelIsInItsPlace) {
  const auto [format, is_interlaced] = GetParam();
  const auto [colour_type, depth] = format;
  // Interlaced images of fewer than 5 pixels a side lack some of the seven passes.
  for (const auto& [height, width] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {1, 1}, {1, 2}, {2, 1}, {1, 9}, {9, 1}, {3, 3}, {4, 5}, {5, 4}, {8, 8}, {13, 9}, {40, 33}}) {
    const Picture picture = random_picture(colour_type, depth, is_interlaced, height, width);
    const GreyImage image = decode(encode(picture));
    ASSERT_EQ(image.height, height);
    ASSERT_EQ(image.width, width);
    ASSERT_EQ(image.pixels.size(), height * width);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      // Rounded up to three times: to 8 bits, the luma, the sum with white.
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

// ---- Files that are made by hand -------------------------------------------------------------------------

const Bytes kSignature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

Bytes big_endian(std::uint32_t word) {
  return {static_cast<std::uint8_t>(word >> 24), static_cast<std::uint8_t>(word >> 16),
          static_cast<std::uint8_t>(word >> 8), static_cast<std::uint8_t>(word)};
}

Bytes chunk(const std::string& type, const Bytes& data) {
  const Bytes content = Bytes(type.begin(), type.end()) + data;
  const auto crc = static_cast<std::uint32_t>(crc32(0, content.data(), static_cast<uInt>(content.size())));
  return big_endian(static_cast<std::uint32_t>(data.size())) + content + big_endian(crc);
}

/// The header of an image of 8-bit grey, or of another depth and colour type.
Bytes header(std::uint32_t height, std::uint32_t width, std::uint8_t depth = 8, std::uint8_t colour_type = 0,
             std::uint8_t interlacing = 0) {
  return chunk("IHDR", big_endian(width) + big_endian(height) + Bytes{depth, colour_type, 0, 0, interlacing});
}

Bytes data(const Bytes& rows) {
  Bytes packed(compressBound(rows.size()));
  uLongf size = packed.size();
  EXPECT_EQ(compress(packed.data(), &size, rows.data(), rows.size()), Z_OK);
  packed.resize(size);
  return chunk("IDAT", packed);
}

const Bytes kEnd = chunk("IEND", {});

/// Two pixels a row, each row behind the number of its filter.
const Bytes kTwoRows{0, 1, 2, 0, 3, 4};

Bytes two_by_two() { return kSignature + header(2, 2) + data(kTwoRows) + kEnd; }

TEST(Png, ReadsAFileThatIsMadeByHand) { EXPECT_EQ(decode(two_by_two()), (GreyImage{2, 2, {1, 2, 3, 4}})); }

TEST(Png, PassesOverWhatIsNoPixel) {
  const Bytes gamma = chunk("gAMA", big_endian(1'000'000));
  const Bytes text = chunk("tEXt", {'a', 0, 'b'});
  const Bytes unknown = chunk("abCd", Bytes(1000, 7));
  const Bytes file =
      kSignature + header(2, 2) + gamma + text + unknown + data(kTwoRows) + text + kEnd + Bytes{1, 2, 3};
  EXPECT_EQ(decode(file), decode(two_by_two()));
}

TEST(Png, DoesNotUnpackTextsAndProfiles) {
  Bytes packed(compressBound(20'000'000));  // 20 MB of zeros, in 20 KB
  uLongf size = packed.size();
  const Bytes zeros(20'000'000);
  ASSERT_EQ(compress(packed.data(), &size, zeros.data(), zeros.size()), Z_OK);
  packed.resize(size - 1);  // broken, which nobody finds out who does not unpack it
  const Bytes text = chunk("zTXt", Bytes{'a', 0, 0} + packed);
  const Bytes profile = chunk("iCCP", Bytes{'a', 0, 0} + packed);
  EXPECT_EQ(decode(kSignature + header(2, 2) + profile + text + data(kTwoRows) + kEnd), decode(two_by_two()));
}

// ---- What is refused -------------------------------------------------------------------------------------

TEST(Png, RefusesWhatIsNoPngImage) {
  const auto refusal_of_text = [](const std::string& text) {
    return refusal(Bytes(text.begin(), text.end()));
  };
  EXPECT_EQ(refusal({}), "a.png: expected a PNG image, found an empty file; give a PNG image");
  EXPECT_THAT(refusal({0xff, 0xd8, 0xff, 0xe0}), HasSubstr("found a JPEG image;"));
  EXPECT_THAT(refusal_of_text("GIF89a"), HasSubstr("found a GIF image;"));
  EXPECT_THAT(refusal_of_text("BM6"), HasSubstr("found a BMP image;"));
  EXPECT_THAT(refusal_of_text("RIFF1234WEBP"), HasSubstr("found a WebP image or another RIFF file;"));
  EXPECT_THAT(refusal_of_text("II*"), HasSubstr("found a TIFF image;"));
  EXPECT_THAT(refusal_of_text("MM"), HasSubstr("found a TIFF image;"));
  EXPECT_THAT(refusal_of_text("%PDF-1.7"), HasSubstr("found a PDF document;"));
  EXPECT_THAT(refusal_of_text("<svg>"), HasSubstr("found an SVG or HTML document;"));
  EXPECT_THAT(refusal({0, 0, 8, 3, 0, 0}), HasSubstr("found an IDX file;"));
  EXPECT_THAT(refusal_of_text("some text"), HasSubstr("found another file;"));
  EXPECT_THAT(refusal(Bytes(kSignature.begin(), kSignature.end() - 1)), HasSubstr("found another file;"));
}

TEST(Png, RefusesAFileThatIsCutOff) {
  const Bytes file = two_by_two();
  EXPECT_EQ(refusal(Bytes(file.begin(), file.begin() + 40)),
            "a.png: byte 40: expected more of the PNG image, found the end of the file; write it again with "
            "the program that made it");
}

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

TEST(Png, SaysWhereAChecksumIsWrong) {
  Bytes file = two_by_two();
  const std::size_t end_of_data = file.size() - kEnd.size();
  file[end_of_data - 1] ^= 1;
  EXPECT_EQ(refusal(file), "a.png: byte " + std::to_string(end_of_data) +
                               ": expected an intact PNG image, found a broken one (libpng: IDAT: CRC "
                               "error); write it again with the program that made it");
}

TEST(Png, RefusesAWrongChecksumBesideThePixels) {
  Bytes text = chunk("tEXt", {'a', 0, 'b'});
  text.back() ^= 1;
  EXPECT_THAT(refusal(kSignature + header(2, 2) + text + data(kTwoRows) + kEnd),
              HasSubstr("(libpng: tEXt: CRC error)"));
}

TEST(Png, RefusesRowsThatAreMissing) {
  EXPECT_THAT(refusal(kSignature + header(2, 2) + data({0, 1, 2}) + kEnd),
              HasSubstr("(libpng: Not enough image data)"));
  EXPECT_THAT(refusal(kSignature + header(2, 2) + kEnd), HasSubstr("(libpng: IEND"));
}

TEST(Png, RefusesAnImageWithoutEnd) {
  EXPECT_THAT(refusal(kSignature + header(2, 2) + data(kTwoRows)),
              HasSubstr("expected more of the PNG image, found the end of the file;"));
}

TEST(Png, RefusesAHeaderThatMeansNothing) {
  EXPECT_THAT(refusal(kSignature + header(0, 2) + data(kTwoRows) + kEnd), HasSubstr("Invalid IHDR data"));
  EXPECT_THAT(refusal(kSignature + header(2, 2, 3) + data(kTwoRows) + kEnd), HasSubstr("Invalid IHDR data"));
  EXPECT_THAT(refusal(kSignature + header(2, 2, 8, 5) + data(kTwoRows) + kEnd),
              HasSubstr("Invalid IHDR data"));
  EXPECT_THAT(refusal(kSignature + data(kTwoRows) + kEnd), HasSubstr("IHDR"));
  EXPECT_THAT(refusal(kSignature + header(2, 2, 8, 3) + data(kTwoRows) + kEnd), HasSubstr("PLTE"));
}

TEST(Png, MakesTheNameOfAnUnknownChunkPrintable) {
  EXPECT_THAT(refusal(kSignature + header(2, 2) + chunk("A\nC\x1b", {}) + data(kTwoRows) + kEnd),
              AllOf(HasSubstr("A[0A]C[1B]"), Not(HasSubstr("\n")), Not(HasSubstr("\x1b"))));
}

TEST(Png, RefusesAnImageOfTooManyPixels) {
  EXPECT_EQ(refusal(kSignature + header(1, 65536) + data(kTwoRows) + kEnd),
            "a.png: expected at most 65535 pixels a side and 100000000 in all, found 1 × 65536; make the "
            "image smaller");
  EXPECT_THAT(refusal(kSignature + header(10'001, 10'000) + data(kTwoRows) + kEnd),
              HasSubstr("found 10001 × 10000;"));
  EXPECT_THAT(refusal(kSignature + header(0x7fffffff, 0x7fffffff, 16, 6) + data(kTwoRows) + kEnd),
              HasSubstr("found 2147483647 × 2147483647;"));
}

TEST(Png, SetsNothingAsideForPixelsThatCanNotBeThere) {
  for (const std::uint8_t interlacing : Bytes{0, 1}) {
    const Bytes file = kSignature + header(10'000, 10'000, 8, 0, interlacing) + data(kTwoRows) + kEnd;
    EXPECT_EQ(refusal(file), "a.png: expected the data of 10000 × 10000 pixels, found a file of " +
                                 std::to_string(file.size()) +
                                 " bytes, too few for them; write it again with the program that made it");
  }
}

TEST(Png, ReadsAsManyPixelsAsZlibCanPack) {
  // Zeros pack to a thousandth: what is refused as too few bytes must not be a real image.
  const Bytes rows(2001 * 2000);
  const GreyImage image = decode(kSignature + header(2000, 2000) + data(rows) + kEnd);
  EXPECT_EQ(image.pixels, Bytes(2000 * 2000));
}

// ---- Files -----------------------------------------------------------------------------------------------

TEST(Png, NamesTheFileThatItRefuses) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.png", Bytes{1, 2, 3});
  try {
    read_png(file);
    FAIL() << "the file was accepted";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), StartsWith(file.string() + ": expected a PNG image, found another file;"));
  }
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

TEST(Png, RefusesToWriteWhatIsNoImage) {
  const TemporaryFolder folder;
  EXPECT_THROW(write_png(folder.path() / "a.png", {2, 2, {1, 2, 3}}), std::invalid_argument);
  EXPECT_THROW(write_png(folder.path() / "a.png", {0, 2, {}}), std::invalid_argument);
  EXPECT_THROW(write_png(folder.path() / "no" / "a.png", {1, 1, {1}}), UserError);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a.png"));
}

}  // namespace
}  // namespace twingrad
