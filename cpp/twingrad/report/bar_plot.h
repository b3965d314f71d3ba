#pragma once

#include <string>
#include <vector>

namespace twingrad {

/// Horizontal bars of parts of different colours.
struct BarPlot {
  struct Bar {
    std::string label;
    std::vector<double> values;  ///< one for each part, ≥ 0
  };
  std::string title;
  std::string axis;                ///< the label of the axis with its unit
  std::vector<std::string> parts;  ///< at most kPlotColours
  std::vector<Bar> bars;
};

/// The plot as an element of an HTML page with plot_style(), with a legend, as wide as its container. Throws
/// std::invalid_argument unless a value is positive, all values are finite, and each bar has one value per
/// part.
std::string to_svg_element(const BarPlot& plot);

}  // namespace twingrad
