#include "twingrad/report/line_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

namespace twingrad {
namespace {

// The page and the frame around the curves, in pixels. The curves are labelled to the right of the frame.
constexpr double kWidth = 960;
constexpr double kHeight = 600;
constexpr double kLeft = 86;
constexpr double kRight = 742;
constexpr double kTop = 84;
constexpr double kBottom = 528;
constexpr double kLabelHeight = 19;

struct Palette {
  const char *page, *ink, *faint, *grid, *frame;
  std::array<const char*, kMostPlotLines> lines;  ///< differ in lightness as well as in hue
};

constexpr Palette kLight = {
    "#ffffff", "#1f2328",
    "#59636e", "#e4e7eb",
    "#b1b8c0", {"#0072b2", "#c44e00", "#00805e", "#a8458a", "#8a6a00", "#2a91c8", "#7a4fd0", "#444b54"}};
constexpr Palette kDark = {
    "#0d1117", "#e6edf3",
    "#9aa4b0", "#21262d",
    "#4d5661", {"#4fb3ee", "#ff9a52", "#35c99b", "#e58cc8", "#e0bf4a", "#9bd7f5", "#b79bff", "#c3cbd4"}};

/// The colours as CSS, without custom properties, which several SVG viewers do not support.
std::string colours(const Palette& palette) {
  std::string css = fmt::format(
      "text {{ fill: {1}; }}\n.subtitle, .tick, .guide-label {{ fill: {2}; }}\n.page {{ fill: {0}; }}\n"
      ".grid {{ stroke: {3}; }}\n.frame {{ stroke: {4}; }}\n.guide {{ stroke: {2}; }}\n"
      ".halo {{ stroke: {0}; }}\n",
      palette.page, palette.ink, palette.faint, palette.grid, palette.frame);
  for (std::size_t i = 0; i < palette.lines.size(); ++i) {
    css += fmt::format(".line{0} {{ stroke: {1}; }}\n.name{0} {{ fill: {1}; }}\n", i, palette.lines[i]);
  }
  return css;
}

std::string style() {
  return "<style>\ntext { font: 14px system-ui, sans-serif; }\n"
         ".title { font-size: 20px; font-weight: 600; }\n.tick, .guide-label { font-size: 13px; }\n"
         ".frame, .guide, .curve, .lead { fill: none; }\n.guide { stroke-width: 1.6; stroke-dasharray: 6 5; "
         "}\n"
         ".halo { stroke-width: 5; stroke-linejoin: round; paint-order: stroke; }\n"
         ".curve { stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }\n"
         ".lead { stroke-opacity: .55; }\n" +
         colours(kLight) + "@media (prefers-color-scheme: dark) {\n" + colours(kDark) + "}\n</style>\n";
}

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    safe += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return safe;
}

/// The range of an axis and its position on the page.
class Scale {
 public:
  /// from, to: the pixels of the smallest and the largest value.
  Scale(const PlotAxis& axis, double from, double to)
      : logarithmic_(axis.logarithmic), from_(from), to_(to) {}

  bool shows(double value) const { return std::isfinite(value) && (!logarithmic_ || value > 0); }

  void include(double value) {
    low_ = std::min(low_, measure(value));
    high_ = std::max(high_, measure(value));
  }

  /// Extends the range to powers of ten, or to multiples of a step that is 1, 2 or 5 times a power of ten.
  void round_out() {
    if (high_ - low_ < (logarithmic_ ? 1 : std::numeric_limits<double>::min())) {
      low_ -= 0.5;
      high_ += 0.5;
    }
    const double raw = (high_ - low_) / 6;
    const double power = std::pow(10, std::floor(std::log10(raw)));
    step_ = power * (raw / power > 5 ? 10 : raw / power > 2 ? 5 : raw / power > 1 ? 2 : 1);
    if (logarithmic_) {
      step_ = high_ - low_ > 9 ? 2 : 1;
    }
    const double end = logarithmic_ ? 1 : step_;
    low_ = std::floor(low_ / end + 1e-9) * end;
    high_ = std::ceil(high_ / end - 1e-9) * end;
  }

  double pixel(double value) const {
    return from_ + (measure(value) - low_) / (high_ - low_) * (to_ - from_);
  }

