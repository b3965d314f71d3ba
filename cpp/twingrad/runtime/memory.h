#pragma once

#include <string_view>

namespace twingrad {

/// From now on, freed memory stays with the process for the next tensor of that size. By default glibc
/// returns large blocks to the system and gets them back a step later, page by page and zeroed: under
/// autograd that takes a third of a step with 60,000 rows, and half of a step with one row. Does nothing with
/// other C libraries.
void keep_freed_memory();

/// Whether this message of a c10::Error reports that memory could not be allocated, on the CPU or on a GPU.
bool reports_out_of_memory(std::string_view message);

}  // namespace twingrad
