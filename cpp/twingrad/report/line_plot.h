#pragma once

#include <string>
#include <vector>

namespace twingrad {

/// One axis of a plot. On a logarithmic one, values that are not positive are left out.
struct PlotAxis {
  std::string label;  ///< with its unit: "time (s)"
  bool logarithmic = false;
};

struct PlotPoint {
  double x = 0;
  double y = 0;
};

/// A curve; its label stands at its right end.
struct PlotLine {
  std::string label;
  std::vector<PlotPoint> points;
};

/// A dashed line in grey over the curves with its name along it: a bound, a power law. It does not stretch
/// the axes.
struct PlotGuide {
  std::string label;
  PlotPoint from, to;
};

/// A plot of some curves over one pair of axes.
struct LinePlot {
  std::string title;
  std::string subtitle;
  PlotAxis x, y;
  std::vector<PlotLine> lines;
  std::vector<PlotGuide> guides;
};

/// More curves than this have no colours of their own.
constexpr std::size_t kMostPlotLines = 8;

/// The plot as an SVG document that stands alone, 960 × 600: light or dark as the reader's screen
/// (prefers-color-scheme), no script, no font of its own. Points that are not finite are left out.
/// Throws std::invalid_argument for more than kMostPlotLines lines, or if no line has a point.
std::string to_svg(const LinePlot& plot);

}  // namespace twingrad