  /// The labelled values.
  std::vector<double> ticks() const {
    std::vector<double> values;
    const double first = std::ceil(low_ / step_ - 1e-9) * step_;
    for (int i = 0; first + i * step_ <= high_ + step_ * 1e-9; ++i) {
      const double tick = first + i * step_;
      values.push_back(logarithmic_ ? std::pow(10, std::round(tick)) : tick);
    }
    return values;
  }

  /// A label as SVG text: 10⁻⁶ or 0.25.
  std::string text(double tick) const {
    if (logarithmic_) {
      const auto exponent = static_cast<int>(std::lround(std::log10(tick)));
      return fmt::format("10<tspan dy=\"-6\" font-size=\"10\">{}{}</tspan>", exponent < 0 ? "−" : "",
                         std::abs(exponent));
    }
    return fmt::format("{:.6g}", std::abs(tick) < step_ * 1e-9 ? 0 : tick);
  }

 private:
  double measure(double value) const { return logarithmic_ ? std::log10(value) : value; }

  bool logarithmic_;
  double from_, to_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
  double step_ = 1;
};

struct Scales {
  Scale x, y;
  bool show(const PlotPoint& point) const { return x.shows(point.x) && y.shows(point.y); }
};

Scales scales_of(const LinePlot& plot) {
  Scales scales{{plot.x, kLeft, kRight}, {plot.y, kBottom, kTop}};
  bool any = false;
  for (const PlotLine& line : plot.lines) {
    for (const PlotPoint& point : line.points) {
      if (scales.show(point)) {
        scales.x.include(point.x);
        scales.y.include(point.y);
        any = true;
      }
    }
  }
  if (plot.lines.size() > kMostPlotLines || !any) {
    throw std::invalid_argument(fmt::format("to_svg: expected 1 to {} lines with points, found {}{}",
                                            kMostPlotLines, plot.lines.size(),
                                            any ? "" : " without a point to show"));
  }
  scales.x.round_out();
  scales.y.round_out();
  return scales;
}

std::string axes(const LinePlot& plot, const Scales& scales) {
  std::string svg;
  for (const double tick : scales.x.ticks()) {
    const double x = scales.x.pixel(tick);
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/>"
        "<text class=\"tick\" x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        x, kTop, kBottom, kBottom + 22, scales.x.text(tick));
  }
  for (const double tick : scales.y.ticks()) {
    const double y = scales.y.pixel(tick);
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{1}\" y1=\"{0:.1f}\" x2=\"{2}\" y2=\"{0:.1f}\"/>"
        "<text class=\"tick\" x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        y, kLeft, kRight, kLeft - 10, y + 5, scales.y.text(tick));
  }
  svg += fmt::format("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", kLeft, kTop,
                     kRight - kLeft, kBottom - kTop);
  const double middle_y = (kTop + kBottom) / 2;
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (kLeft + kRight) / 2,
                     kBottom + 52, escaped(plot.x.label));
  svg += fmt::format(
      "<text x=\"24\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 24 {0})\">{1}</text>\n",
      middle_y, escaped(plot.y.label));
  return svg;
}

struct Pixel {
  double x, y;
};

/// Clips a line segment to the frame. Returns whether anything is left.
bool clip_to_frame(Pixel& from, Pixel& to) {
  const double dx = to.x - from.x;
  const double dy = to.y - from.y;
  double begin = 0;
  double end = 1;
  const auto keep = [&](double direction, double room) {  // direction · share ≤ room
    if (direction > 0) {
      end = std::min(end, room / direction);
    } else if (direction < 0) {
      begin = std::max(begin, room / direction);
    } else if (room < 0) {
      end = -1;
    }
  };
  keep(dx, kRight - from.x);
  keep(-dx, from.x - kLeft);
  keep(dy, kBottom - from.y);
  keep(-dy, from.y - kTop);
  const Pixel start = from;
  from = {start.x + begin * dx, start.y + begin * dy};
  to = {start.x + end * dx, start.y + end * dy};
  return begin < end;
}

