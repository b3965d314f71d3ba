#pragma once

#include <limits>
#include <string>
#include <vector>

namespace twingrad {

/// An axis of a plot. A logarithmic axis omits values ≤ 0.
struct PlotAxis {
  std::string label;  ///< with its unit: "time (s)"
  bool logarithmic = false;
  bool counts = false;  ///< whole numbers, such as epochs: the axis ends at the last one
};

/// The range of an axis and its position on the page.
class PlotScale {
 public:
  /// from, to: the pixels of the smallest and the largest value. divisions: the approximate number of parts
  /// between labelled values.
  PlotScale(const PlotAxis& axis, double from, double to, int divisions);

  bool shows(double value) const;
  void include(double value);

  /// Extends the range to labelled values, after the last include(): powers of ten, or multiples of a step
  /// that is 1, 2 or 5 times a power of ten. An axis of counts is not extended.
  void round_out();

  double pixel(double value) const;

  /// The labelled values.
  std::vector<double> ticks() const;

  /// A label as SVG text: 10⁻⁶, 0.25 or 1,000.
  std::string text(double tick) const;

 private:
  double measure(double value) const;

  PlotAxis axis_;
  double from_, to_;
  int divisions_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
  double step_ = 1;
};

}  // namespace twingrad
