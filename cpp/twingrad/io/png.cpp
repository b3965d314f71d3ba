#include "twingrad/io/png.h"

#include <fmt/format.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/input_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

constexpr const char* kWriteImageAgain = "write it again with the program that created it";

constexpr std::uint64_t kLargestPngFile = 1U << 30;  // 100,000,000 pixels of 16-bit RGBA: 0.8 GB
constexpr std::uint32_t kLargestPngSide = 65535;
constexpr std::uint64_t kMostPngPixels = 100'000'000;

constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";

// ---- Other file formats ----------------------------------------------------------------------------------

/// Describes a file of the ISO base media format (ISO/IEC 14496-12) by its brand, bytes 8 to 11.
std::string_view describe_media_brand(std::string_view start) {
  if (start.ends_with("avif") || start.ends_with("avis")) return "an AVIF image";
  constexpr std::array<std::string_view, 8> heif{"heic", "heix", "heim", "heis",
                                                 "hevc", "hevx", "mif1", "msf1"};
  const bool is_heif =
      std::any_of(heif.begin(), heif.end(), [&](auto brand) { return start.ends_with(brand); });
  return is_heif ? "a HEIC image" : "a video";
}

/// Recognizes files that are often given instead of a PNG image.
std::string_view describe_image_start(std::string_view file) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 12> formats{{
      {"\xff\xd8\xff", "a JPEG image"},
      {"GIF8", "a GIF image"},
      {"BM", "a BMP image"},
      {"II*", "a TIFF image"},
      {"MM", "a TIFF image"},
      {"\xff\x0a", "a JPEG XL image"},
      {std::string_view("\0\0\0\x0cJXL ", 8), "a JPEG XL image"},
      {std::string_view("\0\0\x01\0", 4), "an icon (ICO)"},
      {"8BPS", "a Photoshop document"},
      {"%PDF", "a PDF document"},
      {"PK", "a ZIP archive"},
      {std::string_view("\0\0\x08", 3), "an IDX file"},
  }};
  for (const auto& [start, description] : formats) {
    if (file.starts_with(start)) return description;
  }
  if (file.starts_with("RIFF")) return file.substr(0, 12).ends_with("WEBP") ? "a WebP image" : "a RIFF file";
  if (file.substr(0, 8).ends_with("ftyp")) return describe_media_brand(file.substr(0, 12));
  if (const std::string_view text = describe_text(file); !text.empty()) return text;
  return file.empty() ? "an empty file" : "another file";
}

// ---- Orientation ---------------------------------------------------------------------------------------

/// The orientation that an eXIf chunk contains, 1 to 8; 1 if it contains none or is damaged. Its data is a
/// TIFF header and a directory of entries: tag, type, count and value.
int exif_orientation(std::string_view exif) {
  constexpr unsigned kOrientation = 274, kShort = 3;
  const bool is_little = exif.starts_with(std::string_view("II*\0", 4));
  if (exif.size() < 10 || (!is_little && !exif.starts_with(std::string_view("MM\0*", 4)))) return 1;
  const auto number_at = [&](std::size_t offset, std::size_t size) {
    std::size_t number = 0;
    for (std::size_t i = 0; i < size; ++i) {
      number = number << 8 | static_cast<unsigned char>(exif[offset + (is_little ? size - 1 - i : i)]);
    }
    return number;
  };
  const std::size_t directory = number_at(4, 4);
  if (directory > exif.size() - 2) return 1;
  const std::size_t entries = std::min(number_at(directory, 2), (exif.size() - directory - 2) / 12);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (number_at(entry, 2) != kOrientation || number_at(entry + 2, 2) != kShort) continue;
    const std::size_t orientation = number_at(entry + 8, 2);
    return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
  }
  return 1;
}

/// The image as it is to be shown.
GreyImage turned(const GreyImage& image, int orientation) {
  if (orientation == 1) return image;
  const bool is_transposed = orientation >= 5;
  const bool bottom_first = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool right_first = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  GreyImage shown =
      is_transposed ? GreyImage{image.width, image.height, {}} : GreyImage{image.height, image.width, {}};
  shown.pixels.reserve(image.pixels.size());
  for (std::int64_t y = 0; y < shown.height; ++y) {
    for (std::int64_t x = 0; x < shown.width; ++x) {
      const std::int64_t row = is_transposed ? x : y, column = is_transposed ? y : x;
      const std::int64_t from_row = bottom_first ? image.height - 1 - row : row;
      const std::int64_t from_column = right_first ? image.width - 1 - column : column;
      shown.pixels.push_back(image.pixels[static_cast<std::size_t>(from_row * image.width + from_column)]);
    }
  }
  return shown;
}

// ---- Chunks --------------------------------------------------------------------------------------------

std::uint32_t word_at(std::string_view bytes, std::size_t offset) {
  return png_get_uint_32(reinterpret_cast<png_const_bytep>(bytes.data()) + offset);
}

