#include "twingrad/report/run_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "twingrad/report/bar_plot.h"
#include "twingrad/report/page.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

const char* key_markup(Stroke stroke) {
  switch (stroke) {
    case Stroke::wide:
      return "<svg class=\"key\" viewBox=\"0 0 34 12\" aria-hidden=\"true\"><path class=\"curve wide line7\" "
             "d=\"M4 6H30\"/></svg>";
    case Stroke::dashed:
      return "<svg class=\"key\" viewBox=\"0 0 34 12\" aria-hidden=\"true\"><path class=\"curve dashed "
             "line7\" "
             "d=\"M2 6H32\"/></svg>";
    case Stroke::thin:
      break;
  }
  return "<svg class=\"key\" viewBox=\"0 0 34 12\" aria-hidden=\"true\"><path class=\"curve line7\" "
         "d=\"M2 6H32\"/></svg>";
}

/// The values of one twin by epoch, thinned.
std::vector<PlotPoint> by_epoch(const RunReport& report, const std::string& twin,
                                double EpochMetrics::*member, double factor) {
  std::vector<PlotPoint> points;
  for (const EpochMetrics& metrics : report.metrics.epochs) {
    if (metrics.twin == twin && std::isfinite(metrics.*member)) {
      points.push_back({static_cast<double>(metrics.epoch), factor * metrics.*member});
    }
  }
  return thinned(points);
}

/// Values of all twins, while training and on the test images. The autograd twin's curves are wide, so that
/// the manual twin's are visible in their middle.
LinePlot learning_plot(const RunReport& report, const std::string& title, const std::string& axis,
                       double EpochMetrics::*train, double EpochMetrics::*test, double factor) {
  LinePlot plot{title, "", {.label = "epoch", .counts = true}, {.label = axis}, {}, {}};
  const std::vector<std::string> twins = twins_of(report);
  for (std::size_t i = 0; i < twins.size(); ++i) {
    const bool is_below = i + 1 < twins.size();
    const Stroke stroke = is_below ? Stroke::wide : Stroke::thin;
    plot.lines.push_back(
        {is_below ? "" : "train", by_epoch(report, twins[i], train, factor), stroke, 0, twins[i] + " train"});
    plot.lines.push_back(
        {is_below ? "" : "test", by_epoch(report, twins[i], test, factor), stroke, 1, twins[i] + " test"});
  }
  return plot;
}

/// A sentence about curves that are thinned; "" if none is.
std::string about_thinning(std::size_t points) {
  return points <= kMostPoints
             ? ""
             : fmt::format(
                   " The curves show at most {} of {} points: the lowest and the highest of each "
                   "interval.",
                   kMostPoints, with_separators(static_cast<std::int64_t>(points)));
}

/// The differences of each gradient by update; of a run of an older version, of the worst gradient.
std::map<std::string, std::vector<PlotPoint>> differences_by_gradient(const RunReport& report) {
  std::map<std::string, std::vector<PlotPoint>> gradients;
  for (const Agreement& agreement : report.metrics.agreements) {
    const auto step = static_cast<double>(agreement.step);
    for (const auto& [name, difference] : agreement.gradients) {
      gradients[name].push_back({step, difference});
    }
    if (agreement.gradients.empty()) {
      gradients["worst"].push_back({step, agreement.max_rel_gradient_difference});
    }
  }
  return gradients;
}

double largest_y(const std::vector<PlotPoint>& points) {
  return std::max_element(points.begin(), points.end(),
                          [](const PlotPoint& a, const PlotPoint& b) { return a.y < b.y; })
      ->y;
}

/// The gradients with the largest differences, at most one less than a plot can have lines.
std::vector<PlotLine> worst_gradients(const RunReport& report) {
  std::vector<PlotLine> lines;
  for (const auto& [name, points] : differences_by_gradient(report)) {
    lines.push_back({.label = name, .points = points});
  }
  std::stable_sort(lines.begin(), lines.end(), [](const PlotLine& a, const PlotLine& b) {
    return largest_y(a.points) > largest_y(b.points);
  });
  lines.resize(std::min(lines.size(), kMostPlotLines - 1));
  std::sort(lines.begin(), lines.end(),
            [](const PlotLine& a, const PlotLine& b) { return a.label < b.label; });
  for (PlotLine& line : lines) {
    line.points = thinned(line.points);
  }
  return lines;
}

std::vector<PlotPoint> by_step(const RunReport& report, double Agreement::*member) {
  std::vector<PlotPoint> points;
  for (const Agreement& agreement : report.metrics.agreements) {
    points.push_back({static_cast<double>(agreement.step), agreement.*member});
  }
  return thinned(points);
}

std::string gradients_figure(const RunReport& report) {
  LinePlot plot{"Difference of the gradients at equal weights",
                "",
                {.label = "updates", .counts = true},
                {.label = "max |a − m| / max |a|", .logarithmic = true},
                worst_gradients(report),
                {}};
  const std::size_t gradients = differences_by_gradient(report).size();
  const std::size_t shown = plot.lines.size();
  plot.lines.push_back(
      {"bound", by_step(report, &Agreement::bound), Stroke::dashed, static_cast<int>(kPlotColours) - 1});
  std::string caption =
      "a, m: the same gradient by the autograd and by the manual twin, at the manual twin's weights on the "
      "same rows. Dashed: the largest difference that rounding explains, for the worst gradient. Differences "
      "of 0 are not drawn.";
  if (shown < gradients) {
    caption += fmt::format(" The {} worst of {} gradients are drawn.", shown, gradients);
  }
  return plot_figure(plot, caption, "The gradients were not compared, or are identical.");
}

