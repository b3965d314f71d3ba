#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "twingrad/report/page.h"
#include "twingrad/report/run_sections.h"
#include "twingrad/report/svg.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// The twin whose results stand for the run: the manual one if it was trained.
std::string main_twin(const RunReport& report) {
  const std::vector<std::string> twins = twins_of(report);
  return twins.empty() ? "" : twins.back();
}

double test_accuracy(const RunReport& report, const std::string& twin) {
  const EpochMetrics* last = last_epoch(report, twin);
  return last == nullptr ? std::nan("") : last->test_accuracy;
}

std::string number_cell(double value, const std::string& text) { return std::isfinite(value) ? text : "–"; }

std::string run_link(const LinkedReport& run) {
  const std::string name = name_markup(run.report.name);
  return run.link.empty() ? name : fmt::format("<a href=\"{}\">{}</a>", escape_markup(run.link), name);
}

std::vector<std::string> result_row(std::size_t index, const LinkedReport& run) {
  const RunReport& report = run.report;
  const std::string twin = main_twin(report);
  const EpochMetrics* last = last_epoch(report, twin);
  const double autograd = test_accuracy(report, "autograd");
  const double manual = test_accuracy(report, "manual");
  const double loss = last == nullptr ? std::nan("") : last->test_loss;
  const double ratio = seconds_of(report, "autograd") / seconds_of(report, "manual");
  const Agreement* worst = worst_agreement(report);
  const double difference = worst == nullptr ? std::nan("") : worst->max_rel_gradient_difference;
  return {fmt::format("{}&ensp;{}", index + 1, run_link(run)),
          name_markup(text_at(report.facts, "/dataset")),
          escape_markup(text_at(report.facts, "/network")),
          last == nullptr ? "0" : with_separators(last->epoch),
          number_cell(autograd, percent_text(autograd)),
          number_cell(manual, percent_text(manual)),
          number_cell(loss, fmt::format("{:.4f}", loss)),
          fmt::format("{:.2f} s", seconds_of(report, twin)),
          ratio > 0 ? number_cell(ratio, fmt::format("{:.2f}×", ratio)) : "–",
          number_cell(difference, fmt::format("{:.1e}", difference))};
}

std::string results_of(const std::vector<LinkedReport>& runs) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    rows.push_back(result_row(i, runs[i]));
  }
  return table({"run", "data set", "network", "epochs", "test accuracy, autograd", "test accuracy, manual",
                "test loss", "training time", "speed, manual / autograd", "gradients agree to"},
               rows, /*texts=*/2);
}

/// The settings and versions of a run by name: "optimizer.lr".
std::map<std::string, std::string> settings_of_run(const RunReport& report) {
  std::map<std::string, std::string> settings;
  const Facts chosen = report.facts.value(Facts::json_pointer("/settings"), Facts::object()).flatten();
  for (const auto& [key, value] : chosen.items()) {
    std::string name = key.substr(std::min<std::size_t>(1, key.size()));
    std::replace(name.begin(), name.end(), '/', '.');
    settings[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  for (const char* version : {"twingrad", "libtorch"}) {
    settings[std::string("version.") + version] = text_at(report.facts, std::string("/") + version);
  }
  return settings;
}

std::string differences_of(const std::vector<LinkedReport>& runs) {
  std::vector<std::map<std::string, std::string>> settings;
  std::map<std::string, bool> names;
  for (const LinkedReport& run : runs) {
    settings.push_back(settings_of_run(run.report));
    for (const auto& [name, value] : settings.back()) {
      names[name] = true;
    }
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, present] : names) {
    const auto value_of = [&, &key = name](const std::map<std::string, std::string>& of) {
      const auto found = of.find(key);
      return found == of.end() ? std::string("–") : found->second;
    };
    const std::string first = value_of(settings.front());
    if (std::all_of(settings.begin(), settings.end(),
                    [&](const auto& of) { return value_of(of) == first; })) {
      continue;
    }
    rows.push_back({escape_markup(name)});
    for (const auto& of : settings) {
      rows.back().push_back(name_markup(value_of(of)));
    }
  }
  if (rows.empty()) {
    return paragraph("All settings are equal.", "nothing");
  }
  std::vector<std::string> columns = {"setting"};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    columns.push_back(fmt::format("run {}", i + 1));
  }
  return table(columns, rows, runs.size());
}

