#include "twingrad/data/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "../support/bytes.h"
#include "../support/refusal.h"
#include "../support/temporary_folder.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad::data::idx_test {

using namespace ::testing;
using namespace twingrad::testing;
namespace fs = std::filesystem;

constexpr int kLabels = 1;
constexpr int kImages = 3;

/// Two images of 3 × 2 pixels.
Bytes two_images() { return idx_file({2, 3, 2}, {0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255}); }

Bytes three_labels() { return idx_file({3}, {7, 0, 9}); }

std::string sha256_of(const Bytes& bytes) {
  Sha256 sha256;
  sha256.update(bytes);
  return sha256.hex_digest();
}

/// A directory for the file to read.
class ReadIdx : public ::testing::Test {
 protected:
  IdxFile read(const Bytes& bytes, int rank) { return read_idx(folder_.write("file", bytes), rank); }

  static std::string refusal_of_path(const fs::path& path, int rank) {
    return refusal_of([&] { read_idx(path, rank); });
  }
  std::string refusal(const Bytes& bytes, int rank) {
    return refusal_of_path(folder_.write("file", bytes), rank);
  }

  std::string file() const { return (folder_.path() / "file").string(); }

  TemporaryFolder folder_;
};

// ---- Reading ---------------------------------------------------------------------------------------------

TEST_F(ReadIdx, ReadsSizesAndBytes) {
  const IdxFile images = read(two_images(), kImages);
  EXPECT_THAT(images.sizes, ElementsAre(2, 3, 2));
  EXPECT_THAT(images.bytes, ElementsAre(0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255));
  const IdxFile labels = read(three_labels(), kLabels);
  EXPECT_THAT(labels.sizes, ElementsAre(3));
  EXPECT_THAT(labels.bytes, ElementsAre(7, 0, 9));
}

TEST_F(ReadIdx, UnpacksGzipWithoutAnExtension) {
  const IdxFile images = read(gzip(two_images()), kImages);
  EXPECT_EQ(images.sizes, read(two_images(), kImages).sizes);
  EXPECT_EQ(images.bytes, read(two_images(), kImages).bytes);
  EXPECT_EQ(images.sha256, sha256_of(two_images()));
}

TEST_F(ReadIdx, ReadsFilesOfManyChunks) {
  // Lengths near multiples of 64 KiB, the size of the pieces that are read and unpacked.
  for (const std::uint32_t size : {65527U, 65528U, 65529U, 131'064U, 300'000U}) {
    Bytes labels = idx_file({size}, {});
    for (std::uint32_t i = 0; i < size; ++i) labels.push_back(static_cast<std::uint8_t>(i * i >> 5));
    for (const Bytes& stored : {labels, gzip(labels)}) {
      const IdxFile content = read(stored, kLabels);
      EXPECT_EQ(idx_file({size}, content.bytes), labels) << size;
      EXPECT_EQ(content.sha256, sha256_of(labels)) << size;
    }
  }
}

TEST_F(ReadIdx, FollowsALink) {
  folder_.write("file", three_labels());
  fs::create_symlink("file", folder_.path() / "link");
  EXPECT_THAT(read_idx(folder_.path() / "link", kLabels).bytes, ElementsAre(7, 0, 9));
}

// ---- Not a regular file ----------------------------------------------------------------------------------

TEST_F(ReadIdx, RefusesAnythingButARegularFile) {
  EXPECT_EQ(refusal_of_path(file(), kImages),
            file() + ": expected a file, found nothing there; check the path");
  EXPECT_EQ(refusal_of_path(folder_.path(), kImages),
            folder_.path().string() + ": expected a file, found a directory; check the path");
  ASSERT_EQ(mkfifo(file().c_str(), 0600), 0);
  EXPECT_EQ(refusal_of_path(file(), kImages), file() + ": expected a file, found a pipe; check the path");
  EXPECT_THAT(refusal_of_path("/dev/zero", kImages),
              StartsWith("/dev/zero: expected a file, found a device or a socket"));
}

TEST_F(ReadIdx, RefusesACircularLink) {
  fs::create_symlink("file", file());
  EXPECT_THAT(refusal_of_path(file(), kImages),
              StartsWith(file() + ": expected a file that can be read, found \"Too many levels"));
}

