#pragma once

#include <string>
#include <vector>

#include "app/check_verdicts.h"

namespace twingrad::app {

/// Checks the functions that a shared library defines with TWINGRAD_GRADCHECK_PLUGIN, or those named, and
/// prints the results. Returns the exit status. Throws UserError for a file that is no such library, and for
/// an unknown name.
int check_plugin(const std::string& file, const std::vector<std::string>& names, CheckFormat format);

}  // namespace twingrad::app
