#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "../support/bytes.h"
#include "../support/refusal.h"
#include "twingrad/io/png.h"
#include "twingrad/runtime/text.h"

// PNG files that encoders do not write.

namespace twingrad::png_chunks_test {

using namespace ::testing;
using namespace twingrad::testing;

GreyImage decode(const Bytes& file) {
  return decode_png({reinterpret_cast<const char*>(file.data()), file.size()}, "a.png");
}

std::string refusal(const Bytes& file) {
  return refusal_of([&] { decode(file); });
}

const Bytes kSignature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

Bytes chunk(const std::string& type, const Bytes& data) {
  const Bytes content = bytes_of(type) + data;
  const auto crc = static_cast<std::uint32_t>(crc32(0, content.data(), static_cast<uInt>(content.size())));
  return big_endian(static_cast<std::uint32_t>(data.size())) + content + big_endian(crc);
}

/// The header of an image, by default of 8-bit grey.
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

/// Two pixels per row, after the number of a filter.
const Bytes kTwoRows{0, 1, 2, 0, 3, 4};

Bytes two_by_two() { return kSignature + header(2, 2) + data(kTwoRows) + kEnd; }

TEST(PngChunks, ReadsAMinimalFile) { EXPECT_EQ(decode(two_by_two()), (GreyImage{2, 2, {1, 2, 3, 4}})); }

TEST(PngChunks, IgnoresMetadataAndBytesAfterTheEnd) {
  const Bytes gamma = chunk("gAMA", big_endian(1'000'000)) + chunk("sRGB", {0});
  const Bytes text = chunk("tEXt", {'a', 0, 'b'});
  const Bytes unknown = chunk("abCd", Bytes(1000, 7));
  const Bytes file =
      kSignature + header(2, 2) + gamma + text + unknown + data(kTwoRows) + text + kEnd + Bytes{1, 2, 3};
  EXPECT_EQ(decode(file), decode(two_by_two()));
}

TEST(PngChunks, IgnoresTheGammaOf16BitSamples) {
  const Bytes rows{0, 0x80, 0x80, 0x10, 0x10};
  for (const Bytes& gamma :
       {Bytes(), chunk("gAMA", big_endian(100'000)), chunk("gAMA", big_endian(45'455))}) {
    EXPECT_THAT(decode(kSignature + header(1, 2, 16) + gamma + data(rows) + kEnd).pixels,
                ElementsAre(128, 16));
  }
}

TEST(PngChunks, DoesNotUnpackTextsAndProfiles) {
  Bytes packed(compressBound(20'000'000));  // 20 MB of zeros, in 20 KB
  uLongf size = packed.size();
  const Bytes zeros(20'000'000);
  ASSERT_EQ(compress(packed.data(), &size, zeros.data(), zeros.size()), Z_OK);
  packed.resize(size - 1);  // truncated, which is an error only if it is unpacked
  const Bytes text = chunk("zTXt", Bytes{'a', 0, 0} + packed);
  const Bytes profile = chunk("iCCP", Bytes{'a', 0, 0} + packed);
  EXPECT_EQ(decode(kSignature + header(2, 2) + profile + text + data(kTwoRows) + kEnd), decode(two_by_two()));
}

// ---- Orientation -----------------------------------------------------------------------------------------

/// An eXIf chunk with another entry and the orientation, which has this type and number of values.
Bytes exif(int orientation, bool is_little = false, std::uint8_t type = 3) {
  const auto number = [&](std::uint32_t value, std::size_t size) {
    Bytes bytes = big_endian(value);
    bytes.erase(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(size));
    if (is_little) std::reverse(bytes.begin(), bytes.end());
    return bytes;
  };
  const Bytes other = number(0x010f, 2) + number(3, 2) + number(1, 4) + number(6, 2) + number(0, 2);
  const Bytes turn = number(0x0112, 2) + number(type, 2) + number(1, 4) +
                     number(static_cast<std::uint32_t>(orientation), 2) + number(0, 2);
  return chunk("eXIf", bytes_of(is_little ? "II" : "MM") + number(42, 2) + number(8, 4) + number(2, 2) +
                           other + turn + number(0, 4));
}

TEST(PngChunks, TurnsTheImageByItsOrientation) {
  const auto shown = [](const Bytes& metadata) {  // of the rows 1 2 3 and 4 5 6
    return decode(kSignature + header(2, 3) + metadata + data({0, 1, 2, 3, 0, 4, 5, 6}) + kEnd);
  };
  const GreyImage stored{2, 3, {1, 2, 3, 4, 5, 6}};
  const std::vector<GreyImage> turned{stored,
                                      {2, 3, {3, 2, 1, 6, 5, 4}},
                                      {2, 3, {6, 5, 4, 3, 2, 1}},
                                      {2, 3, {4, 5, 6, 1, 2, 3}},
                                      {3, 2, {1, 4, 2, 5, 3, 6}},
                                      {3, 2, {4, 1, 5, 2, 6, 3}},
                                      {3, 2, {6, 3, 5, 2, 4, 1}},
                                      {3, 2, {3, 6, 2, 5, 1, 4}}};
  for (const bool is_little : {false, true}) {
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(shown(exif(i + 1, is_little)), turned[static_cast<std::size_t>(i)]) << i + 1;
  }
  for (const int orientation : {0, 9, 65535}) EXPECT_EQ(shown(exif(orientation)), stored);
  EXPECT_EQ(shown(exif(6, false, /*type=*/4)), stored) << "not a SHORT";
  EXPECT_EQ(decode(kSignature + header(2, 3) + data({0, 1, 2, 3, 0, 4, 5, 6}) + exif(6) + kEnd), turned[5])
      << "after the pixels";
}

TEST(PngChunks, IgnoresADamagedExif) {
  const Bytes whole = exif(6);
  const Bytes content(whole.begin() + 8, whole.end() - 4);
  for (std::size_t size = 0; size <= content.size(); ++size) {
    const Bytes part(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size));
    const GreyImage image = decode(kSignature + header(1, 2) + chunk("eXIf", part) + data({0, 1, 2}) + kEnd);
    EXPECT_EQ(image.height, size < 34 ? 1 : 2) << size << " bytes";
  }
  Bytes outside = content;
  for (const std::uint8_t offset : {0xff, 0x7f, 0x27}) {
    outside[4] = outside[5] = outside[6] = offset == 0x27 ? 0 : offset;
    outside[7] = offset;
    EXPECT_EQ(decode(kSignature + header(1, 2) + chunk("eXIf", outside) + data({0, 1, 2}) + kEnd).height, 1);
  }
}

