#include "twingrad/runtime/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace twingrad {

std::string with_separators(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto place = static_cast<std::ptrdiff_t>(digits.size()) - 3; place > (number < 0 ? 1 : 0);
       place -= 3) {
    digits.insert(static_cast<std::size_t>(place), 1, ',');
  }
  return digits;
}

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string line;
  for (const char character : text.substr(0, kLongest)) {
    if (character == '\\') {
      line += "\\\\";
    } else if (character >= ' ' && character <= '~') {
      line += character;
    } else {
      line += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(character));
    }
  }
  return text.size() > kLongest ? line + "…" : line;
}

bool is_utf8(std::string_view text) {
  try {
    nlohmann::json(text).dump();  // refuses malformed UTF-8
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

std::string_view describe_text(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n", kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  const std::string_view start = text.substr(0, 1);
  const auto next = std::min(text.find_first_not_of(kBlanks, 1), text.size());
  const std::string_view after = text.substr(next, 1);
  if (start == "<") {
    const std::string_view head = text.substr(0, 1024);
    return head.find("<svg") != head.npos ? "an SVG image"
           : head.starts_with("<?xml")    ? "an XML document"
                                          : "an HTML page";
  }
  const bool is_object = start == "{" && (after == "\"" || after == "}");
  const bool is_list =
      start == "[" && !after.empty() && std::string_view("[{\"]-0123456789").find(after) != after.npos;
  if (is_object || is_list) {
    return "a JSON document";
  }
  return text.starts_with("version https://git-lfs") ? "a Git LFS pointer" : "";
}

}  // namespace twingrad
