#pragma once

namespace twingrad {

/// From now on memory that is freed stays with the process, for the next tensor of that size. glibc by itself gives large pieces
/// back to the system, and takes them again a step later, page by page and zeroed: of 60,000 rows that is a third of a step
/// under autograd, of a single row half of it. Does nothing with another C library.
void keep_freed_memory();

}  // namespace twingrad
