#pragma once

#include <string>

#include "twingrad/compare/comparison.h"

namespace twingrad {

/// The comparison as a table with one line per tensor, followed by a line that counts the verdicts. about:
/// the network and the data, for the first line.
std::string comparison_table(const Comparison& comparison, const std::string& about);

}  // namespace twingrad
