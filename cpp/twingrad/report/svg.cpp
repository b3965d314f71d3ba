#include "twingrad/report/svg.h"

#include <fmt/format.h>

#include <cmath>

#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// The colours as CSS, without custom properties, which several SVG viewers do not support.
std::string colour_rules(const Palette& palette) {
  std::string css = fmt::format(
      "svg text {{ fill: {1}; }}\nsvg .subtitle, svg .tick, svg .guide-label {{ fill: {2}; }}\n"
      ".page {{ fill: {0}; }}\n.grid {{ stroke: {3}; }}\n.frame {{ stroke: {4}; }}\n"
      ".guide {{ stroke: {2}; }}\n.halo {{ stroke: {0}; }}\n",
      palette.page, palette.ink, palette.faint, palette.grid, palette.frame);
  for (std::size_t i = 0; i < palette.lines.size(); ++i) {
    css +=
        fmt::format(".line{0} {{ stroke: {1}; }}\nsvg .name{0} {{ fill: {1}; }}\n.mark{0} {{ fill: {1}; }}\n",
                    i, palette.lines[i]);
  }
  return css;
}

}  // namespace

const Palette kLightPalette = {
    "#ffffff", "#1f2328",
    "#59636e", "#e4e7eb",
    "#b1b8c0", {"#0072b2", "#c44e00", "#00805e", "#a8458a", "#8a6a00", "#1b78a8", "#7a4fd0", "#444b54"}};
const Palette kDarkPalette = {
    "#0d1117", "#e6edf3",
    "#9aa4b0", "#21262d",
    "#4d5661", {"#4fb3ee", "#ff9a52", "#35c99b", "#e58cc8", "#e0bf4a", "#9bd7f5", "#b79bff", "#c3cbd4"}};

std::string plot_style() {
  return "svg text { font: 14px system-ui, sans-serif; }\nsvg .title { font-size: 20px; font-weight: 600; }\n"
         "svg .tick, svg .guide-label { font-size: 13px; }\n"
         ".frame, .guide, .curve, .lead { fill: none; }\n"
         ".guide { stroke-width: 1.6; stroke-dasharray: 6 5; }\n"
         ".halo { stroke-width: 5; stroke-linejoin: round; paint-order: stroke; }\n"
         ".curve { stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }\n"
         ".curve.wide { stroke-width: 7; stroke-opacity: .3; }\n.mark.wide { fill-opacity: .3; }\n"
         ".curve.dashed { stroke-dasharray: 6 5; stroke-linecap: butt; }\n"
         ".lead { stroke-opacity: .55; }\n" +
         colour_rules(kLightPalette) + "@media (prefers-color-scheme: dark) {\n" +
         colour_rules(kDarkPalette) + "}\n";
}

std::string escape_markup(std::string_view text) {
  std::string safe;
  for (const char c : is_utf8(text) ? std::string(text) : printable(text)) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += (c >= 0 && c < ' ') || c == '\x7f' ? ' ' : c;
    }
  }
  return safe;
}

std::string coordinate(double value) {
  const double rounded = std::round(value * 10) / 10;
  return fmt::format("{}", rounded == 0 ? 0 : rounded);
}

}  // namespace twingrad
