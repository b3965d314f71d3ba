#include "twingrad/report/bar_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "twingrad/report/plot_scale.h"
#include "twingrad/report/svg.h"

namespace twingrad {
namespace {

constexpr double kBarWidth = 440;  // of the plot, in pixels
constexpr double kBarLeft = 78;
constexpr double kBarRight = 424;
constexpr double kBarTop = 44;
constexpr double kBarHeight = 36;
constexpr double kBarPitch = 54;

PlotScale scale_of(const BarPlot& plot) {
  PlotScale scale({plot.axis}, kBarLeft, kBarRight, 5);
  scale.include(0);
  for (const BarPlot::Bar& bar : plot.bars) {
    const bool is_valid = bar.values.size() == plot.parts.size() && plot.parts.size() <= kPlotColours &&
                          std::all_of(bar.values.begin(), bar.values.end(),
                                      [](double value) { return std::isfinite(value) && value >= 0; });
    const double sum = std::accumulate(bar.values.begin(), bar.values.end(), 0.0);
    if (!is_valid || sum <= 0) {
      throw std::invalid_argument("to_svg_element: expected bars with one value ≥ 0 per part");
    }
    scale.include(sum);
  }
  if (plot.bars.empty()) {
    throw std::invalid_argument("to_svg_element: expected a bar");
  }
  scale.round_out();
  return scale;
}

std::string legend(const BarPlot& plot) {
  std::string svg;
  double x = kBarLeft;
  for (std::size_t i = 0; i < plot.parts.size(); ++i) {
    svg += fmt::format(
        "<rect class=\"mark{}\" x=\"{}\" y=\"12\" width=\"13\" height=\"13\" rx=\"2\"/>"
        "<text x=\"{}\" y=\"23\">{}</text>\n",
        i, coordinate(x), coordinate(x + 19), escape_markup(plot.parts[i]));
    x += 34 + 8.0 * static_cast<double>(plot.parts[i].size());
  }
  return svg;
}

}  // namespace

std::string to_svg_element(const BarPlot& plot) {
  const PlotScale scale = scale_of(plot);
  const double bottom = kBarTop + kBarPitch * static_cast<double>(plot.bars.size());
  std::string svg = fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                                kBarWidth, bottom + 56, escape_markup(plot.title));
  svg += legend(plot);
  for (const double tick : scale.ticks()) {
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/>"
        "<text class=\"tick\" x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        scale.pixel(tick), kBarTop, bottom, bottom + 20, scale.text(tick));
  }
  double y = kBarTop + (kBarPitch - kBarHeight) / 2;
  for (const BarPlot::Bar& bar : plot.bars) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", kBarLeft - 10,
                       y + kBarHeight / 2 + 5, escape_markup(bar.label));
    double sum = 0;
    for (std::size_t i = 0; i < bar.values.size(); ++i) {
      const double from = scale.pixel(sum);
      sum += bar.values[i];
      svg += fmt::format(
          "<rect class=\"bar mark{}\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" "
          "data-name=\"{}\" data-value=\"{:.4g}\"/>\n",
          i, from, y, scale.pixel(sum) - from, kBarHeight, escape_markup(plot.parts[i]), bar.values[i]);
    }
    y += kBarPitch;
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (kBarLeft + kBarRight) / 2,
                     bottom + 46, escape_markup(plot.axis));
  return svg + "</svg>\n";
}

}  // namespace twingrad
