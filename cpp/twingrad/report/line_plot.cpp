#include "twingrad/report/line_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace twingrad {
namespace {

/// The size of a plot and the frame around its curves, in pixels. The curves are labelled to the right of the
/// frame.
struct Frame {
  double width, height;
  double left, right, top, bottom;
  double tick_gap, x_label_gap, y_label_at;  ///< from the frame to the labels of the ticks and of the x axis
  double label_height;
  int x_divisions, y_divisions;
};

constexpr Frame kDocument = {960, 600, 86, 742, 84, 528, 22, 52, 24, 19, 6, 6};
constexpr double kLineGap = 26;  ///< from the frame to the label of a curve

/// A frame for a column of a page, readable on a phone.
Frame column_frame(const LinePlot& plot) {
  constexpr double kCharacter = 8.4;  // a wide one at 14 pixels
  std::size_t longest = 0;
  for (const PlotLine& line : plot.lines) {
    longest = std::max(longest, line.label.size());
  }
  Frame frame = {440, 300, 70, 428, 12, 242, 20, 46, 14, 17, 5, 5};
  if (longest > 0) {
    frame.right -= kLineGap + kCharacter * static_cast<double>(longest) - 12;
  }
  return frame;
}

const char* class_of(Stroke stroke) {
  return stroke == Stroke::wide ? " wide" : stroke == Stroke::dashed ? " dashed" : "";
}

int colour_of(const LinePlot& plot, std::size_t line) {
  const int colour = plot.lines[line].colour;
  return colour < 0 ? static_cast<int>(line) : colour;
}

struct Scales {
  PlotScale x, y;
  bool show(const PlotPoint& point) const { return x.shows(point.x) && y.shows(point.y); }
};

Scales scales_of(const LinePlot& plot, const Frame& frame) {
  Scales scales{{plot.x, frame.left, frame.right, frame.x_divisions},
                {plot.y, frame.bottom, frame.top, frame.y_divisions}};
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

std::string axes(const LinePlot& plot, const Scales& scales, const Frame& frame) {
  std::string svg;
  for (const double tick : scales.x.ticks()) {
    const double x = scales.x.pixel(tick);
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/>"
        "<text class=\"tick\" x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        x, frame.top, frame.bottom, frame.bottom + frame.tick_gap, scales.x.text(tick));
  }
  for (const double tick : scales.y.ticks()) {
    const double y = scales.y.pixel(tick);
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{1}\" y1=\"{0:.1f}\" x2=\"{2}\" y2=\"{0:.1f}\"/>"
        "<text class=\"tick\" x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        y, frame.left, frame.right, frame.left - 10, y + 5, scales.y.text(tick));
  }
  svg += fmt::format("<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", frame.left,
                     frame.top, frame.right - frame.left, frame.bottom - frame.top);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                     (frame.left + frame.right) / 2, frame.bottom + frame.x_label_gap,
                     escape_markup(plot.x.label));
  svg += fmt::format(
      "<text x=\"{2}\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 {2} {0})\">{1}</text>\n",
      (frame.top + frame.bottom) / 2, escape_markup(plot.y.label), frame.y_label_at);
  return svg;
}

struct Pixel {
  double x, y;
};

/// Clips a line segment to the frame. Returns whether anything is left.
bool clip_to_frame(Pixel& from, Pixel& to, const Frame& frame) {
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
  keep(dx, frame.right - from.x);
  keep(-dx, from.x - frame.left);
  keep(dy, frame.bottom - from.y);
  keep(-dy, from.y - frame.top);
  const Pixel start = from;
  from = {start.x + begin * dx, start.y + begin * dy};
  to = {start.x + end * dx, start.y + end * dy};
  return begin < end;
}

std::string guides(const LinePlot& plot, const Scales& scales, const Frame& frame) {
  std::string svg;
  for (const PlotGuide& guide : plot.guides) {
    Pixel from{scales.x.pixel(guide.from.x), scales.y.pixel(guide.from.y)};
    Pixel to{scales.x.pixel(guide.to.x), scales.y.pixel(guide.to.y)};
    if (from.x > to.x) {
      std::swap(from, to);  // the label must not be upside down
    }
    if (!clip_to_frame(from, to, frame)) {
      continue;
    }
    svg += fmt::format("<line class=\"guide\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       from.x, from.y, to.x, to.y);
    const double x = (from.x + to.x) / 2;
    const double y = (from.y + to.y) / 2;
    svg += fmt::format(
        "<text class=\"guide-label halo\" text-anchor=\"middle\" transform=\"translate({:.1f} {:.1f}) "
        "rotate({:.1f})\" dy=\"-6\">{}</text>\n",
        x, y, std::atan2(to.y - from.y, to.x - from.x) * 180 / std::numbers::pi, escape_markup(guide.label));
  }
  return svg;
}

/// Moves overlapping labels apart, each as little as possible. at: the preferred positions, ascending.
std::vector<double> spread(const std::vector<double>& at, const Frame& frame) {
  std::vector<double> places = at;
  const auto count = static_cast<double>(at.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const double least = i == 0 ? frame.top + 6 : places[i - 1] + frame.label_height;
    places[i] = std::max(places[i], least);
  }
  // Labels beyond the end move back and push those before them.
  double most = std::max(frame.bottom, frame.top + count * frame.label_height);
  for (std::size_t i = places.size(); i-- > 0; most = places[i] - frame.label_height) {
    places[i] = std::min(places[i], most);
  }
  return places;
}

/// The points of a line that the axes show, in the order of x.
std::vector<PlotPoint> shown_points(const PlotLine& line, const Scales& scales) {
  std::vector<PlotPoint> points;
  std::copy_if(line.points.begin(), line.points.end(), std::back_inserter(points),
               [&](const PlotPoint& point) { return scales.show(point); });
  std::stable_sort(points.begin(), points.end(),
                   [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  return points;
}

/// The values of a line for the script of a page.
std::string values_of(const PlotLine& line, const std::vector<PlotPoint>& points) {
  std::string x, y;
  for (const PlotPoint& point : points) {
    x += fmt::format("{}{:.7g}", x.empty() ? "" : " ", point.x);
    y += fmt::format("{}{:.4g}", y.empty() ? "" : " ", point.y);
  }
  return fmt::format(" data-name=\"{}\" data-x=\"{}\" data-y=\"{}\"",
                     escape_markup(line.name.empty() ? line.label : line.name), x, y);
}

/// The end of a curve, which is labelled.
struct CurveEnd {
  std::size_t line;
  Pixel at;
};

std::string curves(const LinePlot& plot, const Scales& scales, bool has_values, std::vector<CurveEnd>& ends) {
  constexpr std::size_t kMostMarks = 15;  // more would hide the curve
  std::string svg;
  for (std::size_t i = 0; i < plot.lines.size(); ++i) {
    const std::vector<PlotPoint> points = shown_points(plot.lines[i], scales);
    if (points.empty()) {
      continue;
    }
    const char* stroke = class_of(plot.lines[i].stroke);
    std::string path, marks;
    Pixel last{};
    for (const PlotPoint& point : points) {
      last = {scales.x.pixel(point.x), scales.y.pixel(point.y)};
      path += fmt::format("{}{} {}", path.empty() ? "M" : "L", coordinate(last.x), coordinate(last.y));
      marks += fmt::format("<circle class=\"mark{} mark{}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>", stroke,
                           colour_of(plot, i), coordinate(last.x), coordinate(last.y),
                           plot.lines[i].stroke == Stroke::wide ? 5 : 2.4);
    }
    const std::size_t most_marks = plot.lines[i].stroke == Stroke::thin ? kMostMarks : 1;
    svg += fmt::format("<path class=\"curve{} line{}\" d=\"{}\"{}/>{}\n", stroke, colour_of(plot, i), path,
                       has_values ? values_of(plot.lines[i], points) : "",
                       points.size() <= most_marks ? marks : "");
    if (!plot.lines[i].label.empty()) {
      ends.push_back({i, last});
    }
  }
  return svg;
}

std::string line_labels(const LinePlot& plot, std::vector<CurveEnd> ends, const Frame& frame) {
  std::stable_sort(ends.begin(), ends.end(),
                   [](const CurveEnd& a, const CurveEnd& b) { return a.at.y < b.at.y; });
  std::vector<double> wanted;
  for (const CurveEnd& end : ends) {
    wanted.push_back(end.at.y);
  }
  const std::vector<double> places = spread(wanted, frame);
  std::string svg;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto& [line, at] = ends[i];
    svg += fmt::format(
        "<path class=\"lead line{0}\" d=\"M{1:.1f} {2:.1f} L{3} {4:.1f} L{5} {4:.1f}\"/>"
        "<text class=\"name{0}\" x=\"{6}\" y=\"{7:.1f}\">{8}</text>\n",
        colour_of(plot, line), at.x + 2, at.y, frame.right + kLineGap - 10, places[i],
        frame.right + kLineGap - 4, frame.right + kLineGap, places[i] + 5,
        escape_markup(plot.lines[line].label));
  }
  return svg;
}

std::string contents(const LinePlot& plot, const Frame& frame, bool has_values) {
  const Scales scales = scales_of(plot, frame);
  std::vector<CurveEnd> ends;
  const std::string drawn = curves(plot, scales, has_values, ends);
  return axes(plot, scales, frame) + drawn + line_labels(plot, ends, frame) + guides(plot, scales, frame);
}

}  // namespace

bool has_points(const LinePlot& plot) {
  const Scales scales{{plot.x, 0, 1, 1}, {plot.y, 0, 1, 1}};
  return std::any_of(plot.lines.begin(), plot.lines.end(), [&](const PlotLine& line) {
    return std::any_of(line.points.begin(), line.points.end(),
                       [&](const PlotPoint& point) { return scales.show(point); });
  });
}

std::string to_svg(const LinePlot& plot) {
  const std::string drawn = contents(plot, kDocument, /*has_values=*/false);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
             "height=\"{1}\" role=\"img\">\n<title>{2}</title>\n<style>\n{3}</style>\n"
             "<rect class=\"page\" width=\"{0}\" height=\"{1}\"/>\n"
             "<text class=\"title\" x=\"24\" y=\"38\">{2}</text>\n"
             "<text class=\"subtitle\" x=\"24\" y=\"62\">{4}</text>\n",
             kDocument.width, kDocument.height, escape_markup(plot.title), plot_style(),
             escape_markup(plot.subtitle)) +
         drawn + "</svg>\n";
}

std::string to_svg_element(const LinePlot& plot) {
  const Frame frame = column_frame(plot);
  return fmt::format(
             "<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" "
             "data-frame=\"{} {} {} {}\" data-label=\"{}\">\n",
             frame.width, frame.height, escape_markup(plot.title), coordinate(frame.left), frame.top,
             coordinate(frame.right), frame.bottom, escape_markup(plot.x.label)) +
         contents(plot, frame, /*has_values=*/true) + "</svg>\n";
}

}  // namespace twingrad