TEST_F(ReadIdx, RefusesAnUnreadableFile) {
  folder_.write("file", two_images());
  fs::permissions(file(), fs::perms::none);
  if (access(file().c_str(), R_OK) == 0) {  // root can read every file
    EXPECT_THAT(read_idx(file(), kImages).sizes, ElementsAre(2, 3, 2));
  } else {
    EXPECT_EQ(refusal_of_path(file(), kImages), file() +
                                                    ": expected a file that can be read, found \"Permission "
                                                    "denied\"; check its permissions and the disk");
  }
}

// ---- The header ------------------------------------------------------------------------------------------

TEST_F(ReadIdx, RefusesAnIncompleteHeader) {
  EXPECT_EQ(refusal({}, kImages), file() +
                                      ": byte 0: expected a header of 16 bytes, found an empty file; "
                                      "delete it and fetch the data set again");
  EXPECT_THAT(refusal(gzip({}), kLabels), HasSubstr("byte 0: expected a header of 8 bytes, found an empty"));
  Bytes images = two_images();
  images.resize(10);
  EXPECT_THAT(refusal(images, kImages),
              StartsWith(file() + ": byte 10: expected a header of 16 bytes, found the end of the file;"));
}

TEST_F(ReadIdx, ReportsSwappedLabelsAndImages) {
  EXPECT_EQ(
      refusal(three_labels(), kImages),
      file() +
          ": byte 0: expected an IDX file of unsigned bytes with rank 3 (magic number 0x00000803), found "
          "0x00000801, a label file (3); give the image file for the images and the label file for the "
          "labels");
  EXPECT_THAT(
      refusal(two_images(), kLabels),
      HasSubstr("with rank 1 (magic number 0x00000801), found 0x00000803, an image file (2 × 3 × 2);"));
}

TEST_F(ReadIdx, RefusesOtherRanks) {
  EXPECT_THAT(refusal(idx_file({1, 1}, Bytes{0}), kImages),
              HasSubstr("found 0x00000802, a file of rank 2 (1 × 1);"));
}

TEST_F(ReadIdx, NamesTheElementTypeOfOtherIdxFiles) {
  EXPECT_THAT(refusal(idx_file({1}, Bytes{0}, 0x09), kLabels), HasSubstr("an IDX file of signed bytes;"));
  EXPECT_THAT(refusal(idx_file({1}, Bytes{0, 0}, 0x0b), kLabels), HasSubstr("of 16-bit integers;"));
  EXPECT_THAT(refusal(idx_file({1}, Bytes(4), 0x0c), kLabels), HasSubstr("of 32-bit integers;"));
  EXPECT_THAT(refusal(idx_file({1}, Bytes(4), 0x0d), kLabels), HasSubstr("of 32-bit floats;"));
  EXPECT_THAT(
      refusal(idx_file({1}, Bytes(8), 0x0e), kLabels),
      HasSubstr("found 0x00000e01, an IDX file of 64-bit floats; give an IDX file of unsigned bytes"));
}

TEST_F(ReadIdx, RecognizesOtherFiles) {
  const auto refusal_of_text = [&](const std::string& text) { return refusal(bytes_of(text), kImages); };
  EXPECT_THAT(refusal_of_text("\x89PNG\r\n\x1a\n"), HasSubstr("found 0x89504e47, a PNG image;"));
  EXPECT_THAT(refusal_of_text("\xff\xd8\xff\xe0"), HasSubstr("a JPEG image;"));
  EXPECT_THAT(refusal_of_text("PK\x03\x04"), HasSubstr("a ZIP archive; unpack it first"));
  EXPECT_THAT(refusal_of_text("BZh9"), HasSubstr("a bzip2 archive; unpack it first"));
  EXPECT_THAT(refusal_of_text("\xfd\x37zXZ"), HasSubstr("an xz archive; unpack it first"));
  EXPECT_THAT(refusal_of_text("\x28\xb5\x2f\xfd"), HasSubstr("a zstd archive; unpack it first"));
  EXPECT_THAT(refusal_of_text("\x93NUMPY"), HasSubstr("a NumPy array;"));
  EXPECT_THAT(refusal_of_text("<!DOCTYPE html>"), HasSubstr("an HTML page"));
  EXPECT_THAT(refusal_of_text("version https://git-lfs"),
              HasSubstr("a Git LFS pointer; fetch the file itself"));
  EXPECT_THAT(refusal_of_text("\xef\xbb\xbf \r\n<html>"), HasSubstr("an HTML page"));
  EXPECT_THAT(refusal_of_text("\n {\"message\": \"not found\"}"), HasSubstr("a JSON document;"));
  EXPECT_THAT(refusal_of_text("some text"), HasSubstr("found 0x736f6d65, not an IDX file;"));
  EXPECT_THAT(refusal(gzip(gzip(two_images())), kImages),
              HasSubstr("compressed twice by gzip; unpack it once"));
}

