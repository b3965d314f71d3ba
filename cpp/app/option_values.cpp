#include "app/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "twingrad/runtime/nearest_name.h"

namespace twingrad::app {
namespace {

/// Parses all of `text`, or returns false.
template <typename Number>
bool parse_whole(const std::string& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end;
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

std::vector<double> parse_numbers(const std::string& option, const std::string& text, double minimum,
                                  double maximum) {
  std::vector<double> numbers;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    double number = 0;
    if (!parse_whole(text.substr(begin, comma - begin), number) ||
        !(number >= minimum && number <= maximum)) {
      throw UserError(
          option,
          fmt::format("expected numbers from {} to {} such as 1,2.5, found '{}'", minimum, maximum, text),
          "separate such numbers by commas alone");
    }
    numbers.push_back(number);
    begin = comma + 1;
  }
  return numbers;
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

std::string suggestion(const std::string& text, const std::vector<std::string>& known) {
  const std::string best = nearest_name(text, known);
  return best.empty() ? "" : " (did you mean " + best + "?)";
}

}  // namespace twingrad::app
