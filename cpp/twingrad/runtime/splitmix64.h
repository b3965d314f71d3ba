#pragma once

#include <cstdint>

namespace twingrad {

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). Its
/// numbers are the same on every machine, unlike those of the standard library's distributions.
class SplitMix64 {
 public:
  explicit constexpr SplitMix64(std::uint64_t seed) : state_(seed) {}

  /// The index-th number of the sequence, counted from 1. Stateless, so the compiler can vectorize loops.
  static constexpr std::uint64_t number(std::uint64_t seed, std::uint64_t index) {
    return mixed(seed + index * kStep);
  }

  constexpr std::uint64_t next() { return mixed(state_ += kStep); }

  /// A number from 0 to limit − 1, for limit ≤ 2³². The relative bias is at most limit / 2³².
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
