#pragma once

#include <string>
#include <vector>

namespace twingrad {

/// An axis of a plot. A logarithmic axis omits values ≤ 0.
struct PlotAxis {
  std::string label;  ///< with its unit: "time (s)"
  bool logarithmic = false;
};

struct PlotPoint {
  double x = 0;
  double y = 0;
};

/// A curve, labelled at its right end.
struct PlotLine {
  std::string label;
  std::vector<PlotPoint> points;
};

/// A dashed grey line with a label along it, such as a bound or a power law. It does not extend the axes.
struct PlotGuide {
  std::string label;
  PlotPoint from, to;
};

/// A plot of curves over one pair of axes.
struct LinePlot {
  std::string title;
  std::string subtitle;
  PlotAxis x, y;
  std::vector<PlotLine> lines;
  std::vector<PlotGuide> guides;
};

/// The number of available colours.
constexpr std::size_t kMostPlotLines = 8;

/// The plot as a self-contained SVG document of 960 × 600 pixels, without scripts or fonts. It is light or
/// dark according to prefers-color-scheme. Non-finite points are omitted. Throws std::invalid_argument for
/// more than kMostPlotLines lines, or if no line has a point.
std::string to_svg(const LinePlot& plot);

}  // namespace twingrad
