#include "twingrad/report/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "twingrad/report/page_style.h"
#include "twingrad/report/svg.h"
#include "twingrad/runtime/version.h"

namespace twingrad {

std::string page(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{} {}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<title>{}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n<main>\n{}</main>\n"
      "<script>\n{}</script>\n</body>\n</html>\n",
      kReportMark, version(), escape_markup(title), plot_style(), page_style(), body, page_script());
}

std::string name_markup(std::string_view name) { return "<bdi>" + escape_markup(name) + "</bdi>"; }

std::string paragraph(const std::string& markup, const char* css_class) {
  return *css_class == '\0' ? fmt::format("<p>{}</p>\n", markup)
                            : fmt::format("<p class=\"{}\">{}</p>\n", css_class, markup);
}

std::string section(const std::string& heading, const std::string& introduction, const std::string& body) {
  if (body.empty()) {
    return "";
  }
  return fmt::format("<section>\n<h2>{}</h2>\n{}{}</section>\n", escape_markup(heading),
                     introduction.empty() ? "" : paragraph(introduction, "introduction"), body);
}

std::string figure(const std::string& title, const std::string& drawing, const std::string& caption) {
  return fmt::format("<figure>\n<h3>{}</h3>\n{}{}</figure>\n", escape_markup(title), drawing,
                     caption.empty() ? "" : fmt::format("<figcaption>{}</figcaption>\n", caption));
}

std::string plot_figure(const LinePlot& plot, const std::string& caption, const std::string& otherwise) {
  return has_points(plot) ? figure(plot.title, to_svg_element(plot), caption)
                          : figure(plot.title, paragraph(otherwise, "nothing"));
}

std::string figures(const std::vector<std::string>& figures) {
  return fmt::format("<div class=\"figures\">\n{}</div>\n", fmt::join(figures, ""));
}

std::string table(const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows,
                  std::size_t texts) {
  const auto attribute = [&](std::size_t column) {
    return column > 0 && column <= texts ? " class=\"text\"" : "";
  };
  std::string markup = "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>";
  for (std::size_t i = 0; i < columns.size(); ++i) {
    markup += fmt::format("<th scope=\"col\"{}>{}</th>", attribute(i), columns[i]);
  }
  markup += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    markup += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      markup += i == 0 ? fmt::format("<th scope=\"row\">{}</th>", row[i])
                       : fmt::format("<td{}>{}</td>", attribute(i), row[i]);
    }
    markup += "</tr>\n";
  }
  return markup + "</tbody>\n</table></div>\n";
}

std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points, std::size_t most) {
  if (points.size() <= most) {
    return points;
  }
  std::vector<PlotPoint> kept = {points.front()};
  const std::size_t parts = (most - 2) / 2;
  const std::size_t inner = points.size() - 2;
  const auto is_lower = [](const PlotPoint& a, const PlotPoint& b) { return a.y < b.y; };
  for (std::size_t part = 0; part < parts; ++part) {
    const auto begin = points.begin() + 1 + static_cast<std::ptrdiff_t>(inner * part / parts);
    const auto end = points.begin() + 1 + static_cast<std::ptrdiff_t>(inner * (part + 1) / parts);
    auto [lowest, highest] = std::minmax_element(begin, end, is_lower);
    if (highest < lowest) {
      std::swap(lowest, highest);
    }
    kept.push_back(*lowest);
    if (lowest != highest) {
      kept.push_back(*highest);
    }
  }
  kept.push_back(points.back());
  return kept;
}

namespace {

const Facts* find_at(const Facts& json, const std::string& pointer) {
  const Facts::json_pointer place(pointer);
  return json.contains(place) ? &json.at(place) : nullptr;
}

}  // namespace

std::string text_at(const Facts& json, const std::string& pointer) {
  const Facts* found = find_at(json, pointer);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

double number_at(const Facts& json, const std::string& pointer, double otherwise) {
  const Facts* found = find_at(json, pointer);
  return found != nullptr && found->is_number() ? found->get<double>() : otherwise;
}

std::int64_t count_at(const Facts& json, const std::string& pointer) {
  const Facts* found = find_at(json, pointer);
  return found != nullptr && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

}  // namespace twingrad
