#include "twingrad/report/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace twingrad {

std::string sweep_table(const Sweep& sweep) {
  std::string table = fmt::format("{}\n{:>10}  error of central differences, relative to the largest entry\n",
                                  sweep.name, "step");
  for (const auto& [step, error] : sweep.points) {
    const bool has_bar = std::isfinite(error) && error > 0;
    const int length = has_bar ? std::max(0, 18 + static_cast<int>(std::log10(error))) : 0;
    table += fmt::format("{:>10.1e}  {:<8.1e} {}\n", step, error,
                         std::string(2 * static_cast<std::size_t>(length), '*'));
  }
  return table;
}

LinePlot sweep_plot(const std::vector<Sweep>& sweeps) {
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  const double best = std::cbrt(kEpsilon);
  LinePlot plot = {
      .title = "Error of central differences for different step sizes",
      .subtitle =
          "Truncation dominates for large steps (h²), rounding for small ones (ε/h). The best step is "
          "near ∛ε = 6·10⁻⁶.",
      .x = {.label = "step size h (in units of the input)", .logarithmic = true},
      .y = {.label = "error, relative to the largest gradient entry", .logarithmic = true},
      .lines = {},
      .guides = {{"truncation h²", {best, best * best}, {0.1, 0.01}},
                 {"rounding ε/h", {1e-12, kEpsilon / 1e-12}, {best, kEpsilon / best}}}};
  for (const Sweep& sweep : sweeps) {
    PlotLine line{sweep.name, {}};
    for (const auto& [step, error] : sweep.points) {
      line.points.push_back({step, error});
    }
    plot.lines.push_back(std::move(line));
  }
  return plot;
}

}  // namespace twingrad
