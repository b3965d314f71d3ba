#pragma once

#include <string>
#include <vector>

#include "twingrad/catalogue/check_result.h"
#include "twingrad/report/line_plot.h"

namespace twingrad {

/// The error of central differences of one function over a range of step sizes.
struct Sweep {
  std::string name;
  std::vector<catalogue::SweepPoint> points;
};

/// A table of step sizes and errors with a bar chart.
std::string sweep_table(const Sweep& sweep);

/// A plot of the sweeps with the two bounds, truncation and rounding.
LinePlot sweep_plot(const std::vector<Sweep>& sweeps);

}  // namespace twingrad
