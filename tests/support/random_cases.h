#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

#include "twingrad/runtime/splitmix64.h"

namespace twingrad::testing {

/// The random choices of one test case: shapes, options, seeds. They depend only on the seed.
class RandomCase {
 public:
  explicit RandomCase(std::uint64_t seed) : numbers_(seed) {}

  /// An integer from `first` to `last`, both included.
  std::int64_t integer(std::int64_t first, std::int64_t last) {
    return first + static_cast<std::int64_t>(numbers_.below(static_cast<std::uint64_t>(last - first + 1)));
  }

  /// A number from [low, high).
  double real(double low, double high) {
    return low + (high - low) * static_cast<double>(numbers_.next() >> 11) * 0x1p-53;
  }

  /// True with this probability.
  bool chance(double probability = 0.5) { return real(0, 1) < probability; }

  template <typename T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[integer(0, static_cast<std::int64_t>(values.size()) - 1)];
  }

  template <typename T>
  const T& one_of(const std::vector<T>& values) {
    return values[static_cast<std::size_t>(integer(0, static_cast<std::int64_t>(values.size()) - 1))];
  }

  /// A seed for another generator, such as at::manual_seed.
  std::uint64_t seed() { return numbers_.next() >> 1; }

 private:
  SplitMix64 numbers_;
};

/// Runs test(random) for `count` random cases, or for TWINGRAD_CASES cases if that is set, and stops at the
/// first case that fails. A failure prints the seed of its case; TWINGRAD_SEED=<seed> runs that case alone.
template <typename Test>
void for_random_cases(std::uint64_t count, const Test& test) {
  const auto number = [](const char* variable, std::uint64_t otherwise) -> std::uint64_t {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
  };
  const std::uint64_t only = number("TWINGRAD_SEED", 0);
  const std::uint64_t cases = only != 0 ? 1 : std::max<std::uint64_t>(1, number("TWINGRAD_CASES", count));
  for (std::uint64_t i = 1; i <= cases; ++i) {
    const std::uint64_t seed = only != 0 ? only : i;
    SCOPED_TRACE("TWINGRAD_SEED=" + std::to_string(seed));
    RandomCase random(seed);
    test(random);
    if (::testing::Test::HasFailure()) {
      return;
    }
  }
}

}  // namespace twingrad::testing
