#pragma once

#include <array>
#include <string>
#include <string_view>

namespace twingrad {

/// The number of colours of curves and bars.
constexpr std::size_t kPlotColours = 8;

/// The colours of plots and pages in one theme. The contrast of all texts with the page is at least 4.5 : 1
/// (WCAG 2.1, level AA). For colour-blind readers, the colours of lines differ in lightness as well as in
/// hue.
struct Palette {
  const char *page, *ink, *faint, *grid, *frame;
  std::array<const char*, kPlotColours> lines;
};

extern const Palette kLightPalette, kDarkPalette;

/// The rules of plots for a style element: fonts, strokes, and colours for light and dark.
std::string plot_style();

/// Text for the content or an attribute of an element of HTML or SVG: & < > " and ' become references,
/// control characters become spaces, and bytes that are not UTF-8 are escaped as in printable().
std::string escape_markup(std::string_view text);

/// A number of a coordinate, with one decimal at most: "12.5", "12".
std::string coordinate(double value);

}  // namespace twingrad