TEST_F(ReadIdx, SaysWhichShapeIsWanted) {
  Bytes four = idx_file({2, 1, 3, 2}, Bytes(12));
  EXPECT_THAT(refusal(four, kImages),
              HasSubstr("a file of rank 4 (2 × 1 × 3 × 2); store the images with the shape "
                        "images × height × width"));
  EXPECT_THAT(refusal(idx_file({2, 6}, Bytes(12)), kImages),
              HasSubstr("a file of rank 2 (2 × 6); store the images"));
  EXPECT_THAT(refusal(idx_file({2, 1}, Bytes(2)), kLabels),
              HasSubstr("a file of rank 2 (2 × 1); store the labels with the shape images"));
  EXPECT_THAT(refusal(two_images(), kLabels),
              HasSubstr("an image file (2 × 3 × 2); give the image file for"));
  EXPECT_THAT(refusal(three_labels(), kImages), HasSubstr("a label file (3); give the image file for"));
  four.resize(10);
  EXPECT_THAT(refusal(four, kImages), HasSubstr("a file of rank 4 (2)")) << "as far as the header goes";
}

TEST_F(ReadIdx, RecognizesALittleEndianHeader) {
  for (const std::uint8_t rank : {1, 3}) {
    EXPECT_THAT(
        refusal(Bytes{rank, 8, 0, 0} + Bytes(12), kImages),
        HasSubstr(
            "a header in little-endian byte order; write the magic number and the sizes in big-endian"));
  }
}

/// Labels in QMNIST's format: rows of 32-bit integers whose first is the label.
Bytes rows_of_integers(const std::vector<std::uint32_t>& labels, std::uint32_t columns) {
  Bytes file =
      Bytes{0, 0, 0x0c, 2} + big_endian(static_cast<std::uint32_t>(labels.size())) + big_endian(columns);
  for (const std::uint32_t label : labels) {
    file = file + big_endian(label);
    for (std::uint32_t i = 1; i < columns; ++i) file = file + big_endian(1000 + i);
  }
  return file;
}

TEST_F(ReadIdx, ReadsTheFirstColumnOfQmnistLabels) {
  for (const std::uint32_t columns : {1, 8}) {
    for (const bool packed : {false, true}) {
      const Bytes plain = rows_of_integers({7, 255, 0, 3}, columns);
      const IdxFile file = read(packed ? gzip(plain) : plain, kLabels);
      EXPECT_THAT(file.sizes, ElementsAre(4));
      EXPECT_THAT(file.bytes, ElementsAre(7, 255, 0, 3));
      EXPECT_EQ(file.sha256, sha256_of(plain));
    }
  }
  EXPECT_THAT(refusal(rows_of_integers({7, 256}, 8), kLabels),
              HasSubstr("byte 44: expected a label from 0 to 255, found 256"));
  Bytes truncated = rows_of_integers({7, 5}, 8);
  truncated.pop_back();
  EXPECT_THAT(refusal(truncated, kLabels),
              HasSubstr("expected 64 bytes, found the end of the file after 63 of them"));
  EXPECT_THAT(refusal(truncated + Bytes{1, 2}, kLabels), HasSubstr("byte 76: expected the end of the file"));
  EXPECT_THAT(refusal(rows_of_integers({7}, 8), kImages),
              HasSubstr("32-bit integers; give an IDX file of unsigned"));
}

