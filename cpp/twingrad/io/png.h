#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "twingrad/io/grey_image.h"

namespace twingrad {

/// Reads a PNG image (W3C, Portable Network Graphics, third edition) of any colour type and bit depth,
/// interlaced or not, as grey:
///
///   grey = (0.299 R + 0.587 G + 0.114 B) α + 255 (1 − α)
///
/// The weights are the luma of ITU-R BT.601 over the values as they are stored, so that grey stays as it is,
/// 16 bits are rounded to 8; α, by default 1, lays the image over white. A stated gamma, a colour profile and
/// all else that a file may hold beside the pixels is passed over. Of an animation this is the first picture.
///
/// Throws UserError naming the file and the byte offset for anything that is no intact PNG image: another
/// signature, a wrong checksum, data that is cut off; and for one of more than 65,535 pixels a side or
/// 100,000,000 in all. What stands behind the image's end is passed over. Memory grows with the bytes that
/// are really there, never with what a header claims.
GreyImage read_png(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in messages.
GreyImage decode_png(std::span<const std::uint8_t> file, const std::string& name);

/// Writes the image as PNG, 8 bits of grey, whole or not at all: read_png gives the same image. Throws
/// UserError as write_atomically does, and std::invalid_argument unless the image has height × width > 0
/// pixels.
void write_png(const std::filesystem::path& path, const GreyImage& image);

}  // namespace twingrad
