#pragma once

#include <string>
#include <string_view>

namespace twingrad {

/// Escapes text from a file for a one-line message: bytes other than printable ASCII become \xNN and a
/// backslash becomes \\. Text of more than 80 bytes is cut and ends in "…".
std::string printable(std::string_view text);

/// Whether the text is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above
/// U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace twingrad
