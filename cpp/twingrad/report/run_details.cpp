#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "twingrad/report/page.h"
#include "twingrad/report/run_sections.h"
#include "twingrad/report/svg.h"
#include "twingrad/runtime/text.h"
#include "twingrad/training/progress_json.h"

namespace twingrad {
namespace {

/// With more classes, only the most frequent confusions are listed.
constexpr std::int64_t kMostClassesOfMatrix = 20;
constexpr std::size_t kMostConfusionsListed = 20;

/// The matrix of the last twin, [C, C]; empty if it is missing or has another size.
std::vector<std::int64_t> confusion_of(const RunReport& report, std::int64_t classes) {
  std::vector<std::int64_t> counts;
  const Facts::json_pointer place("/test/confusion");
  if (!report.facts.contains(place) || !report.facts.at(place).is_object() || classes < 1 || classes > 256) {
    return {};
  }
  const Facts& twins = report.facts.at(place);
  for (const Facts& count : twins.empty() ? Facts::array() : twins.back()) {
    const std::int64_t value = count.is_number_integer() ? count.get<std::int64_t>() : 0;
    counts.push_back(std::clamp<std::int64_t>(value, 0, kMaxCount));
  }
  return std::ssize(counts) == classes * classes ? counts : std::vector<std::int64_t>();
}

std::string confusion_cell(std::int64_t count, std::int64_t in_row, bool is_right) {
  if (count == 0) {
    return "<td class=\"none\">0</td>";
  }
  // The power makes rare confusions visible; at most 45 % keep the number readable.
  const double share = 45 * std::pow(static_cast<double>(count) / static_cast<double>(in_row), 0.4);
  return fmt::format("<td class=\"{}\" style=\"--share:{:.0f}%\">{}</td>", is_right ? "right" : "wrong",
                     share, with_separators(count));
}

std::string confusion_matrix(const RunReport& report, const std::vector<std::int64_t>& counts,
                             std::int64_t classes) {
  std::string markup =
      "<div class=\"scroll\" tabindex=\"0\"><table class=\"confusion\">\n<thead><tr><th scope=\"col\">true "
      "class ↓ predicted →</th>";
  for (std::int64_t column = 0; column < classes; ++column) {
    markup += fmt::format("<th scope=\"col\"><span>{}</span></th>", class_text(report, column));
  }
  markup += "</tr></thead>\n<tbody>\n";
  for (std::int64_t row = 0; row < classes; ++row) {
    const auto begin = counts.begin() + row * classes;
    const std::int64_t in_row = std::accumulate(begin, begin + classes, std::int64_t{0});
    markup += fmt::format("<tr><th scope=\"row\">{}</th>", class_text(report, row));
    for (std::int64_t column = 0; column < classes; ++column) {
      markup += confusion_cell(begin[column], in_row, row == column);
    }
    markup += "</tr>\n";
  }
  return markup + "</tbody>\n</table></div>\n";
}

std::string most_frequent_confusions(const RunReport& report, const std::vector<std::int64_t>& counts,
                                     std::int64_t classes) {
  std::vector<std::int64_t> order;
  for (std::int64_t cell = 0; cell < classes * classes; ++cell) {
    if (cell / classes != cell % classes && counts[static_cast<std::size_t>(cell)] > 0) {
      order.push_back(cell);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return counts[static_cast<std::size_t>(a)] > counts[static_cast<std::size_t>(b)];
  });
  order.resize(std::min(order.size(), kMostConfusionsListed));
  std::vector<std::vector<std::string>> rows;
  for (const std::int64_t cell : order) {
    rows.push_back({class_text(report, cell / classes), class_text(report, cell % classes),
                    with_separators(counts[static_cast<std::size_t>(cell)])});
  }
  return table({"true class", "predicted", "images"}, rows);
}

std::string confusion_figure(const RunReport& report) {
  const std::int64_t classes = count_at(report.facts, "/test/classes");
  const std::vector<std::int64_t> counts = confusion_of(report, classes);
  if (counts.empty()) {
    return "";
  }
  return classes <= kMostClassesOfMatrix
             ? figure("Confusion matrix", confusion_matrix(report, counts, classes),
                      "Number of test images. Blue: correct; orange: wrong. Darker cells are a larger "
                      "share of their row.")
             : figure("Most frequent confusions", most_frequent_confusions(report, counts, classes));
}

std::string short_percent(double fraction) { return fmt::format("{:.1f}\u00a0%", 100 * fraction); }

std::string mistake_item(const RunReport& report, const Facts& mistake) {
  const std::string label = class_text(report, count_at(mistake, "/label"));
  const std::int64_t prediction = count_at(mistake, "/prediction");
  std::string item = "<li>";
  if (const std::string png = text_at(mistake, "/png"); !png.empty()) {
    item += fmt::format("<img src=\"data:image/png;base64,{}\" alt=\"Test image {}: {}\">",
                        escape_markup(png), count_at(mistake, "/image"), label);
  }
  item += fmt::format("<strong>{}</strong>predicted: {}", label, class_text(report, prediction));
  const Facts twins = mistake.value(Facts::json_pointer("/twins"), Facts::object());
  for (const auto& [twin, view] : twins.items()) {
    const std::int64_t other = count_at(view, "/prediction");
    item += fmt::format("<div><span>{}{}</span><span>{}</span><span>{}</span></div>", escape_markup(twin),
                        other == prediction ? "" : ", which says " + class_text(report, other),
                        short_percent(number_at(view, "/prediction_probability", std::nan(""))),
                        short_percent(number_at(view, "/label_probability", std::nan(""))));
  }
  return item + "</li>\n";
}

std::string mistakes_figure(const RunReport& report) {
  const Facts::json_pointer place("/test/mistakes");
  if (!report.facts.contains(place) || !report.facts.at(place).is_array() || report.facts.at(place).empty()) {
    return "";
  }
  std::string items;
  for (const Facts& mistake : report.facts.at(place)) {
    items += mistake.is_object() ? mistake_item(report, mistake) : "";
  }
  return figure(
      "Most confident mistakes", "<ul class=\"mistakes\">\n" + items + "</ul>\n",
      "Wrong answers with the highest probabilities. Percentages: the probability of the wrong class, "
      "then of the right one, by each twin.");
}

std::string term(const std::string& name, const std::string& description) {
  return description.empty()
             ? ""
             : fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_markup(name), name_markup(description));
}

std::string settings_group(const std::string& name, const Facts& settings) {
  std::string terms;
  const Facts flat = settings.flatten();
  for (const auto& [key, value] : flat.items()) {
    std::string path = key.substr(std::min<std::size_t>(1, key.size()));
    std::replace(path.begin(), path.end(), '/', '.');
    terms += term(path, value.is_string() ? value.get<std::string>() : value.is_null() ? "–" : value.dump());
  }
  return fmt::format("<div><h3>{}</h3>\n<dl>\n{}</dl></div>\n", escape_markup(name), terms);
}

/// All settings, folded.
std::string settings_of_facts(const Facts& facts) {
  const Facts settings = facts.value(Facts::json_pointer("/settings"), Facts::object());
  std::vector<std::string> groups;
  for (const auto& [name, group] : settings.items()) {
    if (group.is_object() && !group.empty()) {
      groups.push_back(settings_group(name, group));
    }
  }
  return groups.empty()
             ? ""
             : fmt::format(
                   "<details>\n<summary>All settings</summary>\n<div class=\"settings\">\n{}</div>\n"
                   "</details>\n",
                   fmt::join(groups, ""));
}

}  // namespace

