#include "twingrad/gradcheck/result.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;

// In the order of the enums.
constexpr const char* kCheckNames[] = {"gradcheck", "gradgradcheck", "check_backward"};
constexpr const char* kModeNames[] = {"full", "fast"};
constexpr const char* kKindNames[] = {"jacobian", "projection", "value"};
constexpr const char* kPartNames[] = {"whole", "real", "imaginary"};
constexpr const char* kCauseNames[] = {
    "none",          "unknown",    "sign",          "factor",     "missing_mean", "extra_mean",
    "transposed",    "conjugated", "diagonal_only", "not_filled", "overwritten",  "kink",
    "discontinuity", "rounding",   "step",          "non_finite",
};

constexpr const char* kBlameNames[] = {"unknown", "gradient", "step"};

template <std::size_t kCount, typename Enum>
const char* name_of(const char* const (&names)[kCount], Enum value) {
  return names[static_cast<std::size_t>(value)];
}

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string value_text(std::complex<double> value) {
  const std::string real = format("%.9g", value.real());
  return value.imag() == 0 ? real : real + format("%+.9gi", value.imag());
}

std::string index_text(const std::vector<std::int64_t>& numbers) {
  std::string text = "[";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(numbers[i]);
  }
  return text + "]";
}

/// Rows of cells as text. Each column is as wide as its widest cell; alignment: one letter per column, l or
/// r.
std::string table_text(const std::vector<std::vector<std::string>>& rows, const std::string& alignment) {
  std::vector<std::size_t> widths(alignment.size());
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      widths[c] = std::max(widths[c], row[c].size());
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - row[c].size(), ' ');
      line += "  " + (alignment[c] == 'r' ? padding + row[c] : row[c] + padding);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string output_text(const GradcheckComparison& c) {
  using Part = GradcheckComparison::Part;
  return (c.part == Part::real ? "Re " : c.part == Part::imaginary ? "Im " : "") + c.output_name;
}

std::string summary_table(const std::vector<GradcheckComparison>& comparisons) {
  std::vector<std::vector<std::string>> rows = {
      {" ", "output", "input", "entries", "bad", "absolute", "relative", ""}};
  for (const GradcheckComparison& c : comparisons) {
    const bool value = c.kind == GradcheckComparison::Kind::value;
    rows.push_back({c.passed ? "ok" : "BAD", output_text(c) + " " + index_text(c.output_shape),
                    value ? "reference" : c.input_name + " " + index_text(c.input_shape),
                    std::to_string(c.entries), std::to_string(c.bad),
                    format("%.2e", c.worst_absolute.absolute), format("%.2e", c.worst_relative.relative),
                    c.explanation});
  }
  return table_text(rows, "lllrrrrl");
}

/// The worst entries, sorted by index like the matrix.
std::string entries_table(const GradcheckComparison& c, std::size_t max_rows) {
  std::vector<GradcheckEntry> entries = c.bad_entries;
  entries.resize(std::min(max_rows, entries.size()));
  std::sort(entries.begin(), entries.end(), [](const GradcheckEntry& a, const GradcheckEntry& b) {
    return std::pair(a.output_index, a.input_index) < std::pair(b.output_index, b.input_index);
  });
  const bool value = c.kind == GradcheckComparison::Kind::value;
  const bool jacobian = c.kind == GradcheckComparison::Kind::jacobian;
  std::vector<std::vector<std::string>> rows = {{" ", "output", "input", value ? "value" : "analytical",
                                                 value ? "reference" : "numerical", "absolute", "relative",
                                                 "tolerance", ""}};
  for (const GradcheckEntry& entry : entries) {
    rows.push_back({"x", jacobian || value ? index_text(entry.output_index) : "",
                    jacobian ? index_text(entry.input_index) : "", value_text(entry.analytical),
                    value_text(entry.numerical), format("%.2e", entry.absolute),
                    format("%.2e", entry.relative), format("%.2e", entry.tolerance),
                    entry.kink ? "kink" : ""});
  }
  const std::string title =
      value ? output_text(c) + " and the reference" : "d " + output_text(c) + " / d " + c.input_name;
  return "\n" + title + ", " + std::to_string(entries.size()) + " of " + std::to_string(c.bad) +
         " bad entries\n" + table_text(rows, "lllrrrrrl");
}