std::string guides(const LinePlot& plot, const Scales& scales) {
  std::string svg;
  for (const PlotGuide& guide : plot.guides) {
    Pixel from{scales.x.pixel(guide.from.x), scales.y.pixel(guide.from.y)};
    Pixel to{scales.x.pixel(guide.to.x), scales.y.pixel(guide.to.y)};
    if (from.x > to.x) {
      std::swap(from, to);  // the label must not be upside down
    }
    if (!clip_to_frame(from, to)) {
      continue;
    }
    svg += fmt::format("<line class=\"guide\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       from.x, from.y, to.x, to.y);
    const double x = (from.x + to.x) / 2;
    const double y = (from.y + to.y) / 2;
    svg += fmt::format(
        "<text class=\"guide-label halo\" text-anchor=\"middle\" transform=\"translate({:.1f} {:.1f}) "
        "rotate({:.1f})\" dy=\"-6\">{}</text>\n",
        x, y, std::atan2(to.y - from.y, to.x - from.x) * 180 / std::numbers::pi, escaped(guide.label));
  }
  return svg;
}

/// Moves overlapping labels apart, each as little as possible. at: the preferred positions, ascending.
std::vector<double> spread(const std::vector<double>& at) {
  std::vector<double> places = at;
  const auto count = static_cast<double>(at.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const double least = i == 0 ? kTop + 6 : places[i - 1] + kLabelHeight;
    places[i] = std::max(places[i], least);
  }
  // Labels beyond the end move back and push those before them.
  double most = std::max(kBottom, kTop + count * kLabelHeight);
  for (std::size_t i = places.size(); i-- > 0; most = places[i] - kLabelHeight) {
    places[i] = std::min(places[i], most);
  }
  return places;
}

std::string curves(const LinePlot& plot, const Scales& scales) {
  struct End {
    std::size_t line;
    Pixel at;
  };
  std::string svg;
  std::vector<End> ends;
  for (std::size_t i = 0; i < plot.lines.size(); ++i) {
    std::vector<PlotPoint> points;
    std::copy_if(plot.lines[i].points.begin(), plot.lines[i].points.end(), std::back_inserter(points),
                 [&](const PlotPoint& point) { return scales.show(point); });
    if (points.empty()) {
      continue;
    }
    std::sort(points.begin(), points.end(), [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
    std::string path;
    Pixel last{};
    for (const PlotPoint& point : points) {
      last = {scales.x.pixel(point.x), scales.y.pixel(point.y)};
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", last.x, last.y);
    }
    svg += fmt::format("<path class=\"curve line{}\" d=\"{}\"/>\n", i, path);
    ends.push_back({i, last});
  }
  std::stable_sort(ends.begin(), ends.end(), [](const End& a, const End& b) { return a.at.y < b.at.y; });
  std::vector<double> wanted;
  for (const End& end : ends) {
    wanted.push_back(end.at.y);
  }
  const std::vector<double> places = spread(wanted);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto& [line, at] = ends[i];
    svg += fmt::format(
        "<path class=\"lead line{0}\" d=\"M{1:.1f} {2:.1f} L{3} {4:.1f} L{5} {4:.1f}\"/>"
        "<text class=\"name{0}\" x=\"{6}\" y=\"{7:.1f}\">{8}</text>\n",
        line, at.x + 2, at.y, kRight + 16, places[i], kRight + 22, kRight + 26, places[i] + 5,
        escaped(plot.lines[line].label));
  }
  return svg;
}

}  // namespace

std::string to_svg(const LinePlot& plot) {
  const Scales scales = scales_of(plot);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
             "height=\"{1}\" role=\"img\">\n<title>{2}</title>\n",
             kWidth, kHeight, escaped(plot.title)) +
         style() + fmt::format("<rect class=\"page\" width=\"{}\" height=\"{}\"/>\n", kWidth, kHeight) +
         fmt::format(
             "<text class=\"title\" x=\"{0}\" y=\"38\">{1}</text>\n<text class=\"subtitle\" x=\"{0}\" "
             "y=\"62\">{2}</text>\n",
             24, escaped(plot.title), escaped(plot.subtitle)) +
         axes(plot, scales) + curves(plot, scales) + guides(plot, scales) + "</svg>\n";
}

}  // namespace twingrad