std::string class_text(const RunReport& report, std::int64_t index) {
  const std::string name = text_at(report.facts, fmt::format("/class_names/{}", index));
  return name.empty() ? std::to_string(index) : escape_markup(name);
}

std::string test_section(const RunReport& report) {
  const std::string body = confusion_figure(report) + mistakes_figure(report);
  const std::int64_t images = count_at(report.facts, "/test/images");
  std::string introduction =
      fmt::format("Predictions of the {} twin for the {} test images after epoch {}.",
                  twins_of(report).empty() ? "" : escape_markup(twins_of(report).back()),
                  with_separators(images), with_separators(count_at(report.facts, "/test/epoch")));
  if (twins_of(report).size() == 2) {
    introduction += fmt::format(" Both twins predict the same class for {} of them.",
                                with_separators(count_at(report.facts, "/test/same_predictions")));
  }
  return section("Test images", introduction, body);
}

std::string weights_section(const RunReport& report) {
  const Facts::json_pointer place("/first_layer");
  const Facts layer = report.facts.contains(place) ? report.facts.at(place) : Facts();
  const std::string png = text_at(layer, "/png");
  if (png.empty()) {
    return "";
  }
  const std::int64_t units = count_at(layer, "/units");
  const std::int64_t shown = layer.contains("shown") ? std::ssize(layer["shown"]) : 0;
  const std::string which = shown == units
                                ? fmt::format("all {} units", units)
                                : fmt::format("the {} of {} units whose weights have the largest norm", shown,
                                              with_separators(units));
  const double limit = number_at(layer, "/limit", 0);
  const std::string drawing = fmt::format(
      "<img class=\"weights\" width=\"{}\" height=\"{}\" alt=\"Weights of the first layer as images\" "
      "src=\"data:image/png;base64,{}\">\n<div class=\"scale\"><span>≤ −{:.2g}</span><i></i><span>≥ {:.2g}"
      "</span></div>\n",
      count_at(layer, "/width"), count_at(layer, "/height"), escape_markup(png), limit, limit);
  return section(
      "First layer",
      fmt::format("The weights {} of the {} twin for {}. Each image is one unit; each pixel shows the "
                  "weight of the corresponding input pixel. The largest absolute weight is {:.2g}.",
                  escape_markup(text_at(layer, "/name")), escape_markup(text_at(layer, "/twin")), which,
                  number_at(layer, "/largest", 0)),
      "<figure>\n" + drawing + "</figure>\n");
}

std::string facts_section(const RunReport& report) {
  const Facts& facts = report.facts;
  if (facts.empty()) {
    return "";
  }
  std::string terms;
  for (int i = 0; !text_at(facts, fmt::format("/heading/{}/0", i)).empty(); ++i) {
    terms += term(text_at(facts, fmt::format("/heading/{}/0", i)),
                  text_at(facts, fmt::format("/heading/{}/1", i)));
  }
  terms += term("Checksum", text_at(facts, "/settings/dataset/sha256"));
  terms += term("Location", text_at(facts, "/settings/dataset/location"));
  terms += term("Versions", fmt::format("twingrad {} · LibTorch {}", text_at(facts, "/twingrad"),
                                        text_at(facts, "/libtorch")));
  const std::string command = text_at(facts, "/command");
  return section(
      "Facts", "",
      "<dl>\n" + terms + "</dl>\n" +
          (command.empty() ? "" : "<h3>Repeat this run</h3>\n<pre>" + escape_markup(command) + "</pre>\n") +
          settings_of_facts(facts));
}

}  // namespace twingrad
