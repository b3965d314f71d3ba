#include "twingrad/report/comparison_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

std::string number_cell(double value) { return value == 0 ? "0" : fmt::format("{:.1e}", value); }

std::string ulp_cell(double value) {
  return value == 0 ? "0" : value < 1e4 ? fmt::format("{:.1f}", value) : fmt::format("{:.0e}", value);
}

std::string identical_cell(const TensorComparison& tensor) {
  if (tensor.identical == tensor.entries) {
    return "100%";
  }
  const double share = static_cast<double>(tensor.identical) / static_cast<double>(tensor.entries);
  return fmt::format("{:.0f}%", std::min(99.0, 100 * share));
}

std::string verdict_cell(const TensorComparison& tensor, const std::string& first_wrong,
                         const std::string& at_fault) {
  switch (tensor.verdict) {
    case Verdict::identical:
    case Verdict::same_to_rounding:
      return to_string(tensor.verdict);
    case Verdict::follows:
      return "DIFFERS: follows from " + first_wrong;
    case Verdict::differs:
      break;
  }
  const std::string cause = tensor.cause.empty() ? "" : ": " + tensor.cause;
  return "DIFFERS" + cause + (tensor.name == first_wrong ? " <- the first: " + at_fault : "");
}

/// "7 of 7 tensors agree; the manual twin is nearer to float64 in 4, the autograd twin in 2"
std::string conclusion(const Comparison& comparison) {
  std::int64_t agree = 0, manual = 0, autograd = 0;
  for (const TensorComparison& tensor : comparison.tensors) {
    agree += tensor.verdict == Verdict::identical || tensor.verdict == Verdict::same_to_rounding ? 1 : 0;
    manual += tensor.manual_error < tensor.autograd_error ? 1 : 0;
    autograd += tensor.autograd_error < tensor.manual_error ? 1 : 0;
  }
  std::string text = fmt::format("{} of {} tensors agree", agree, comparison.tensors.size());
  if (comparison.has_reference) {
    text += fmt::format("; the manual twin is nearer to float64 in {}, the autograd twin in {}", manual,
                        autograd);
  }
  return text + (comparison.at_fault.empty() ? "" : "\nat fault: " + comparison.at_fault);
}

}  // namespace

std::string comparison_table(const Comparison& comparison, const std::string& about) {
  const double share = static_cast<double>(comparison.rows_set_aside) / static_cast<double>(comparison.rows);
  std::string text = fmt::format("{} · {} of {} rows set aside near a kink{}\n\n", about,
                                 with_separators(comparison.rows_set_aside), with_separators(comparison.rows),
                                 share > 0.05 ? " (more than 5%)" : "");
  std::size_t width = 6;
  std::string first_wrong;
  for (const TensorComparison& tensor : comparison.tensors) {
    width = std::max(width, tensor.name.size());
    if (first_wrong.empty() && tensor.verdict == Verdict::differs) {
      first_wrong = tensor.name;
    }
  }
  const bool judged = comparison.has_reference;
  const auto line = [&](const auto&... cells) {
    const auto cell = [&](const auto& value) { return std::string(value); };
    const std::vector<std::string> row = {cell(cells)...};
    text += fmt::format("{:<{}}  {:<12} {:>8} {:>8} {:>7} {:>9}  ", row[0], width, row[1], row[2], row[3],
                        row[4], row[5]);
    text += judged ? fmt::format("{:>8} {:>8}  {}\n", row[6], row[7], row[8]) : row[8] + "\n";
  };
  text += fmt::format("{:<{}}  {:<12} {:>8} {:>26}  {}\n", "", width, "", "", "|manual - autograd|",
                      judged ? "error to float64" : "");
  line("tensor", "shape", "largest", "abs", "in ulp", "identical", "manual", "autograd", "verdict");
  for (const TensorComparison& tensor : comparison.tensors) {
    line(tensor.name, fmt::format("[{}]", fmt::join(tensor.shape, ", ")), number_cell(tensor.largest),
         number_cell(tensor.max_abs), ulp_cell(tensor.max_ulp), identical_cell(tensor),
         number_cell(tensor.manual_error), number_cell(tensor.autograd_error),
         verdict_cell(tensor, first_wrong, comparison.at_fault));
  }
  return text + "\n" + conclusion(comparison) + "\n";
}

}  // namespace twingrad