std::string distance_figure(const RunReport& report) {
  const LinePlot plot{"Distance of the two trainings",
                      "",
                      {.label = "updates", .counts = true},
                      {.label = "largest difference", .logarithmic = true},
                      {{"weights", by_step(report, &Agreement::max_abs_weight_difference)},
                       {"state", by_step(report, &Agreement::max_abs_optimizer_state_difference)}},
                      {}};
  return plot_figure(
      plot,
      "The largest difference of a weight, and of the optimizer's state. Trainings drift apart even if all "
      "gradients agree, because an optimizer such as Adam turns the rounding of a small gradient into a "
      "step.",
      "Weights and optimizer state of the two trainings are identical.");
}

constexpr const char* kAboutTime =
    "Wall time of all training steps, without evaluation, comparison and output. Gathering a batch includes "
    "shuffling; it is done once for both twins and included in both times. Forward is measured within each "
    "step; for the manual twin, it is the mean over its threads. Backward is the remaining time of forward "
    "and backward.";

}  // namespace

std::vector<std::string> twins_of(const RunReport& report) {
  std::vector<std::string> twins;
  for (const EpochMetrics& metrics : report.metrics.epochs) {
    if (std::find(twins.begin(), twins.end(), metrics.twin) == twins.end() && twins.size() < 2) {
      twins.push_back(metrics.twin);
    }
  }
  return twins;
}

const EpochMetrics* last_epoch(const RunReport& report, const std::string& twin) {
  const auto& epochs = report.metrics.epochs;
  const auto found = std::find_if(epochs.rbegin(), epochs.rend(),
                                  [&](const EpochMetrics& metrics) { return metrics.twin == twin; });
  return found == epochs.rend() ? nullptr : &*found;
}

double seconds_of(const RunReport& report, const std::string& twin) {
  double sum = 0;
  for (const EpochMetrics& metrics : report.metrics.epochs) {
    sum += metrics.twin == twin ? metrics.seconds : 0;
  }
  return number_at(report.facts, "/seconds/" + twin, sum);
}

const Agreement* worst_agreement(const RunReport& report) {
  const auto& agreements = report.metrics.agreements;
  const auto worst =
      std::max_element(agreements.begin(), agreements.end(), [](const Agreement& a, const Agreement& b) {
        return a.max_rel_gradient_difference < b.max_rel_gradient_difference;
      });
  return worst == agreements.end() ? nullptr : &*worst;
}

std::string percent_text(double fraction) { return fmt::format("{:.2f}\u00a0%", 100 * fraction); }

std::string learning_section(const RunReport& report) {
  if (report.metrics.epochs.empty()) {
    return "";
  }
  const LinePlot loss =
      learning_plot(report, "Loss", "mean loss", &EpochMetrics::train_loss, &EpochMetrics::test_loss, 1);
  const LinePlot accuracy = learning_plot(report, "Accuracy", "accuracy (%)", &EpochMetrics::train_accuracy,
                                          &EpochMetrics::test_accuracy, 100);
  const std::vector<std::string> twins = twins_of(report);
  std::string introduction =
      twins.size() < 2 ? ""
                       : fmt::format(
                             "{} {} {} {}. Where the thin line is centered on the wide one, the twins "
                             "agree. ",
                             key_markup(Stroke::wide), escape_markup(twins[0]), key_markup(Stroke::thin),
                             escape_markup(twins[1]));
  introduction += "Train: mean over an epoch, computed before each update. Test: after the epoch.";
  introduction += about_thinning(report.metrics.epochs.size() / twins.size());
  return section("Learning", introduction,
                 figures({plot_figure(loss, "", "No loss is finite."),
                          plot_figure(accuracy, "", "No accuracy is known.")}));
}

std::string agreement_section(const RunReport& report) {
  if (report.metrics.agreements.empty()) {
    return "";
  }
  const std::string thinning = about_thinning(report.metrics.agreements.size());
  return section("Agreement", thinning.empty() ? "" : thinning.substr(1),
                 figures({gradients_figure(report), distance_figure(report)}));
}

std::string time_section(const RunReport& report) {
  const std::vector<std::string> parts = {"gather", "forward", "backward", "optimizer"};
  BarPlot plot{"Training time by part", "training time (s)", parts, {}};
  for (const std::string& twin : twins_of(report)) {
    BarPlot::Bar bar{twin, {}};
    double sum = 0;
    for (const std::string& part : parts) {
      bar.values.push_back(
          std::max(0.0, number_at(report.facts, "/seconds_by_part/" + twin + "/" + part, 0)));
      sum += bar.values.back();
    }
    if (sum > 0 && std::isfinite(sum)) {
      plot.bars.push_back(bar);
    }
  }
  if (plot.bars.empty()) {
    return "";
  }
  std::vector<std::string> columns = {"part"};
  std::vector<std::vector<std::string>> rows;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    rows.push_back({parts[part]});
    for (const BarPlot::Bar& bar : plot.bars) {
      rows.back().push_back(fmt::format("{:.3f}", bar.values[part]));
    }
    if (plot.bars.size() == 2) {
      const double ratio = plot.bars[0].values[part] / plot.bars[1].values[part];
      rows.back().push_back(std::isfinite(ratio) ? fmt::format("{:.2f}×", ratio) : "");
    }
  }
  for (const BarPlot::Bar& bar : plot.bars) {
    columns.push_back(escape_markup(bar.label));
  }
  if (plot.bars.size() == 2) {
    columns.emplace_back("ratio");
  }
  return section(
      "Time", "",
      figures({figure(plot.title, to_svg_element(plot)), figure("In seconds", table(columns, rows))}) +
          paragraph(kAboutTime, "note"));
}

}  // namespace twingrad
