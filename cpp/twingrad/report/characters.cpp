#include "twingrad/report/characters.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <string_view>

#include "twingrad/data/resize.h"

namespace twingrad {
namespace {

/// A character and the brightness of the two halves of its cell, from 0 to 1.
struct Glyph {
  std::string_view text;
  double upper, lower;
};

constexpr std::array<Glyph, 7> kBlocks{{
    {" ", 0, 0},
    {"░", 0.25, 0.25},
    {"▒", 0.5, 0.5},
    {"▓", 0.75, 0.75},
    {"█", 1, 1},
    {"▀", 1, 0},
    {"▄", 0, 1},
}};

// Chosen by eye: with measured brightness, no character would be nearly white, and letters would dominate.
constexpr std::array<Glyph, 13> kAscii{{
    {" ", 0, 0},
    {".", 0, 0.3},
    {"_", 0, 0.8},
    {"'", 0.3, 0},
    {"\"", 0.8, 0},
    {":", 0.2, 0.2},
    {"-", 0.3, 0.3},
    {"=", 0.4, 0.4},
    {"+", 0.5, 0.5},
    {"*", 0.6, 0.6},
    {"#", 0.75, 0.75},
    {"%", 0.87, 0.87},
    {"@", 1, 1},
}};

std::string_view nearest(std::span<const Glyph> glyphs, double upper, double lower) {
  const auto distance = [&](const Glyph& glyph) {
    const double above = glyph.upper - upper, below = glyph.lower - lower;
    return above * above + below * below;
  };
  return std::min_element(glyphs.begin(), glyphs.end(),
                          [&](const Glyph& a, const Glyph& b) { return distance(a) < distance(b); })
      ->text;
}

GreyImage narrowed(const GreyImage& image, std::int64_t most_columns) {
  if (image.width <= most_columns) return image;
  const std::int64_t height = (image.height * most_columns + image.width / 2) / image.width;
  return data::resize(image, std::max<std::int64_t>(1, height), most_columns);
}

}  // namespace

Characters characters_of_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view locale(value);
    const auto names = [&](std::string_view encoding) { return locale.find(encoding) != locale.npos; };
    return names("UTF-8") || names("utf8") ? Characters::blocks : Characters::ascii;
  }
  return Characters::ascii;
}

std::vector<std::string> draw_in_characters(const GreyImage& image, Characters characters,
                                            std::int64_t most_columns) {
  const GreyImage shown = narrowed(image, most_columns);
  const std::span<const Glyph> glyphs =
      characters == Characters::ascii ? std::span<const Glyph>(kAscii) : std::span<const Glyph>(kBlocks);
  const auto light = [&](std::int64_t y, std::int64_t x) {  // black below the image
    return y < shown.height ? shown.pixels[static_cast<std::size_t>(y * shown.width + x)] / 255.0 : 0;
  };
  std::vector<std::string> lines;
  for (std::int64_t y = 0; y < shown.height; y += 2) {
    std::string& line = lines.emplace_back();
    for (std::int64_t x = 0; x < shown.width; ++x) line += nearest(glyphs, light(y, x), light(y + 1, x));
  }
  return lines;
}

}  // namespace twingrad
