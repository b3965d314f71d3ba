#include "twingrad/report/plot_scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "twingrad/runtime/text.h"

namespace twingrad {

PlotScale::PlotScale(const PlotAxis& axis, double from, double to, int divisions)
    : axis_(axis), from_(from), to_(to), divisions_(divisions) {}

double PlotScale::measure(double value) const { return axis_.logarithmic ? std::log10(value) : value; }

bool PlotScale::shows(double value) const {
  return std::isfinite(value) && (!axis_.logarithmic || value > 0);
}

void PlotScale::include(double value) {
  low_ = std::min(low_, measure(value));
  high_ = std::max(high_, measure(value));
}

void PlotScale::round_out() {
  // The smallest range that doubles can divide.
  const double least = std::max(std::numeric_limits<double>::min(), 1e-12 * std::abs(high_));
  if (high_ - low_ < (axis_.logarithmic ? 1 : least)) {
    const double margin = axis_.logarithmic || axis_.counts ? 0.5 : std::max(std::abs(high_) / 2, 0.5);
    low_ -= margin;
    high_ += margin;
  }
  const double raw = high_ / divisions_ - low_ / divisions_;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  step_ = power * (raw / power > 5 ? 10 : raw / power > 2 ? 5 : raw / power > 1 ? 2 : 1);
  if (axis_.logarithmic) {
    step_ = std::ceil((high_ - low_) / 9);
  }
  if (axis_.counts) {
    step_ = std::max(step_, 1.0);
    return;
  }
  const double end = axis_.logarithmic ? 1 : step_;
  low_ = std::floor(low_ / end + 1e-9) * end;
  high_ = std::ceil(high_ / end - 1e-9) * end;
}

double PlotScale::pixel(double value) const {
  return from_ + (measure(value) - low_) / (high_ - low_) * (to_ - from_);
}

std::vector<double> PlotScale::ticks() const {
  std::vector<double> values;
  const double first = std::ceil(low_ / step_ - 1e-9) * step_;
  for (int i = 0; first + i * step_ <= high_ + step_ * 1e-9; ++i) {
    const double tick = first + i * step_;
    values.push_back(axis_.logarithmic ? std::pow(10, std::round(tick)) : tick);
  }
  return values;
}

std::string PlotScale::text(double tick) const {
  if (axis_.logarithmic) {
    const auto exponent = static_cast<int>(std::lround(std::log10(tick)));
    return fmt::format("10<tspan dy=\"-6\" font-size=\"10\">{}{}</tspan>", exponent < 0 ? "−" : "",
                       std::abs(exponent));
  }
  if (std::abs(tick) < step_ * 1e-9) {
    return "0";
  }
  const bool is_whole = tick == std::round(tick) && std::abs(tick) < 1e9;
  return is_whole ? with_separators(std::llround(tick)) : fmt::format("{:.6g}", tick);
}

}  // namespace twingrad
