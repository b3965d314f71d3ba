#pragma once

#include <string>
#include <string_view>

namespace twingrad {

/// Text from a file as it can stand in a message of one line: every byte but the printable ASCII characters
/// is written as \xNN, a backslash as \\, and what is longer than 80 bytes is cut and ends in "…".
std::string printable(std::string_view text);

/// Whether the text is well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (RFC
/// 3629).
bool is_utf8(std::string_view text);

}  // namespace twingrad