TEST_F(ReadIdx, RefusesInvalidSizes) {
  EXPECT_THAT(refusal(idx_file({0}, {}), kLabels),
              StartsWith(file() + ": byte 4: expected a number of labels from 1 to 4294967295, found 0;"));
  EXPECT_THAT(refusal(idx_file({0, 28, 28}, {}), kImages),
              HasSubstr("byte 4: expected a number of images from 1 to 4294967295, found 0;"));
  EXPECT_THAT(refusal(idx_file({2, 0, 28}, {}), kImages),
              HasSubstr("byte 8: expected an image height from 1 to 65535, found 0;"));
  EXPECT_THAT(refusal(idx_file({2, 28, 0}, {}), kImages),
              HasSubstr("byte 12: expected an image width from 1 to 65535, found 0;"));
  EXPECT_THAT(refusal(idx_file({1, 65536, 1}, {}), kImages),
              HasSubstr("byte 8: expected an image height from 1 to 65535, found 65536;"));
  EXPECT_THAT(refusal(idx_file({1, 1, 0xffffffff}, {}), kImages),
              HasSubstr("byte 12: expected an image width from 1 to 65535, found 4294967295;"));
  EXPECT_THAT(refusal(idx_file({0xffffffff, 65535, 65535}, {}), kImages),
              StartsWith(file() + ": byte 4: expected sizes whose product is at most 9223372036854775807,"));
}

// ---- The data --------------------------------------------------------------------------------------------

TEST_F(ReadIdx, RefusesTruncatedData) {
  Bytes images = two_images();
  images.resize(images.size() - 5);
  for (const Bytes& stored : {images, gzip(images)}) {
    EXPECT_EQ(refusal(stored, kImages),
              file() +
                  ": byte 23: expected 12 bytes (2 × 3 × 2), found the end of the file "
                  "after 7 of them; delete it and fetch the data set again");
  }
}

TEST_F(ReadIdx, RefusesBytesAfterTheData) {
  for (const Bytes& stored : {two_images() + Bytes{0}, gzip(two_images() + Bytes{0})}) {
    EXPECT_EQ(refusal(stored, kImages),
              file() +
                  ": byte 28: expected the end of the file after 12 bytes (2 × 3 × 2), found more bytes; "
                  "delete it and fetch the data set again");
  }
}

TEST_F(ReadIdx, RefusesATruncationAtEveryByte) {
  const auto expect_refusals = [&](const Bytes& whole, int rank) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Bytes start(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_THAT(refusal(start, rank), StartsWith(file() + ": byte ")) << "cut to " << size << " bytes";
    }
  };
  expect_refusals(two_images(), kImages);
  expect_refusals(gzip(two_images()), kImages);
  expect_refusals(three_labels(), kLabels);
  expect_refusals(gzip(three_labels()), kLabels);
}

TEST_F(ReadIdx, ReservesNoMemoryForSizesThatExceedTheFile) {
  // 4 billion images of 1000 × 1000 pixels: reserving 4 petabytes would throw std::bad_alloc.
  const Bytes claim = idx_file({0xffffffff, 1000, 1000}, Bytes{1, 2, 3});
  for (const Bytes& stored : {claim, gzip(claim)}) {
    EXPECT_THAT(
        refusal(stored, kImages),
        HasSubstr("byte 19: expected 4294967295000000 bytes (4294967295 × 1000 × 1000), found the end"));
  }
}

TEST_F(ReadIdx, StopsUnpackingAtTheFirstExcessByte) {
  // The stream is broken at its end, after 32 MB of zeros. The error is about the length, so unpacking
  // stopped before the end.
  Bytes bomb = gzip(two_images() + Bytes(32'000'000));
  bomb.back() ^= 0xff;
  EXPECT_THAT(refusal(bomb, kImages), HasSubstr(": byte 28: expected the end of the file"));
}

// ---- The gzip stream -------------------------------------------------------------------------------------

TEST_F(ReadIdx, RefusesBytesAfterTheGzipStream) {
  const Bytes packed = gzip(two_images());
  EXPECT_EQ(
      refusal(packed + Bytes{0}, kImages),
      file() + ": byte " + std::to_string(packed.size()) +
          " of the compressed file: expected the end of the file after the gzip stream, found more bytes; "
          "delete it and fetch the data set again");
}

TEST_F(ReadIdx, RefusesBytesAfterTheGzipStreamInTheNextPiece) {
  Bytes labels = idx_file({65536}, {});
  labels.resize(labels.size() + 65536, 1);
  Bytes packed = gzip(labels);
  // A file name of this length in the gzip header makes the stream end at the end of the first 64 KiB.
  const std::size_t name_size = 65536 - packed.size() - 1;
  Bytes name(name_size, 'n');
  name.push_back(0);
  packed[3] = 0x08;  // the flag FNAME
  packed.insert(packed.begin() + 10, name.begin(), name.end());
  ASSERT_EQ(packed.size(), 65536U);
  EXPECT_EQ(read(packed, kLabels).sizes[0], 65536);
  EXPECT_THAT(
      refusal(packed + Bytes{7}, kLabels),
      HasSubstr("byte 65536 of the compressed file: expected the end of the file after the gzip stream"));
}