// ---- Refusals --------------------------------------------------------------------------------------------

std::string refusal_of_text(const std::string& text) { return refusal(bytes_of(text)); }

TEST(PngChunks, RefusesAndRecognizesOtherFiles) {
  EXPECT_EQ(refusal({}), "a.png: expected a PNG image, found an empty file; convert it to PNG");
  expect_refusals<refusal_of_text>({
      {"\xff\xd8\xff\xe0", "found a JPEG image;"},
      {"GIF89a", "found a GIF image;"},
      {"BM6", "found a BMP image;"},
      {"RIFF1234WEBP", "found a WebP image;"},
      {"RIFF1234WAVE", "found a RIFF file;"},
      {std::string("\0\0\0\x1c"
                   "ftypheic",
                   12),
       "found a HEIC image; convert it to PNG"},
      {std::string("\0\0\0\x18"
                   "ftypmif1",
                   12),
       "found a HEIC image;"},
      {std::string("\0\0\0\x1c"
                   "ftypavif",
                   12),
       "found an AVIF image;"},
      {std::string("\0\0\0\x1c"
                   "ftypisom",
                   12),
       "found a video;"},
      {"\xff\x0a", "found a JPEG XL image;"},
      {"II*", "found a TIFF image;"},
      {"MM", "found a TIFF image;"},
      {"%PDF-1.7", "found a PDF document;"},
      {"<?xml version=\"1.0\"?>\n<svg>", "found an SVG image;"},
      {"\xef\xbb\xbf\n <!DOCTYPE html>", "found an HTML page;"},
      {" {\"error\": 404}", "found a JSON document;"},
      {std::string("\0\0\x08\x03\0\0", 6), "found an IDX file;"},
      {"some text", "found another file;"},
      {"\x89PNG\r\n\x1a", "found another file;"},
  });
}

