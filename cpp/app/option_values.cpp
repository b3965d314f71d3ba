#include "app/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace twingrad::app {
namespace {

/// Parses all of `text`, or returns false.
template <typename Number>
bool parse_whole(const std::string& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end;
}

/// How many letters to insert, delete or replace to get from one word to the other.
std::size_t edit_distance(const std::string& from, const std::string& to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replace = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t minimum,
                           std::int64_t maximum) {
  std::int64_t number = 0;
  if (!parse_whole(text, number) || number < minimum || number > maximum) {
    throw UserError(option,
                    fmt::format("expected a whole number from {} to {}, found '{}'", minimum, maximum, text),
                    "give such a number");
  }
  return number;
}

double parse_number(const std::string& option, const std::string& text, double minimum, double maximum) {
  double number = 0;
  if (!parse_whole(text, number) || !std::isfinite(number) || number < minimum || number > maximum) {
    throw UserError(option,
                    fmt::format("expected a number from {} to {}, found '{}'", minimum, maximum, text),
                    "give such a number");
  }
  return number;
}

std::vector<std::int64_t> parse_widths(const std::string& option, const std::string& text) {
  std::vector<std::int64_t> widths;
  if (text == "none") {
    return widths;
  }
  constexpr std::int64_t kWidest = 1'000'000;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    std::int64_t width = 0;
    if (!parse_whole(text.substr(begin, comma - begin), width) || width < 1 || width > kWidest) {
      throw UserError(
          option,
          fmt::format("expected widths from 1 to {} such as 256,128, or none, found '{}'", kWidest, text),
          "separate whole numbers by commas alone");
    }
    widths.push_back(width);
    begin = comma + 1;
  }
  return widths;
}

std::string join_alternatives(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
  }
  return text;
}

std::string nearest(const std::string& text, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& name : known) {
    if (const std::size_t distance = edit_distance(text, name); distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

std::string suggestion(const std::string& text, const std::vector<std::string>& known) {
  const std::string best = nearest(text, known);
  return best.empty() ? "" : " (did you mean " + best + "?)";
}

}  // namespace twingrad::app
