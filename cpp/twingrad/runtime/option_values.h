#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/runtime/error.h"

namespace twingrad {

/// Parses an integer. Throws UserError naming the option unless minimum ≤ number ≤ maximum.
std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t minimum,
                           std::int64_t maximum);

/// Parses a finite number or a fraction such as 1/3. Throws UserError naming the option unless minimum ≤
/// number ≤ maximum.
double parse_number(const std::string& option, const std::string& text, double minimum, double maximum);

/// "1,2.5" → {1, 2.5}. Throws UserError naming the option unless minimum ≤ number ≤ maximum for each.
std::vector<double> parse_numbers(const std::string& option, const std::string& text, double minimum,
                                  double maximum);

/// "256,128" → {256, 128}; "none" → {}.
std::vector<std::int64_t> parse_widths(const std::string& option, const std::string& text);

/// The value of a flag: true, on, yes or 1; false, off, no or 0.
bool parse_flag(const std::string& option, const std::string& text);

/// "autograd, both or manual"
std::string join_alternatives(const std::vector<std::string>& names);

/// " (did you mean relu?)" for the nearest known name, or "" if none is within two edits or within one edit
/// for every three letters of `text`.
std::string suggestion(const std::string& text, const std::vector<std::string>& known);

/// Returns `text` if it is one of the names. Throws UserError listing them otherwise.
std::string choose(const std::string& option, const std::string& text, const std::vector<std::string>& names);

/// A function (option, text) that returns `text` if it is one of the names, as choose does.
inline auto one_of(const std::vector<std::string>& names) {
  return [names](const std::string& option, const std::string& text) { return choose(option, text, names); };
}

/// The value whose name is `text`. Throws UserError listing the names if there is none.
template <typename Value>
Value choose(const std::string& option, const std::string& text,
             const std::vector<std::pair<std::string, Value>>& choices) {
  std::vector<std::string> names;
  for (const auto& [name, value] : choices) {
    if (name == text) {
      return value;
    }
    names.push_back(name);
  }
  choose(option, text, names);
  throw std::logic_error("unreachable: the name is not among the choices");
}

}  // namespace twingrad