/// The chunks of a PNG file that determine its pixels.
///
/// libpng's simplified API applies the gamma and colour profile of a file, ignores wrong checksums of
/// ancillary chunks, and does not read past the last row. So all chunks are checked here, and libpng gets
/// only those that it needs for the stored pixels.
class PngChunks {
 public:
  PngChunks(std::string_view file, const std::string& name) : file_(file), name_(name), kept_(kPngSignature) {
    std::size_t position = kPngSignature.size();
    for (std::string_view type; type != "IEND"; position += 12 + word_at(file_, position)) {
      type = check_chunk(position);
    }
  }

  /// A PNG file of the signature, header, palette, transparency and pixels.
  const std::string& file() const { return kept_; }

  int orientation() const { return orientation_; }  ///< by Exif, 1 to 8

  // From the header, unchecked.
  std::uint32_t width() const { return word_at(kept_, 16); }
  std::uint32_t height() const { return word_at(kept_, 20); }
  int depth() const { return static_cast<unsigned char>(kept_[24]); }
  std::uint64_t bits_per_pixel() const {
    const int colour_type = static_cast<unsigned char>(kept_[25]);
    const std::uint64_t channels =
        ((colour_type & PNG_COLOR_MASK_COLOR) != 0 && colour_type != PNG_COLOR_TYPE_PALETTE ? 3 : 1) +
        ((colour_type & PNG_COLOR_MASK_ALPHA) != 0 ? 1 : 0);
    return channels * static_cast<std::uint64_t>(depth());
  }

 private:
  [[noreturn]] void refuse(std::size_t position, const std::string& problem) const {
    throw UserError(at_byte(name_, position), problem, kWriteImageAgain);
  }

  /// Checks the chunk at this position and keeps it if needed. Returns its type.
  std::string_view check_chunk(std::size_t position) {
    const std::size_t rest = file_.size() - position;
    if (rest < 12 || word_at(file_, position) > rest - 12) {
      refuse(file_.size(), "expected more of the PNG image, found the end of the file");
    }
    const std::size_t length = word_at(file_, position);
    const std::string_view type = file_.substr(position + 4, 4);
    const auto* checked = reinterpret_cast<const Bytef*>(type.data());
    if (crc32_z(0, checked, 4 + length) != word_at(file_, position + 8 + length)) {
      refuse(position + 12 + length,
             fmt::format("expected an intact PNG image, found a wrong checksum in its chunk {}",
                         printable(type)));
    }
    check_type(position, type, length);
    if (type == "eXIf") orientation_ = exif_orientation(file_.substr(position + 8, length));
    if (std::isupper(type[0]) != 0 || type == "tRNS") kept_ += file_.substr(position, 12 + length);
    before_ = type;
    return type;
  }

  void check_type(std::size_t position, std::string_view type, std::size_t length) {
    const bool is_header = type == "IHDR" && length == 13;
    if (is_header != before_.empty()) {
      refuse(position,
             fmt::format("expected the chunk IHDR at the start of a PNG image and nowhere else, found {}",
                         printable(type)));
    }
    if (type == "IDAT" && std::exchange(has_pixels_, true) && before_ != "IDAT") {
      refuse(position, "expected consecutive IDAT chunks in a PNG image, found another chunk between them");
    }
    const bool is_known = type == "IHDR" || type == "PLTE" || type == "IDAT" || type == "IEND";
    const bool has_letters =
        std::all_of(type.begin(), type.end(), [](unsigned char c) { return std::isalpha(c); });
    if (!has_letters || (std::isupper(type[0]) != 0 && !is_known)) {
      refuse(position,
             fmt::format("expected an intact PNG image, found the unknown chunk {}", printable(type)));
    }
  }

  std::string_view file_;
  const std::string& name_;
  std::string kept_;
  std::string_view before_;  ///< the type of the previous chunk
  bool has_pixels_ = false;
  int orientation_ = 1;
};

void require_size(const PngChunks& chunks, std::size_t file_size, const std::string& name) {
  const std::uint64_t pixels = std::uint64_t{chunks.width()} * chunks.height();
  if (std::max(chunks.height(), chunks.width()) > kLargestPngSide || pixels > kMostPngPixels) {
    throw UserError(name,
                    fmt::format("expected at most {} pixels per side and {} in total, found {} × {}",
                                kLargestPngSide, kMostPngPixels, chunks.height(), chunks.width()),
                    "make the image smaller");
  }
  // zlib compresses by at most 1032 to 1 (zlib.net/zlib_tech.html). No memory is reserved for a header that
  // claims more than that.
  constexpr std::uint64_t kMostUnpacked = 1032;
  if (pixels * chunks.bits_per_pixel() / 8 > kMostUnpacked * file_size) {
    throw UserError(
        name,
        fmt::format("expected the data of {} × {} pixels, found a file of {} bytes, too few for them",
                    chunks.height(), chunks.width(), file_size),
        kWriteImageAgain);
  }
}

// ---- Pixels --------------------------------------------------------------------------------------------

/// Reads the pixels in one of libpng's RGBA formats.
template <typename Sample>
std::vector<Sample> read_rgba(const PngChunks& chunks, std::uint32_t format, const std::string& name) {
  std::vector<Sample> rgba(std::size_t{4} * chunks.width() * chunks.height());
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&png, chunks.file().data(), chunks.file().size()) != 0) {
    png.format = format;
    png_image_finish_read(&png, nullptr, rgba.data(), 0, nullptr);
  }
  if (PNG_IMAGE_FAILED(png)) {
    throw UserError(name,
                    fmt::format("expected an intact PNG image, found a broken one (libpng: {})", png.message),
                    kWriteImageAgain);
  }
  return rgba;
}

