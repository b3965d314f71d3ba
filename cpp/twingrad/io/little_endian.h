#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

namespace twingrad {

/// Reads an unsigned integer from the first sizeof(T) bytes, which must exist, least significant byte first.
template <std::unsigned_integral T>
T read_little_endian(std::string_view bytes) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes[i]));
  }
  return value;
}

/// The bytes of the value, least significant first.
template <std::unsigned_integral T>
std::string write_little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes += static_cast<char>(value >> 8 * i & 0xff);
  }
  return bytes;
}

}  // namespace twingrad
