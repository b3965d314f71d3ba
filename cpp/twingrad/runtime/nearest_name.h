#pragma once

#include <string>
#include <vector>

namespace twingrad {

/// The known name closest to `text` by Levenshtein distance, or "" if none is within two edits or within one
/// edit for every three letters of `text`.
std::string nearest_name(const std::string& text, const std::vector<std::string>& known);

}  // namespace twingrad
