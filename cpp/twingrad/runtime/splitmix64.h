#pragma once

#include <cstdint>

namespace twingrad {

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the same
/// numbers on every machine, which the distributions of the standard library do not guarantee.
class SplitMix64 {
 public:
  explicit constexpr SplitMix64(std::uint64_t seed) : state_(seed) {}

  /// The index-th number of the sequence, counted from 1. It needs no state, so a loop of these is
  /// vectorized.
  static constexpr std::uint64_t number(std::uint64_t seed, std::uint64_t index) {
    return mixed(seed + index * kStep);
  }

  constexpr std::uint64_t next() { return mixed(state_ += kStep); }

  /// A number from 0 to limit − 1, limit ≤ 2³². Some numbers are more likely than others by up to limit /
  /// 2³².
  constexpr std::uint64_t below(std::uint64_t limit) { return (next() >> 32) * limit >> 32; }

 private:
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;

  static constexpr std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  std::uint64_t state_;
};

}  // namespace twingrad