TEST(PngChunks, RefusesATruncatedFile) {
  const Bytes file = two_by_two();
  EXPECT_EQ(refusal(Bytes(file.begin(), file.begin() + 40)),
            "a.png: byte 40: expected more of the PNG image, found the end of the file; write it again with "
            "the program that created it");
}

TEST(PngChunks, ReportsTheOffsetOfAWrongChecksum) {
  Bytes file = two_by_two();
  const std::size_t end_of_data = file.size() - kEnd.size();
  file[end_of_data - 1] ^= 1;
  EXPECT_EQ(refusal(file), "a.png: byte " + std::to_string(end_of_data) +
                               ": expected an intact PNG image, found a wrong checksum in its chunk IDAT; "
                               "write it again with the program that created it");
}

TEST(PngChunks, RefusesAWrongChecksumOfMetadata) {
  Bytes text = chunk("tEXt", {'a', 0, 'b'});
  text.back() ^= 1;
  EXPECT_THAT(refusal(kSignature + header(2, 2) + text + data(kTwoRows) + kEnd),
              HasSubstr("found a wrong checksum in its chunk tEXt;"));
}

std::string refusal_of_chunks(const Bytes& chunks) { return refusal(kSignature + chunks); }

TEST(PngChunks, RefusesMissingAndMisplacedChunks) {
  const Bytes start = header(2, 2), rows = data(kTwoRows);
  expect_refusals<refusal_of_chunks, Bytes>({
      {start + data({0, 1, 2}) + kEnd, "(libpng: Not enough image data)"},
      {start + kEnd, "(libpng: IEND"},
      {start + rows, "expected more of the PNG image, found the end of the file;"},
      {start + start + rows + kEnd, "expected the chunk IHDR at the start of a PNG image"},
      {start + rows + chunk("tEXt", {}) + rows + kEnd, "expected consecutive IDAT chunks"},
      {header(0, 2) + rows + kEnd, "Invalid IHDR data"},
      {header(2, 2, 3) + rows + kEnd, "Invalid IHDR data"},
      {header(2, 2, 8, 5) + rows + kEnd, "Invalid IHDR data"},
      {rows + kEnd, "IHDR"},
      {header(2, 2, 8, 3) + rows + kEnd, "PLTE"},
  });
}

TEST(PngChunks, RefusesUnknownChunksAndPrintsTheirTypesSafely) {
  for (const std::string type : {"A\nC\x1b", "ABCD",
                                 "a\xff"
                                 "zd"}) {
    const Bytes file = kSignature + header(2, 2) + chunk(type, {}) + data(kTwoRows) + kEnd;
    EXPECT_THAT(refusal(file), HasSubstr("found the unknown chunk " + printable(type) + ";"));
  }
}

TEST(PngChunks, RefusesTooManyPixels) {
  EXPECT_EQ(refusal(kSignature + header(1, 65536) + data(kTwoRows) + kEnd),
            "a.png: expected at most 65535 pixels per side and 100000000 in total, found 1 × 65536; make the "
            "image smaller");
  EXPECT_THAT(refusal(kSignature + header(10'001, 10'000) + data(kTwoRows) + kEnd),
              HasSubstr("found 10001 × 10000;"));
  EXPECT_THAT(refusal(kSignature + header(0x7fffffff, 0x7fffffff, 16, 6) + data(kTwoRows) + kEnd),
              HasSubstr("found 2147483647 × 2147483647;"));
}

TEST(PngChunks, ReservesNoMemoryForPixelsThatCannotExist) {
  for (const std::uint8_t interlacing : Bytes{0, 1}) {
    const Bytes file = kSignature + header(10'000, 10'000, 8, 0, interlacing) + data(kTwoRows) + kEnd;
    EXPECT_EQ(refusal(file), "a.png: expected the data of 10000 × 10000 pixels, found a file of " +
                                 std::to_string(file.size()) +
                                 " bytes, too few for them; write it again with the program that created it");
  }
}

TEST(PngChunks, ReadsHighlyCompressedPixels) {
  // Zeros compress to a thousandth; such an image is valid.
  const Bytes rows(2001 * 2000);
  const GreyImage image = decode(kSignature + header(2000, 2000) + data(rows) + kEnd);
  EXPECT_EQ(image.pixels, Bytes(2000 * 2000));
}

}  // namespace twingrad::png_chunks_test
