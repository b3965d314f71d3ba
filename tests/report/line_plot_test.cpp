#include "twingrad/report/line_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace twingrad::line_plot_test {

using namespace ::testing;

LinePlot plot_with(const std::vector<PlotLine>& lines, bool logarithmic = false) {
  return {.title = "Loss & error",
          .subtitle = "a < b",
          .x = {"time (s)", logarithmic},
          .y = {"loss", logarithmic},
          .lines = lines,
          .guides = {}};
}

TEST(LinePlot, HasLabelsAndColoursForLightAndDark) {
  const std::string svg = to_svg(plot_with({{"train", {{0, 1}, {1, 2}}}, {"test", {{0, 2}, {1, 3}}}}));
  EXPECT_THAT(svg, AllOf(HasSubstr("<svg xmlns="), HasSubstr("Loss &amp; error"), HasSubstr("a &lt; b"),
                         HasSubstr(">time (s)<"), HasSubstr(">train<"), HasSubstr(">test<"),
                         HasSubstr("prefers-color-scheme: dark")));
}

TEST(LinePlot, HasRoundLinearTicks) {
  const std::string svg = to_svg(plot_with({{"a", {{0, 0.12}, {9.7, 0.93}}}}));
  EXPECT_THAT(svg, AllOf(HasSubstr(">0.2</text>"), HasSubstr(">1</text>"), HasSubstr(">10</text>")));
}

TEST(LinePlot, HasPowersOfTenAsLogarithmicTicksAndOmitsValuesUpToZero) {
  const std::string svg = to_svg(plot_with({{"a", {{1e-3, 0}, {1e-2, 1e-9}, {1e-1, 1e-4}, {0, 1}}}}, true));
  EXPECT_THAT(svg, HasSubstr(">10<tspan dy=\"-6\" font-size=\"10\">−9</tspan>"));
  EXPECT_THAT(svg, AllOf(Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
}

TEST(LinePlot, OmitsPointsThatAreNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::string svg = to_svg(plot_with({{"a", {{0, 1}, {1, nan}, {2, infinity}, {3, 2}}}}));
  EXPECT_EQ(svg, to_svg(plot_with({{"a", {{0, 1}, {3, 2}}}})));
}

TEST(LinePlot, DoesNotExtendTheAxesForAGuide) {
  LinePlot plot = plot_with({{"a", {{1, 1}, {2, 2}}}});
  const std::string without = to_svg(plot);
  plot.guides = {{"bound", {1, 1}, {1e6, 1e6}}};
  const std::string with = to_svg(plot);
  EXPECT_THAT(with, AllOf(HasSubstr(">bound<"), Not(HasSubstr("e+"))));
  const std::string first_tick = without.substr(without.find("class=\"grid\""), 200);
  EXPECT_THAT(with, HasSubstr(first_tick));
}

TEST(LinePlot, DrawsAConstantLine) {
  EXPECT_THAT(to_svg(plot_with({{"a", {{1, 3}, {2, 3}}}})), Not(HasSubstr("nan")));
  EXPECT_THAT(to_svg(plot_with({{"a", {{1e-3, 1e-3}}}}, true)), Not(HasSubstr("nan")));
}

TEST(LinePlot, RefusesTooManyLinesAndNoLines) {
  EXPECT_THROW(to_svg(plot_with({})), std::invalid_argument);
  EXPECT_THROW(to_svg(plot_with({{"a", {}}})), std::invalid_argument);
  EXPECT_THROW(to_svg(plot_with(std::vector<PlotLine>(kMostPlotLines + 1, {"a", {{0, 1}, {1, 2}}}))),
               std::invalid_argument);
}

}  // namespace twingrad::line_plot_test
