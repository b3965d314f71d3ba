#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twingrad/io/grey_image.h"

namespace twingrad {

enum class Characters {
  ascii,   ///< . ' _ " : - = + * # % @
  blocks,  ///< " ░▒▓█▀▄", in UTF-8
};

/// The characters that the locale supports: blocks if the first non-empty variable of LC_ALL, LC_CTYPE and
/// LANG names UTF-8.
Characters characters_of_locale();

/// The image as lines of text of equal width for a terminal, light on dark. The cells of a terminal are twice
/// as high as wide, so each character shows two vertically adjacent pixels: the one whose halves match them
/// best. 28 × 28 pixels become 14 lines of 28 characters. An image wider than most_columns is scaled down to
/// that width with fixed aspect ratio.
std::vector<std::string> draw_in_characters(const GreyImage& image, Characters characters,
                                            std::int64_t most_columns = 56);

}  // namespace twingrad
