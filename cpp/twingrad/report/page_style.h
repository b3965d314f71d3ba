#pragma once

#include <string>

namespace twingrad {

/// The style sheet of a page, without the rules of plots.
std::string page_style();

/// The script of a page: shows the values under the pointer, or under the finger.
std::string page_script();

}  // namespace twingrad
