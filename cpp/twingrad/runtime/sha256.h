#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace twingrad {

/// SHA-256 (FIPS 180-4), fed piece by piece.
class Sha256 {
 public:
  /// What digests: the processor's own SHA instructions where it has them, several times as fast, or plain C++.
  enum class Code { fastest, portable };

  explicit Sha256(Code code = Code::fastest);
  void update(std::span<const std::uint8_t> bytes);
  /// Ends the message and returns the digest as 64 lowercase hexadecimal digits. Call once.
  std::string hex_digest();

 private:
  /// Takes whole blocks of 64 bytes into the state.
  using Compress = void(std::array<std::uint32_t, 8>& state, std::span<const std::uint8_t> blocks);

  Compress* compress_;
  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> block_{};
  std::size_t filled_ = 0;        ///< bytes waiting in block_
  std::uint64_t byte_count_ = 0;  ///< of the whole message
};

}  // namespace twingrad
