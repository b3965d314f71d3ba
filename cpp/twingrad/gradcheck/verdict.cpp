#include "twingrad/gradcheck/verdict.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace twingrad {
namespace {

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

/// Rows of cells, each column as wide as its widest cell.
class Table {
 public:
  /// alignment: one letter for each column, l or r.
  explicit Table(std::string alignment) : alignment_(std::move(alignment)) {}

  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  std::string to_string() const {
    std::string text;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t c = 0; c < row.size(); ++c) {
        const std::string padding(width(c) - row[c].size(), ' ');
        line += "  " + (alignment_[c] == 'r' ? padding + row[c] : row[c] + padding);
      }
      text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
  }

 private:
  std::size_t width(std::size_t column) const {
    std::size_t width = 0;
    for (const auto& row : rows_) {
      width = std::max(width, row[column].size());
    }
    return width;
  }

  std::string alignment_;
  std::vector<std::vector<std::string>> rows_;
};

std::string output_text(const Comparison& comparison) {
  const char* part = comparison.part == Comparison::Part::real        ? "Re "
                     : comparison.part == Comparison::Part::imaginary ? "Im "
                                                                      : "";
  return part + comparison.output_name;
}

std::string input_text(const Comparison& comparison) {
  return comparison.kind == Comparison::Kind::value ? "reference" : comparison.input_name;
}

std::string summary_table(const std::vector<Comparison>& comparisons) {
  Table table("lllrrrrl");
  table.add({" ", "output", "input", "entries", "bad", "absolute", "relative", ""});
  for (const Comparison& c : comparisons) {
    const bool value = c.kind == Comparison::Kind::value;
    table.add({c.passed ? "ok" : "BAD", output_text(c) + " " + index_text(c.output_shape),
               value ? input_text(c) : input_text(c) + " " + index_text(c.input_shape),
               std::to_string(c.entries), std::to_string(c.bad), format("%.2e", c.worst_absolute.absolute),
               format("%.2e", c.worst_relative.relative), c.explanation});
  }
  return table.to_string();
}

/// The worst entries, then in the order of their indices, as one reads a matrix.
std::string entries_table(const Comparison& c, std::size_t max_rows) {
  std::vector<Entry> entries(c.bad_entries.begin(),
                             c.bad_entries.begin() + std::min(max_rows, c.bad_entries.size()));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.output_index, a.input_index) < std::pair(b.output_index, b.input_index);
  });
  const bool value = c.kind == Comparison::Kind::value;
  std::string text = "\n";
  text += value ? output_text(c) + " against the reference" : "d " + output_text(c) + " / d " + input_text(c);
  text += ", " + std::to_string(entries.size()) + " of " + std::to_string(c.bad) + " bad entries\n";
  Table table("lllrrrrrl");
  table.add({" ", "output", "input", "ours", value ? "reference" : "numeric", "absolute", "relative",
             "tolerance", ""});
  for (const Entry& entry : entries) {
    const bool has_index = c.kind == Comparison::Kind::jacobian;
    table.add({"x", has_index || value ? index_text(entry.output_index) : "",
               has_index ? index_text(entry.input_index) : "", value_text(entry.ours),
               value_text(entry.numeric), format("%.2e", entry.absolute), format("%.2e", entry.relative),
               format("%.2e", entry.tolerance), entry.kink ? "kink" : ""});
  }
  return text + table.to_string();
}

/// A JSON writer for what a verdict holds.
class Json {
 public:
  Json& key(const char* name) { return separate().quote(name).raw(":"), first_ = true, *this; }
  Json& open(char bracket) { return separate().raw(std::string(1, bracket)), first_ = true, *this; }
  Json& close(char bracket) { return raw(std::string(1, bracket)), first_ = false, *this; }
  Json& value(const std::string& text) { return separate().quote(text); }
  Json& value(bool yes) { return separate().raw(yes ? "true" : "false"); }
  Json& value(std::int64_t number) { return separate().raw(std::to_string(number)); }
  Json& value(double number) {
    char text[32];  // enough for the shortest digits that read back the same
    const auto end = std::to_chars(text, text + sizeof text, number).ptr;
    return separate().raw(std::isfinite(number) ? std::string(text, end) : "null");
  }
  Json& value(std::complex<double> number) {
    return number.imag() == 0 ? value(number.real())
                              : open('[').value(number.real()).value(number.imag()).close(']');
  }
  template <typename Items>
  Json& values(const Items& items) {
    open('[');
    for (const auto& item : items) {
      value(item);
    }
    return close(']');
  }
  const std::string& text() const { return text_; }

