#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/io/grey_image.h"

namespace twingrad {

/// Reads a PNG image (W3C, Portable Network Graphics, third edition) of any colour type and bit depth,
/// interlaced or not, as grey:
///
///   grey = (0.299 R + 0.587 G + 0.114 B) α + 255 (1 − α)
///
/// The weights are the luma of ITU-R BT.601, applied to the stored values, so grey pixels do not change.
/// 16-bit samples are rounded to 8 bits. α, by default 1, composes the image over white, or over black if
/// white hides all ink: if the image has less than 16 levels of contrast over white and 16 or more over
/// black. The image is turned as the orientation in its eXIf chunk says (CIPA DC-008, Exif 2.32, tag 274).
/// Gamma, colour profiles and all other metadata are ignored. Of an animation, the first picture is read.
///
/// Throws UserError naming the file, and where known the byte offset, for other formats, damaged images (a
/// wrong checksum, truncated data), and more than 65,535 pixels per side or 100,000,000 in total. Bytes after
/// the end of the image are ignored. Memory grows with the size of the file, not with the sizes in its
/// header.
GreyImage read_png(const std::filesystem::path& path);

/// Decodes an image from memory; `name` replaces the file name in messages.
GreyImage decode_png(std::string_view file, const std::string& name);

/// An image of at most 256 colours.
struct PaletteImage {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;                  ///< [height, width]: indices of colours
  std::vector<std::array<std::uint8_t, 4>> palette;  ///< red, green, blue, alpha
};

/// Encodes an image as PNG in memory. Throws std::invalid_argument unless it has height × width > 0 pixels.
std::string encode_png(const GreyImage& image);
std::string encode_png(const PaletteImage& image);

/// Writes the image as 8-bit grey PNG, atomically; read_png returns the same image. Throws UserError as
/// write_atomically does, and std::invalid_argument unless the image has height × width > 0 pixels.
void write_png(const std::filesystem::path& path, const GreyImage& image);

}  // namespace twingrad
