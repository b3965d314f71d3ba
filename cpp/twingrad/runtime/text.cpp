#include "twingrad/runtime/text.h"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>

namespace twingrad {

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

}  // namespace twingrad
