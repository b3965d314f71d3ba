#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "twingrad/report/page.h"
#include "twingrad/report/run_sections.h"
#include "twingrad/report/svg.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

std::string sentence_of_gradients(const RunReport& report) {
  const Agreement* worst = worst_agreement(report);
  if (worst == nullptr) {
    return "";
  }
  if (worst->verdict == "differs") {
    return fmt::format("The gradients differ by {:.1e} of the largest entry in {} (bound {:.0e}).",
                       worst->max_rel_gradient_difference, escape_markup(worst->worst), worst->bound);
  }
  return worst->max_rel_gradient_difference == 0
             ? "All gradients at equal weights are identical."
             : fmt::format("Gradients at equal weights agree to {:.1e} (bound {:.0e}).",
                           worst->max_rel_gradient_difference, worst->bound);
}

std::string sentence_of_speed(const RunReport& report) {
  const double autograd = seconds_of(report, "autograd");
  const double manual = seconds_of(report, "manual");
  if (autograd <= 0 || manual <= 0) {
    return "";
  }
  return manual <= autograd ? fmt::format("The manual twin is {:.2f}× faster.", autograd / manual)
                            : fmt::format("The manual twin is {:.2f}× slower.", manual / autograd);
}

std::string sentence_of_accuracy(const RunReport& report) {
  const std::vector<std::string> twins = twins_of(report);
  std::vector<std::string> parts;
  for (const std::string& twin : twins) {
    if (const EpochMetrics* last = last_epoch(report, twin); last != nullptr) {
      parts.push_back(twins.size() == 1
                          ? percent_text(last->test_accuracy)
                          : fmt::format("{} ({})", percent_text(last->test_accuracy), escape_markup(twin)));
    }
  }
  return parts.empty() ? "" : fmt::format("Test accuracy: {}.", fmt::join(parts, ", "));
}

std::string finding(const RunReport& report) {
  std::string text;
  for (const std::string& sentence :
       {sentence_of_gradients(report), sentence_of_speed(report), sentence_of_accuracy(report)}) {
    text += sentence.empty() ? "" : (text.empty() ? "" : " ") + sentence;
  }
  return text.empty() ? "No epoch has been evaluated yet." : text;
}

std::string state_of(const RunReport& report) {
  const std::string status = text_at(report.facts, "/status");
  const std::int64_t epoch = report.metrics.epochs.empty() ? 0 : report.metrics.epochs.back().epoch;
  const std::string epochs = fmt::format("{} epoch{}", with_separators(epoch), epoch == 1 ? "" : "s");
  return status == "finished"      ? "finished after " + epochs
         : status == "interrupted" ? "interrupted after " + epochs
         : status == "failed"      ? "stopped by a failed check after " + epochs
         : status == "running"     ? "still running when this page was written, after " + epochs
                                   : epochs;
}

/// The results after the last epoch, a column per twin.
std::string results_table(const RunReport& report) {
  std::vector<std::string> columns = {""};
  std::vector<std::vector<std::string>> rows = {{"train loss"},    {"train accuracy"},
                                                {"test loss"},     {"test accuracy"},
                                                {"training time"}, {"images per second, last epoch"}};
  for (const std::string& twin : twins_of(report)) {
    const EpochMetrics& last = *last_epoch(report, twin);
    columns.push_back(escape_markup(twin));
    const std::vector<std::string> cells = {
        fmt::format("{:.4f}", last.train_loss),
        percent_text(last.train_accuracy),
        fmt::format("{:.4f}", last.test_loss),
        percent_text(last.test_accuracy),
        fmt::format("{:.2f} s", seconds_of(report, twin)),
        std::isfinite(last.samples_per_second) && last.samples_per_second < 1e15
            ? with_separators(std::llround(last.samples_per_second))
            : "–"};
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i].push_back(cells[i]);
    }
  }
  return columns.size() == 1 ? "" : table(columns, rows);
}

/// The title without markup: the network and the data set.
std::string subject_of(const RunReport& report) {
  const std::string network = text_at(report.facts, "/network");
  const std::string dataset = text_at(report.facts, "/dataset");
  return network.empty() ? report.name : network + " on " + dataset;
}

}  // namespace

std::string run_page(const RunReport& report) {
  const std::string subject = subject_of(report);
  std::string body = fmt::format("<header>\n<p class=\"run\">Run {} · {}</p>\n<h1>{}</h1>\n",
                                 name_markup(report.name), state_of(report), name_markup(subject));
  body += paragraph(finding(report), "finding");
  if (const std::string message = text_at(report.facts, "/message"); !message.empty()) {
    body += paragraph(escape_markup(message), "notice");
  }
  if (report.facts.empty()) {
    body += paragraph(
        "This run has no report.json, so its settings, times by part, weights and test images "
        "are not shown.",
        "notice");
  }
  body += "</header>\n";
  body += section("Results", "", results_table(report));
  body += learning_section(report) + agreement_section(report) + time_section(report) + test_section(report) +
          weights_section(report) + facts_section(report);
  return page(fmt::format("{} · run {} · twingrad", subject, report.name), body);
}

}  // namespace twingrad
