#include "twingrad/io/png.h"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <vector>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/whole_file.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr const char* kWriteAgain = "write it again with the program that made it";

constexpr std::uint64_t kLargestFile = std::uint64_t{1}
                                       << 30;  // 100,000,000 pixels of 16-bit RGBA are 0.8 GB
constexpr std::uint32_t kLargestSide = 65535;
constexpr std::uint64_t kMostPixels = 100'000'000;
constexpr std::size_t kChannels = 4;  // whatever the file holds, rows come as 8-bit RGBA

// ---- libpng --------------------------------------------------------------------------------------------

/// What the callbacks of libpng reach: the file, and how reading it failed.
struct Progress {
  Bytes file;
  std::size_t position = 0;
  bool is_cut_off = false;
  std::array<char, 100> problem{};
};

[[noreturn]] void note_and_leave(png_structp png, png_const_charp message) {
  auto& problem = static_cast<Progress*>(png_get_error_ptr(png))->problem;
  std::snprintf(problem.data(), problem.size(), "%s", message);
  png_longjmp(png, 1);
}

void pass_over_warning(png_structp /*png*/, png_const_charp /*message*/) {}

void give_bytes(png_structp png, png_bytep destination, std::size_t count) {
  auto* progress = static_cast<Progress*>(png_get_io_ptr(png));
  if (count > progress->file.size() - progress->position) {
    progress->is_cut_off = true;
    png_error(png, "the file is cut off");
  }
  std::memcpy(destination, progress->file.data() + progress->position, count);
  progress->position += count;
}

/// Calls `work`, in which libpng is called, and returns whether libpng got to its end. This is the one place
/// that libpng's errors, longjmps, come back to: no object between here and libpng may have a destructor, as
/// it would not run.
template <typename Work>
bool succeeds(png_structp png, Work work) {
  static_assert(std::is_trivially_destructible_v<Work>);
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  work();
  return true;
}

struct Header {
  std::uint32_t width = 0, height = 0;
  std::uint32_t bits_per_pixel = 0;
  bool is_interlaced = false;
};

/// libpng's reading of one image: the header first, then the rows.
class Decoder {
 public:
  explicit Decoder(Bytes file) : progress_{.file = file} {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &progress_, note_and_leave, pass_over_warning);
    info_ = png_ != nullptr ? png_create_info_struct(png_) : nullptr;
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
    png_set_read_fn(png_, &progress_, give_bytes);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

  /// Reads what stands before the pixels. False if that is broken.
  bool read_header(Header& header) {
    return succeeds(png_, [&] {
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // require_size says more about it
      png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
      // Nothing is unpacked but pixels, palette and transparency: no texts, no profiles.
      png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
      png_read_info(png_, info_);
      header.width = png_get_image_width(png_, info_);
      header.height = png_get_image_height(png_, info_);
      header.bits_per_pixel = std::uint32_t{png_get_channels(png_, info_)} * png_get_bit_depth(png_, info_);
      header.is_interlaced = png_get_interlace_type(png_, info_) != PNG_INTERLACE_NONE;
    });
  }

  /// Reads all rows, one after the other into `row` (of kChannels × width bytes), and the end of the image.
  /// An interlaced image comes as seven images, each of every n-th pixel of every m-th row. consume(y, x,
  /// step) is told where the pixels of the row belong: to (y, x), (y, x + step), … False if the file is
  /// broken.
  template <typename Consume>
  bool read_rows(const Header& header, std::uint8_t* row, const Consume& consume) {
    return succeeds(png_, [&] {
      request_rgba(header.width);
      if (header.is_interlaced) {
        read_passes(header, row, consume);
      } else {
        for (std::uint32_t y = 0; y < header.height; ++y) read_row(row, consume, y, 0, 1);
      }
      png_read_end(png_, nullptr);
    });
  }

  const Progress& progress() const { return progress_; }

 private:
  void request_rgba(std::uint32_t width) {
    png_set_expand(png_);  // a palette, fewer than 8 bits, one transparent colour
    png_set_scale_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_add_alpha(png_, 0xff, PNG_FILLER_AFTER);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != kChannels * width) png_error(png_, "the rows are not RGBA");
  }

  template <typename Consume>
  void read_row(std::uint8_t* row, const Consume& consume, std::size_t y, std::size_t x, std::size_t step) {
    png_read_row(png_, row, nullptr);
    consume(y, x, step);
  }

  template <typename Consume>
  void read_passes(const Header& header, std::uint8_t* row, const Consume& consume) {
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; ++pass) {
      if (PNG_PASS_COLS(header.width, pass) == 0) continue;  // such a pass has no rows either
      for (std::uint32_t i = 0; i < PNG_PASS_ROWS(header.height, pass); ++i) {
        read_row(row, consume, PNG_ROW_FROM_PASS_ROW(i, pass), PNG_PASS_START_COL(pass),
                 PNG_PASS_COL_OFFSET(pass));
      }
    }
  }

  Progress progress_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

// ---- What is refused -----------------------------------------------------------------------------------

