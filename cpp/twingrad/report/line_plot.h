#pragma once

#include <string>
#include <vector>

#include "twingrad/report/plot_scale.h"
#include "twingrad/report/svg.h"

namespace twingrad {

struct PlotPoint {
  double x = 0;
  double y = 0;
};

/// How a curve is drawn. A thin curve in the middle of a wide one shows that the two are equal.
enum class Stroke { thin, wide, dashed };

/// A curve, labelled at its right end.
struct PlotLine {
  std::string label;  ///< empty: none
  std::vector<PlotPoint> points;
  Stroke stroke = Stroke::thin;
  int colour = -1;     ///< 0 … kPlotColours − 1; −1: the index of the line
  std::string name{};  ///< shown with a value under the pointer; empty: the label
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

/// The maximum number of lines.
constexpr std::size_t kMostPlotLines = kPlotColours;

/// The plot as a self-contained SVG document of 960 × 600 pixels, without scripts or fonts. It is light or
/// dark according to prefers-color-scheme. Non-finite points are omitted. Throws std::invalid_argument for
/// more than kMostPlotLines lines, or if no line has a point.
std::string to_svg(const LinePlot& plot);

/// The plot as an element of an HTML page with plot_style(), as wide as its container, without title and
/// subtitle, which the page shows. Each curve holds its values in the attributes data-x and data-y, for a
/// script.
std::string to_svg_element(const LinePlot& plot);

/// Whether a line has a point to show; otherwise the two functions throw.
bool has_points(const LinePlot& plot);

}  // namespace twingrad