constexpr std::uint8_t kBlack = 0, kWhite = 255;

/// The luma of ITU-R BT.601, over a background. The weights are integers with the sum 2¹⁶, so grey does not
/// change.
std::uint8_t grey_of(const std::uint8_t* rgba, std::uint8_t background) {
  const std::uint32_t luma = (19595U * rgba[0] + 38470U * rgba[1] + 7471U * rgba[2] + 32768U) >> 16;
  const std::uint32_t alpha = rgba[3];
  return static_cast<std::uint8_t>((luma * alpha + background * (255U - alpha) + 127U) / 255U);
}

/// Of 16-bit samples, which libpng has multiplied by alpha.
std::uint8_t grey_of(const std::uint16_t* rgba, std::uint8_t background) {
  const std::uint32_t alpha = std::max<std::uint32_t>(rgba[3], 1);
  std::array<std::uint8_t, 4> bytes{0, 0, 0, static_cast<std::uint8_t>((rgba[3] + 128U) / 257U)};
  for (std::size_t i = 0; i < 3; ++i)
    bytes[i] = static_cast<std::uint8_t>((rgba[i] * 255U + alpha / 2) / alpha);
  return grey_of(bytes.data(), background);
}

template <typename Sample>
GreyImage grey_image_of(const PngChunks& chunks, std::uint32_t format, const std::string& name) {
  const std::vector<Sample> rgba = read_rgba<Sample>(chunks, format, name);
  GreyImage image{chunks.height(), chunks.width(), std::vector<std::uint8_t>(rgba.size() / 4)};
  const auto compose = [&](std::uint8_t background) {
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      image.pixels[i] = grey_of(&rgba[4 * i], background);
    }
  };
  const auto contrast = [&] {
    const auto [darkest, lightest] = std::minmax_element(image.pixels.begin(), image.pixels.end());
    return *lightest - *darkest;
  };
  compose(kWhite);
  constexpr int kVisible = 16;
  if (contrast() < kVisible) {
    compose(kBlack);
    if (contrast() < kVisible) compose(kWhite);
  }
  return turned(image, chunks.orientation());
}

}  // namespace

GreyImage decode_png(std::string_view file, const std::string& name) {
  if (!file.starts_with(kPngSignature)) {
    throw UserError(name, fmt::format("expected a PNG image, found {}", describe_image_start(file)),
                    "convert it to PNG");
  }
  const PngChunks chunks(file, name);
  require_size(chunks, file.size(), name);
  // 16-bit samples are read as such. When libpng converts interlaced ones to 8 bits, versions before 1.6.51
  // write out of bounds (CVE-2025-65018), and Debian's patched 1.6.39 returns wrong pixels.
  return chunks.depth() == 16 ? grey_image_of<std::uint16_t>(chunks, PNG_FORMAT_LINEAR_RGB_ALPHA, name)
                              : grey_image_of<std::uint8_t>(chunks, PNG_FORMAT_RGBA, name);
}

GreyImage read_png(const std::filesystem::path& path) {
  return decode_png(read_whole_file(path, kLargestPngFile), path.string());
}

namespace {

template <typename Image>
std::string encode(const Image& image, std::uint32_t format, const void* palette, std::uint32_t colours) {
  if (image.height < 1 || image.width < 1 || image.height > kLargestPngSide ||
      image.width > kLargestPngSide ||
      image.pixels.size() != static_cast<std::uint64_t>(image.height * image.width)) {
    throw std::invalid_argument("encode_png: expected an image of height × width pixels");
  }
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.height = static_cast<std::uint32_t>(image.height);
  png.width = static_cast<std::uint32_t>(image.width);
  png.format = format;
  png.colormap_entries = colours;

  std::string file(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = file.size();
  if (png_image_write_to_memory(&png, file.data(), &size, 0, image.pixels.data(), 0, palette) == 0) {
    throw std::bad_alloc();  // nothing else can fail
  }
  file.resize(size);
  return file;
}

}  // namespace

std::string encode_png(const GreyImage& image) { return encode(image, PNG_FORMAT_GRAY, nullptr, 0); }

std::string encode_png(const PaletteImage& image) {
  const auto colours = static_cast<std::uint32_t>(image.palette.size());
  const bool is_valid = colours > 0 && colours <= 256 &&
                        std::all_of(image.pixels.begin(), image.pixels.end(),
                                    [&](std::uint8_t pixel) { return pixel < colours; });
  if (!is_valid) {
    throw std::invalid_argument("encode_png: expected pixels that are indices of 1 to 256 colours");
  }
  return encode(image, PNG_FORMAT_RGBA_COLORMAP, image.palette.data(), colours);
}

void write_png(const std::filesystem::path& path, const GreyImage& image) {
  write_atomically(path, encode_png(image));
}

}  // namespace twingrad