TEST_F(ReadIdx, UnpacksSeveralGzipMembers) {
  const Bytes images = two_images();
  for (const std::size_t cut : {std::size_t{0}, std::size_t{3}, std::size_t{20}, images.size()}) {
    const auto middle = images.begin() + static_cast<std::ptrdiff_t>(cut);
    const IdxFile file =
        read(gzip({images.begin(), middle}) + gzip({middle, images.end()}) + gzip({}), kImages);
    EXPECT_EQ(file.bytes, read(images, kImages).bytes);
    EXPECT_EQ(file.sha256, sha256_of(images));
  }
  EXPECT_THAT(refusal(gzip(images) + gzip(Bytes{1}), kImages),
              HasSubstr("expected the end of the file after 12"));
  EXPECT_THAT(refusal(gzip(images) + Bytes{0x1f, 0x8b}, kImages),
              HasSubstr("expected more of the gzip stream"));
  EXPECT_THAT(refusal(gzip(images) + Bytes{0x1f, 7}, kImages), HasSubstr("expected an intact gzip stream"));
}

TEST_F(ReadIdx, RefusesATruncatedGzipStream) {
  Bytes packed = gzip(two_images());
  packed.resize(packed.size() - 3);
  EXPECT_EQ(refusal(packed, kImages), file() + ": byte " + std::to_string(packed.size()) +
                                          " of the compressed file: expected more of the gzip stream, found "
                                          "the end of the file; delete it and "
                                          "fetch the data set again");
}

TEST_F(ReadIdx, RefusesADamagedGzipStream) {
  Bytes packed = gzip(two_images());
  packed[packed.size() - 8] ^= 1;  // the stream ends with the CRC and the length, 4 bytes each
  EXPECT_THAT(
      refusal(packed, kImages),
      AllOf(StartsWith(file() + ": byte "), HasSubstr(" of the compressed file: "),
            HasSubstr("expected an intact gzip stream, found a broken one (zlib: incorrect data check);")));
  packed = gzip(two_images());
  packed.back() ^= 1;  // the length
  EXPECT_THAT(refusal(packed, kImages), HasSubstr("(zlib: incorrect length check);"));
  packed = gzip(two_images());
  packed[10] = 0x07;  // the first block, after a header of 10 bytes: the reserved type 3
  EXPECT_THAT(refusal(packed, kImages), HasSubstr("(zlib: invalid block type);"));
}

TEST_F(ReadIdx, NeverReturnsWrongDataFromADamagedGzipStream) {
  const Bytes packed = gzip(two_images());
  const IdxFile intact = read(packed, kImages);
  for (std::size_t position = 0; position < packed.size(); ++position) {
    for (const int flip : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
      Bytes damaged = packed;
      damaged[position] ^= static_cast<std::uint8_t>(flip);
      try {
        // Not every flip is an error: some bytes of the gzip header, such as the time, are ignored.
        const IdxFile content = read(damaged, kImages);
        EXPECT_EQ(content.sizes, intact.sizes) << position << " flipped by " << flip;
        EXPECT_EQ(content.bytes, intact.bytes) << position << " flipped by " << flip;
      } catch (const UserError&) {
        continue;
      }
    }
  }
}

// ---- The message -----------------------------------------------------------------------------------------

TEST_F(ReadIdx, PrintsMessagesOfOneLine) {
  for (const Bytes& bytes : {Bytes{}, three_labels(), gzip(three_labels()), two_images() + Bytes{0}}) {
    EXPECT_THAT(refusal(bytes, kImages), AllOf(Not(HasSubstr("\n")), Not(EndsWith("."))));
  }
}

TEST_F(ReadIdx, RefusesAnImpossibleRank) {
  EXPECT_THROW(read(two_images(), 0), std::invalid_argument);
  EXPECT_THROW(read(two_images(), 256), std::invalid_argument);
}

}  // namespace twingrad::data::idx_test
