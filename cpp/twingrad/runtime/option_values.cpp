#include "twingrad/runtime/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string_view>
#include <type_traits>

namespace twingrad {
namespace {

/// Parses all of `text`, or returns false. A floating-point number may be a fraction, "1/3".
template <typename Number>
bool parse_whole(const std::string& text, Number& number) {
  if (const std::size_t slash = text.find('/'); std::is_floating_point_v<Number> && slash != text.npos) {
    Number divisor = 0;
    const bool is_fraction = text.find('/', slash + 1) == text.npos &&
                             parse_whole(text.substr(0, slash), number) &&
                             parse_whole(text.substr(slash + 1), divisor);
    number /= divisor;
    return is_fraction;
  }
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end;
}

/// Parses a finite number. what: "an integer", in the error message.
template <typename Number>
Number parse_in_range(const std::string& option, const std::string& text, Number minimum, Number maximum,
                      const char* what) {
  Number number = 0;
  if (parse_whole(text, number) && std::isfinite(number) && number >= minimum && number <= maximum) {
    return number;
  }
  throw UserError(option, fmt::format("expected {} from {} to {}, found '{}'", what, minimum, maximum, text),
                  "choose a number in this range");
}

/// "1,2" → {1, 2}, or {} unless each item is a number from minimum to maximum.
template <typename Number>
std::vector<Number> parse_list(const std::string& text, Number minimum, Number maximum) {
  std::vector<Number> numbers;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    Number& number = numbers.emplace_back();
    if (!parse_whole(text.substr(begin, comma - begin), number) || !std::isfinite(number) ||
        !(number >= minimum && number <= maximum)) {
      return {};
    }
    begin = comma + 1;
  }
  return numbers;
}

/// The Levenshtein distance.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  // row[j]: from the letters of `from` read so far to the first j letters of `to`
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (const char letter : from) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (letter == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t minimum,
                           std::int64_t maximum) {
  return parse_in_range(option, text, minimum, maximum, "an integer");
}

double parse_number(const std::string& option, const std::string& text, double minimum, double maximum) {
  return parse_in_range(option, text, minimum, maximum, "a number");
}

std::vector<double> parse_numbers(const std::string& option, const std::string& text, double minimum,
                                  double maximum) {
  const std::vector<double> numbers = parse_list(text, minimum, maximum);
  if (numbers.empty()) {
    throw UserError(
        option,
        fmt::format("expected numbers from {} to {} such as 1,2.5, found '{}'", minimum, maximum, text),
        "separate the numbers with commas, without spaces");
  }
  return numbers;
}

std::vector<std::int64_t> parse_widths(const std::string& option, const std::string& text) {
  if (text == "none") {
    return {};
  }
  constexpr std::int64_t kWidest = 1'000'000;
  const std::vector<std::int64_t> widths = parse_list<std::int64_t>(text, 1, kWidest);
  if (widths.empty()) {
    throw UserError(
        option,
        fmt::format("expected widths from 1 to {} such as 256,128, or none, found '{}'", kWidest, text),
        "separate the widths with commas, without spaces");
  }
  return widths;
}

bool parse_flag(const std::string& option, const std::string& text) {
  return choose<bool>(option, text,
                      {{"true", true},
                       {"false", false},
                       {"on", true},
                       {"off", false},
                       {"yes", true},
                       {"no", false},
                       {"1", true},
                       {"0", false}});
}

std::string join_alternatives(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
  }
  return text;
}

std::string suggestion(const std::string& text, const std::vector<std::string>& known) {
  std::string nearest;
  std::size_t least = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& name : known) {
    if (const std::size_t distance = edit_distance(text, name); distance < least) {
      least = distance;
      nearest = " (did you mean " + name + "?)";
    }
  }
  return nearest;
}

std::string choose(const std::string& option, const std::string& text,
                   const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), text) == names.end()) {
    throw UserError(option, "expected " + join_alternatives(names) + ", found '" + text + "'",
                    "choose one of these" + suggestion(text, names));
  }
  return text;
}

}  // namespace twingrad
