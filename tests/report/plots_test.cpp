#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "twingrad/report/bar_plot.h"
#include "twingrad/report/base64.h"
#include "twingrad/report/line_plot.h"
#include "twingrad/report/page.h"
#include "twingrad/report/plot_scale.h"
#include "twingrad/report/svg.h"

namespace twingrad::plots_test {

using namespace ::testing;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

PlotScale scale_with(const std::vector<double>& values, const PlotAxis& axis = {}) {
  PlotScale scale(axis, 0, 100, 5);
  for (const double value : values) {
    if (scale.shows(value)) {
      scale.include(value);
    }
  }
  scale.round_out();
  return scale;
}

TEST(EscapeMarkup, EscapesElementsAttributesAndControlCharacters) {
  EXPECT_EQ(escape_markup("<a href=\"x\">'&amp;</a>"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&lt;/a&gt;");
  EXPECT_EQ(escape_markup(std::string("a\0b\n\x7f", 5)), "a b  ");
  EXPECT_EQ(escape_markup("Größe · 中"), "Größe · 中");
  EXPECT_EQ(escape_markup("a\xff<"), "a\\xff&lt;");
}

TEST(Base64, MatchesTheExamplesOfRfc4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(PlotScale, HasOneTickForOneEpoch) {
  const PlotScale scale = scale_with({1}, {.label = "epoch", .counts = true});
  EXPECT_THAT(scale.ticks(), ElementsAre(1));
  EXPECT_DOUBLE_EQ(scale.pixel(1), 50);
}

TEST(PlotScale, CountsEndAtTheLastValueWithWholeTicks) {
  const PlotScale scale = scale_with({1, 3}, {.label = "epoch", .counts = true});
  EXPECT_THAT(scale.ticks(), ElementsAre(1, 2, 3));
  EXPECT_DOUBLE_EQ(scale.pixel(3), 100);
  EXPECT_EQ(scale_with({1, 10'000}, {.label = "epoch", .counts = true}).text(10'000), "10,000");
}

TEST(PlotScale, ShowsConstantValuesOfAnySize) {
  for (const double value : {0.0, 0.97, -3.0, 1e-9, 1e12, 1e300}) {
    const PlotScale scale = scale_with({value, value});
    EXPECT_GT(scale.pixel(value), 0) << value;
    EXPECT_LT(scale.pixel(value), 100) << value;
    EXPECT_GE(scale.ticks().size(), 2) << value;
    EXPECT_LE(scale.ticks().size(), 10) << value;
  }
}

TEST(PlotScale, OmitsZerosFromALogarithmicAxis) {
  const PlotScale scale =
      scale_with({0, -1, kNaN, kInfinity, 1e-7, 1e-5}, {.label = "", .logarithmic = true});
  EXPECT_FALSE(scale.shows(0));
  EXPECT_NEAR(scale.pixel(1e-7), 0, 1e-9);
  EXPECT_NEAR(scale.pixel(1e-5), 100, 1e-9);
  EXPECT_EQ(scale.ticks().size(), 3);
}

TEST(PlotScale, HasAtMostTenTicksOverManyPowersOfTen) {
  const PlotScale scale = scale_with({1e-300, 1e300}, {.label = "", .logarithmic = true});
  EXPECT_LE(scale.ticks().size(), 11);
  EXPECT_GE(scale.ticks().size(), 5);
}

TEST(Thinned, KeepsTheEndsAndTheExtremesOfEachPart) {
  std::vector<PlotPoint> points;
  for (int i = 0; i < 10'000; ++i) {
    points.push_back({static_cast<double>(i), i == 5000 ? 1e9 : i == 7000 ? -1e9 : std::sin(i)});
  }
  const std::vector<PlotPoint> kept = thinned(points, 200);
  EXPECT_LE(kept.size(), 200);
  EXPECT_GE(kept.size(), 150);
  EXPECT_EQ(kept.front().x, 0);
  EXPECT_EQ(kept.back().x, 9999);
  EXPECT_THAT(kept, Contains(Field(&PlotPoint::y, 1e9)));
  EXPECT_THAT(kept, Contains(Field(&PlotPoint::y, -1e9)));
  for (std::size_t i = 1; i < kept.size(); ++i) {
    EXPECT_LT(kept[i - 1].x, kept[i].x);
  }
}

TEST(Thinned, KeepsShortCurves) {
  EXPECT_EQ(thinned({}, 4).size(), 0);
  const std::vector<PlotPoint> four = {{1, 1}, {2, 2}, {3, 3}, {4, 4}};
  EXPECT_EQ(thinned(four, 4).size(), 4);
  EXPECT_EQ(thinned({{1, 1}, {2, 2}, {3, 9}, {4, 0}, {5, 5}}, 4).size(), 4);
}

LinePlot two_lines() {
  return {.title = "Loss \"<&",
          .subtitle = "",
          .x = {.label = "epoch", .counts = true},
          .y = {.label = "loss"},
          .lines = {{"", {{1, 0.5}, {2, kNaN}, {3, 0.25}}, Stroke::wide, 0, "<autograd>"},
                    {"train", {{1, 0.5}, {3, 0.25}}, Stroke::thin, 0, "manual train"}},
          .guides = {}};
}

TEST(LinePlotElement, HasANameAndItsValues) {
  const std::string svg = to_svg_element(two_lines());
  EXPECT_THAT(svg, AllOf(HasSubstr("role=\"img\" aria-label=\"Loss &quot;&lt;&amp;\""),
                         HasSubstr("class=\"curve wide line0\""), HasSubstr("data-name=\"&lt;autograd&gt;\""),
                         HasSubstr("data-x=\"1 3\" data-y=\"0.5 0.25\"")));
  EXPECT_THAT(svg, AllOf(Not(HasSubstr("<style")), Not(HasSubstr("nan")), HasSubstr(">train</text>")));
}

TEST(LinePlotElement, IsRefusedWithoutPoints) {
  LinePlot plot = two_lines();
  plot.y.logarithmic = true;
  plot.lines = {{"a", {{1, 0}, {2, -1}, {3, kInfinity}}}};
  EXPECT_FALSE(has_points(plot));
  EXPECT_THROW(to_svg_element(plot), std::invalid_argument);
  EXPECT_THAT(plot_figure(plot, "", "Nothing & more"), HasSubstr("Nothing & more"));
}

TEST(BarPlot, StacksTheParts) {
  const std::string svg =
      to_svg_element(BarPlot{"Time", "time (s)", {"forward", "backward"}, {{"a<b", {1, 3}}, {"c", {2, 0}}}});
  EXPECT_THAT(svg, AllOf(HasSubstr("aria-label=\"Time\""), HasSubstr(">a&lt;b</text>"),
                         HasSubstr(">forward<"), HasSubstr("data-name=\"backward\" data-value=\"3\"")));
}

TEST(BarPlot, RefusesValuesThatCannotBeDrawn) {
  for (const std::vector<double>& values :
       std::vector<std::vector<double>>{{}, {1}, {0, 0}, {1, -1}, {1, kNaN}, {1, kInfinity}}) {
    EXPECT_THROW(to_svg_element(BarPlot{"t", "s", {"a", "b"}, {{"x", values}}}), std::invalid_argument);
  }
  EXPECT_THROW(to_svg_element(BarPlot{"t", "s", {"a", "b"}, {}}), std::invalid_argument);
}

}  // namespace twingrad::plots_test