/// Recognizes what is often given in the place of a PNG image.
std::string_view describe_start(std::string_view start) {
  struct Format {
    std::string_view start, description;
  };
  constexpr std::array<Format, 9> formats{{
      {"\xff\xd8\xff", "a JPEG image"},
      {"GIF8", "a GIF image"},
      {"BM", "a BMP image"},
      {"RIFF", "a WebP image or another RIFF file"},
      {"II*", "a TIFF image"},
      {"MM", "a TIFF image"},
      {"%PDF", "a PDF document"},
      {"<", "an SVG or HTML document"},
      {std::string_view("\0\0\x08", 3), "an IDX file"},
  }};
  const auto* format = std::find_if(formats.begin(), formats.end(),
                                    [&](const Format& known) { return start.starts_with(known.start); });
  return format == formats.end() ? "another file" : format->description;
}

void require_signature(Bytes file, const std::string& name) {
  constexpr std::array<std::uint8_t, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const Bytes start = file.first(std::min(file.size(), signature.size()));
  if (std::equal(start.begin(), start.end(), signature.begin(), signature.end())) return;
  throw UserError(
      name,
      fmt::format("expected a PNG image, found {}",
                  file.empty() ? "an empty file" : describe_start(std::string(start.begin(), start.end()))),
      "give a PNG image");
}

void require_size(const Header& header, std::size_t file_size, const std::string& name) {
  const std::uint64_t pixels = std::uint64_t{header.width} * header.height;
  if (std::max(header.height, header.width) > kLargestSide || pixels > kMostPixels) {
    throw UserError(name,
                    fmt::format("expected at most {} pixels a side and {} in all, found {} × {}",
                                kLargestSide, kMostPixels, header.height, header.width),
                    "make the image smaller");
  }
  // No stream of zlib unpacks to more than 1032 times its size (zlib.net/zlib_tech.html). What a header
  // claims beyond that is not set aside.
  constexpr std::uint64_t kMostUnpacked = 1032;
  const std::uint64_t bytes = pixels * header.bits_per_pixel / 8;
  if (bytes > kMostUnpacked * file_size) {
    throw UserError(
        name,
        fmt::format("expected the data of {} × {} pixels, found a file of {} bytes, too few for them",
                    header.height, header.width, file_size),
        kWriteAgain);
  }
}

[[noreturn]] void refuse(const Progress& progress, const std::string& name) {
  if (progress.is_cut_off) {
    throw UserError(fmt::format("{}: byte {}", name, progress.file.size()),
                    "expected more of the PNG image, found the end of the file", kWriteAgain);
  }
  throw UserError(
      fmt::format("{}: byte {}", name, progress.position),
      fmt::format("expected an intact PNG image, found a broken one (libpng: {})", progress.problem.data()),
      kWriteAgain);
}

// ---- Pixels --------------------------------------------------------------------------------------------

/// The luma of ITU-R BT.601, over white. The weights are whole numbers whose sum is 2¹⁶: grey stays as it is.
std::uint8_t grey_of(const std::uint8_t* rgba) {
  const std::uint32_t luma = (19595U * rgba[0] + 38470U * rgba[1] + 7471U * rgba[2] + 32768U) >> 16;
  const std::uint32_t alpha = rgba[3];
  return static_cast<std::uint8_t>((luma * alpha + 255U * (255U - alpha) + 127U) / 255U);
}

}  // namespace

GreyImage decode_png(Bytes file, const std::string& name) {
  require_signature(file, name);
  Decoder decoder(file);
  Header header;
  if (!decoder.read_header(header)) refuse(decoder.progress(), name);
  require_size(header, file.size(), name);

  const std::size_t width = header.width;
  GreyImage image{header.height, header.width, std::vector<std::uint8_t>(header.height * width)};
  std::vector<std::uint8_t> row(kChannels * width);
  const auto take_row = [&](std::size_t y, std::size_t first, std::size_t step) {
    const std::uint8_t* rgba = row.data();
    for (std::size_t x = first; x < width; x += step, rgba += kChannels) {
      image.pixels[y * width + x] = grey_of(rgba);
    }
  };
  if (!decoder.read_rows(header, row.data(), take_row)) refuse(decoder.progress(), name);
  return image;
}

GreyImage read_png(const std::filesystem::path& path) {
  const std::string file = read_whole_file(path, kLargestFile);
  return decode_png({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()}, path.string());
}

void write_png(const std::filesystem::path& path, const GreyImage& image) {
  if (image.height < 1 || image.width < 1 || image.height > kLargestSide || image.width > kLargestSide ||
      image.pixels.size() != static_cast<std::uint64_t>(image.height * image.width)) {
    throw std::invalid_argument("write_png: expected an image of height × width pixels");
  }
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.height = static_cast<std::uint32_t>(image.height);
  png.width = static_cast<std::uint32_t>(image.width);
  png.format = PNG_FORMAT_GRAY;

  std::string file(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = file.size();
  if (png_image_write_to_memory(&png, file.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) {
    throw std::bad_alloc();  // nothing else is left that can fail
  }
  file.resize(size);
  write_atomically(path, file);
}

}  // namespace twingrad
