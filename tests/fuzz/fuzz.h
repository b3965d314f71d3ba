#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

/// libFuzzer calls this with every input (https://llvm.org/docs/LibFuzzer.html). A crash, an exception, a
/// leak or a report of a sanitizer is a bug.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace twingrad::fuzz {

/// Aborts unless the condition holds, in every build.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Requires an error message of one line without control characters.
inline void require_one_line(std::string_view message) {
  for (const char character : message) {
    const auto byte = static_cast<unsigned char>(character);
    require(byte >= ' ' && byte != 0x7f, "a message has no control characters");
  }
}

}  // namespace twingrad::fuzz
