#pragma once

#include <string>
#include <vector>

namespace twingrad {

/// The known name that is spelled most like `text`, or "" if none is near: at most a third of its letters, or
/// two, have to be inserted, deleted or replaced (Levenshtein's distance).
std::string nearest_name(const std::string& text, const std::vector<std::string>& known);

}  // namespace twingrad