/// The runs to draw: all, or the most accurate that a plot can show, in their order.
std::vector<std::size_t> runs_to_draw(const std::vector<LinkedReport>& runs) {
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!twins_of(runs[i].report).empty()) {
      chosen.push_back(i);
    }
  }
  const auto accuracy = [&](std::size_t run) {
    const double value = test_accuracy(runs[run].report, main_twin(runs[run].report));
    return std::isfinite(value) ? value : -1;
  };
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](std::size_t a, std::size_t b) { return accuracy(a) > accuracy(b); });
  chosen.resize(std::min(chosen.size(), kMostPlotLines));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::string curves_of(const std::vector<LinkedReport>& runs, const std::vector<std::size_t>& drawn,
                      const std::string& title, const std::string& axis, double EpochMetrics::*member,
                      double factor) {
  LinePlot plot{title, "", {.label = "epoch", .counts = true}, {.label = axis}, {}, {}};
  for (const std::size_t i : drawn) {
    const std::string twin = main_twin(runs[i].report);
    PlotLine line{.label = fmt::format("run {}", i + 1), .points = {}};
    for (const EpochMetrics& metrics : runs[i].report.metrics.epochs) {
      if (metrics.twin == twin && std::isfinite(metrics.*member)) {
        line.points.push_back({static_cast<double>(metrics.epoch), factor * metrics.*member});
      }
    }
    line.points = thinned(line.points);
    plot.lines.push_back(std::move(line));
  }
  return plot_figure(plot, "", "No run has evaluated an epoch.");
}

std::string best_run(const std::vector<LinkedReport>& runs) {
  std::size_t best = 0;
  double highest = -1;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const double accuracy = test_accuracy(runs[i].report, main_twin(runs[i].report));
    if (accuracy > highest) {
      best = i;
      highest = accuracy;
    }
  }
  return highest < 0 ? "No run has evaluated an epoch."
                     : fmt::format("Run {} has the highest test accuracy: {}, after {:.2f} s of training.",
                                   best + 1, percent_text(highest),
                                   seconds_of(runs[best].report, main_twin(runs[best].report)));
}

}  // namespace

std::string comparison_page(const std::vector<LinkedReport>& runs) {
  const std::vector<std::size_t> drawn = runs_to_draw(runs);
  std::string body = fmt::format("<header>\n<p class=\"run\">Comparison</p>\n<h1>{} runs</h1>\n{}</header>\n",
                                 runs.size(), paragraph(best_run(runs), "finding"));
  body +=
      section("Results",
              "After the last epoch that was evaluated. Test loss and training time are those of the manual "
              "twin, or of the only one.",
              results_of(runs));
  body += section("What differs", "The settings that are not the same in all runs.", differences_of(runs));
  std::string about = "Each run's manual twin, or its only one. A curve shows at most " +
                      std::to_string(kMostPoints) + " points.";
  if (drawn.size() < runs.size()) {
    about += fmt::format(" The {} runs with the highest test accuracy are drawn.", drawn.size());
  }
  body += section(
      "Learning", about,
      figures({curves_of(runs, drawn, "Test accuracy", "accuracy (%)", &EpochMetrics::test_accuracy, 100),
               curves_of(runs, drawn, "Test loss", "mean loss", &EpochMetrics::test_loss, 1)}));
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(runs.size(), 3); ++i) {
    names += (i == 0 ? "" : ", ") + runs[i].report.name;
  }
  return page(fmt::format("{} runs: {}{} · twingrad", runs.size(), names, runs.size() > 3 ? ", …" : ""),
              body);
}

}  // namespace twingrad