std::string opinion_text(const GradcheckComparison& c, const GradcheckOpinion& opinion) {
  using Blame = GradcheckOpinion::Blame;
  return "second opinion on d " + output_text(c) + index_text(opinion.entry.output_index) + " / d " +
         c.input_name + index_text(opinion.entry.input_index) + ": " + format("%.9g", opinion.derivative) +
         " within " + format("%.0e", opinion.error) +
         (opinion.by_complex_step ? " by a complex step" : " by extrapolation") +
         (std::isnan(opinion.order)
              ? std::string()
              : "; the remainder of Taylor's formula falls with h^" + format("%.2f", opinion.order)) +
         (opinion.blame == Blame::gradient ? ": the gradient is wrong"
          : opinion.blame == Blame::step   ? ": the gradient is right"
                                           : ": this cannot decide") +
         "\n";
}

Json json_of(std::complex<double> value) {
  return value.imag() == 0 ? Json(value.real()) : Json::array({value.real(), value.imag()});
}

Json json_of(const GradcheckEntry& entry) {
  return {{"output_index", entry.output_index},
          {"input_index", entry.input_index},
          {"analytical", json_of(entry.analytical)},
          {"numerical", json_of(entry.numerical)},
          {"absolute", entry.absolute},
          {"relative", entry.relative},
          {"tolerance", entry.tolerance},
          {"passed", entry.passed},
          {"kink", entry.kink}};
}

Json json_of(const GradcheckOpinion& opinion) {
  return {{"output_index", opinion.entry.output_index},
          {"input_index", opinion.entry.input_index},
          {"derivative", opinion.derivative},
          {"error", opinion.error},
          {"complex_step", opinion.by_complex_step},
          {"order", opinion.order},
          {"blame", name_of(kBlameNames, opinion.blame)}};
}

Json json_of(const GradcheckComparison& c) {
  Json opinions = Json::array();
  for (const GradcheckOpinion& opinion : c.opinions) {
    opinions.push_back(json_of(opinion));
  }
  Json bad_entries = Json::array();
  for (const GradcheckEntry& entry : c.bad_entries) {
    bad_entries.push_back(json_of(entry));
  }
  return {{"kind", name_of(kKindNames, c.kind)},
          {"output", c.output},
          {"input", c.input},
          {"part", name_of(kPartNames, c.part)},
          {"output_name", c.output_name},
          {"input_name", c.input_name},
          {"output_shape", c.output_shape},
          {"input_shape", c.input_shape},
          {"entries", c.entries},
          {"bad", c.bad},
          {"kinks", c.kinks},
          {"cause", to_string(c.cause)},
          {"factor", c.factor},
          {"explanation", c.explanation},
          {"worst_absolute", json_of(c.worst_absolute)},
          {"worst_relative", json_of(c.worst_relative)},
          {"bad_entries", bad_entries},
          {"opinions", opinions},
          {"passed", c.passed}};
}

}  // namespace

const char* to_string(GradcheckCause cause) { return name_of(kCauseNames, cause); }

std::string GradcheckResult::to_string(std::size_t max_rows) const {
  std::string text = std::string(name_of(kCheckNames, check)) + (passed ? ": passed (" : ": FAILED (") +
                     name_of(kModeNames, mode) + " mode, eps " + format("%g", eps) + ", atol " +
                     format("%g", atol) + ", rtol " + format("%g", rtol) + ")\n";
  for (const std::string& failure : failures) {
    text += "  FAILED: " + failure + "\n";
  }
  for (const std::string& warning : warnings) {
    text += "  warning: " + warning + "\n";
  }
  if (!comparisons.empty()) {
    text += "\n" + summary_table(comparisons);
  }
  for (const GradcheckComparison& comparison : comparisons) {
    if (!comparison.passed && max_rows > 0) {
      text += entries_table(comparison, max_rows);
      text += comparison.opinions.empty() ? "" : opinion_text(comparison, comparison.opinions[0]);
    }
  }
  return text;
}

std::string GradcheckResult::to_json() const {
  Json json = {{"check", name_of(kCheckNames, check)},
               {"passed", passed},
               {"mode", name_of(kModeNames, mode)},
               {"eps", eps},
               {"atol", atol},
               {"rtol", rtol},
               {"comparisons", Json::array()},
               {"failures", failures},
               {"warnings", warnings}};
  for (const GradcheckComparison& comparison : comparisons) {
    json["comparisons"].push_back(json_of(comparison));
  }
  // Messages of exceptions need not be UTF-8: replace what is not, instead of throwing.
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace twingrad