 private:
  Json& raw(const std::string& text) { return text_ += text, *this; }
  Json& separate() { return raw(first_ ? "" : ","), first_ = false, *this; }
  Json& quote(const std::string& text) {
    text_ += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        text_ += '\\';
        text_ += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        char escape[8];
        std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
        text_ += escape;
      } else {
        text_ += c;
      }
    }
    text_ += '"';
    return *this;
  }

  std::string text_;
  bool first_ = true;
};

void write(Json& json, const Entry& entry) {
  json.open('{');
  json.key("output_index").values(entry.output_index);
  json.key("input_index").values(entry.input_index);
  json.key("ours").value(entry.ours);
  json.key("numeric").value(entry.numeric);
  json.key("absolute").value(entry.absolute);
  json.key("relative").value(entry.relative);
  json.key("tolerance").value(entry.tolerance);
  json.key("passed").value(entry.passed);
  json.key("kink").value(entry.kink);
  json.close('}');
}

void write(Json& json, const Comparison& c) {
  constexpr const char* kKinds[] = {"jacobian", "projection", "value"};
  constexpr const char* kParts[] = {"whole", "real", "imaginary"};
  json.open('{');
  json.key("kind").value(std::string(kKinds[static_cast<int>(c.kind)]));
  json.key("output").value(static_cast<std::int64_t>(c.output));
  json.key("input").value(static_cast<std::int64_t>(c.input));
  json.key("part").value(std::string(kParts[static_cast<int>(c.part)]));
  json.key("output_name").value(c.output_name);
  json.key("input_name").value(c.input_name);
  json.key("output_shape").values(c.output_shape);
  json.key("input_shape").values(c.input_shape);
  json.key("entries").value(c.entries);
  json.key("bad").value(c.bad);
  json.key("kinks").value(c.kinks);
  json.key("cause").value(std::string(name_of(c.cause)));
  json.key("factor").value(c.factor);
  json.key("explanation").value(c.explanation);
  write(json.key("worst_absolute"), c.worst_absolute);
  write(json.key("worst_relative"), c.worst_relative);
  json.key("bad_entries").open('[');
  for (const Entry& entry : c.bad_entries) {
    write(json, entry);
  }
  json.close(']');
  json.key("passed").value(c.passed);
  json.close('}');
}

}  // namespace

const char* name_of(Cause cause) {
  switch (cause) {
    case Cause::none:
      return "none";
    case Cause::unknown:
      return "unknown";
    case Cause::sign:
      return "sign";
    case Cause::factor:
      return "factor";
    case Cause::missing_mean:
      return "missing_mean";
    case Cause::extra_mean:
      return "extra_mean";
    case Cause::transposed:
      return "transposed";
    case Cause::conjugated:
      return "conjugated";
    case Cause::diagonal_only:
      return "diagonal_only";
    case Cause::not_filled:
      return "not_filled";
    case Cause::overwritten:
      return "overwritten";
    case Cause::kink:
      return "kink";
    case Cause::discontinuity:
      return "discontinuity";
    case Cause::non_finite:
      return "non_finite";
  }
  return "";
}

std::string Verdict::to_string(std::size_t max_rows) const {
  std::string text = check + (passed ? ": passed" : ": FAILED") + " (" + mode + " mode, eps " +
                     format("%g", eps) + ", atol " + format("%g", atol) + ", rtol " + format("%g", rtol) +
                     ")\n";
  for (const std::string& failure : failures) {
    text += "  FAILED: " + failure + "\n";
  }
  for (const std::string& warning : warnings) {
    text += "  warning: " + warning + "\n";
  }
  if (!comparisons.empty()) {
    text += "\n";
    text += summary_table(comparisons);
  }
  for (const Comparison& comparison : comparisons) {
    if (!comparison.passed && max_rows > 0) {
      text += entries_table(comparison, max_rows);
    }
  }
  return text;
}

std::string Verdict::to_json() const {
  Json json;
  json.open('{');
  json.key("check").value(check);
  json.key("passed").value(passed);
  json.key("mode").value(mode);
  json.key("eps").value(eps);
  json.key("atol").value(atol);
  json.key("rtol").value(rtol);
  json.key("comparisons").open('[');
  for (const Comparison& comparison : comparisons) {
    write(json, comparison);
  }
  json.close(']');
  json.key("failures").values(failures);
  json.key("warnings").values(warnings);
  json.close('}');
  return json.text();
}

}  // namespace twingrad
