#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace twingrad {

/// Escapes text from a file for a one-line message: bytes other than printable ASCII become \xNN and a
/// backslash becomes \\. Text of more than 80 bytes is cut and ends in "…".
std::string printable(std::string_view text);

/// 353210 → "353,210"
std::string with_separators(std::int64_t number);

/// Whether the text is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above
/// U+10FFFF.
bool is_utf8(std::string_view text);

/// What a text that was given instead of another file appears to be, such as "an HTML page" or "a JSON
/// document"; empty if it is not recognized. Blanks and a byte-order mark in front are skipped.
std::string_view describe_text(std::string_view text);

}  // namespace twingrad
