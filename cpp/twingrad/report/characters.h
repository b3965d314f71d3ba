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

/// What the environment's LC_ALL, LC_CTYPE or LANG, the first that is set and not empty, can show: blocks if
/// it names UTF-8.
Characters characters_of_locale();

/// The image as lines of text of equal width for a terminal, light for light: a character shows a pixel and
/// the one below it, as a terminal's cells are twice as high as they are wide. 28 × 28 pixels are 14 lines of
/// 28 characters.
///
/// Of all characters, each is the one whose upper and lower half are nearest to the two pixels. An image of
/// more than most_columns pixels in a row is scaled down to that, with its aspect ratio kept.
std::vector<std::string> draw_in_characters(const GreyImage& image, Characters characters,
                                            std::int64_t most_columns = 56);

}  // namespace twingrad
