#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/report/line_plot.h"

namespace twingrad {

/// JSON with facts about a run (run_report.h).
using Facts = nlohmann::ordered_json;

/// In the first 400 bytes of each page.
inline constexpr std::string_view kReportMark = "<meta name=\"generator\" content=\"twingrad";

/// A page with a style sheet for light and dark, narrow screens and print, and a script that shows values
/// under the pointer. It needs no other file, and forbids the browser to request any.
std::string page(const std::string& title, const std::string& body);

/// Texts of the page. A name is isolated, so that its direction cannot affect the text around it.
std::string name_markup(std::string_view name);
std::string paragraph(const std::string& markup, const char* css_class = "");

/// A section with a heading and an optional introduction; "" if the body is empty.
std::string section(const std::string& heading, const std::string& introduction, const std::string& body);

/// A figure with a title, the drawing and an optional caption (markup).
std::string figure(const std::string& title, const std::string& drawing, const std::string& caption = "");

/// The figure of a plot; if it has no points, `otherwise` stands in its place.
std::string plot_figure(const LinePlot& plot, const std::string& caption, const std::string& otherwise);

/// Figures side by side, or below each other on a narrow screen.
std::string figures(const std::vector<std::string>& figures);

/// A table; cells are markup. The first column is a heading of its row. It and the following `texts` columns
/// are aligned left, the others right.
std::string table(const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows,
                  std::size_t texts = 0);

/// The most points of a curve: few enough for a page of 300 KB.
constexpr std::size_t kMostPoints = 200;

/// The points thinned to at most `most`: of each of most/2 equal parts of the sequence, those with the lowest
/// and the highest y. The first and the last point are kept.
std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points, std::size_t most = kMostPoints);

/// The value at a JSON pointer, or the default if it is missing or has another type.
std::string text_at(const Facts& json, const std::string& pointer);
double number_at(const Facts& json, const std::string& pointer, double otherwise);
std::int64_t count_at(const Facts& json, const std::string& pointer);

}  // namespace twingrad
