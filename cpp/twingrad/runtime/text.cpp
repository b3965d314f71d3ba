#include "twingrad/runtime/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace twingrad {
namespace {

/// The length in bytes of a character with a given first byte (0 if the byte is not a valid first byte), and
/// the smallest code point of that length.
struct Lead {
  std::size_t length;
  std::uint32_t smallest;
};

Lead lead_of(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0};
  if (byte >> 5 == 0b110) return {2, 0x80};
  if (byte >> 4 == 0b1110) return {3, 0x800};
  if (byte >> 3 == 0b11110) return {4, 0x10000};
  return {0, 0};
}

/// The length in bytes of the first character of the text; 0 if it is malformed.
std::size_t length_of_character(std::string_view text) {
  const auto first = static_cast<std::uint8_t>(text.front());
  const Lead lead = lead_of(first);
  if (lead.length == 0 || lead.length > text.size()) return 0;
  std::uint32_t code_point = lead.length == 1 ? first : first & (0x7fU >> lead.length);
  for (const char next : text.substr(1, lead.length - 1)) {
    const auto byte = static_cast<std::uint8_t>(next);
    if (byte >> 6 != 0b10) return 0;
    code_point = code_point << 6 | (byte & 0x3fU);
  }
  const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  return code_point < lead.smallest || code_point > 0x10ffff || surrogate ? 0 : lead.length;
}

}  // namespace

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
  while (!text.empty()) {
    const std::size_t length = length_of_character(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace twingrad
