#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace twingrad {

/// The type of the elements of a tensor in a weight file.
enum class ElementType {
  kFloat64,
  kFloat32,
  kFloat16,
  kBFloat16,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUInt8,
  kBool
};

/// The name and size of an element type.
struct ElementFormat {
  ElementType type;
  std::string_view name;           ///< in safetensors files and in messages
  std::string_view torch_storage;  ///< the storage class of Python's torch
  std::uint64_t size;              ///< bytes of one element
};

/// In the order of the enumeration.
inline constexpr std::array<ElementFormat, 10> kElementFormats{{
    {ElementType::kFloat64, "F64", "DoubleStorage", 8},
    {ElementType::kFloat32, "F32", "FloatStorage", 4},
    {ElementType::kFloat16, "F16", "HalfStorage", 2},
    {ElementType::kBFloat16, "BF16", "BFloat16Storage", 2},
    {ElementType::kInt64, "I64", "LongStorage", 8},
    {ElementType::kInt32, "I32", "IntStorage", 4},
    {ElementType::kInt16, "I16", "ShortStorage", 2},
    {ElementType::kInt8, "I8", "CharStorage", 1},
    {ElementType::kUInt8, "U8", "ByteStorage", 1},
    {ElementType::kBool, "BOOL", "BoolStorage", 1},
}};

constexpr const ElementFormat& format_of(ElementType type) {
  return kElementFormats[static_cast<std::size_t>(type)];
}

/// Tensors with more dimensions are refused, as in LibTorch's own reductions.
inline constexpr std::size_t kMostDimensions = 64;

/// The location of a tensor's elements in a file: element [i, j, …] begins at begin + (i·strides[0] +
/// j·strides[1] + …) · size of an element, and ends at or before `end`. Little endian.
struct StoredTensor {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;    ///< ≥ 0; empty for a scalar
  std::vector<std::int64_t> strides;  ///< in elements, ≥ 0, one per dimension
  std::uint64_t begin = 0;            ///< offsets in the file
  std::uint64_t end = 0;

  bool operator==(const StoredTensor&) const = default;
};

/// The size in bytes of a tensor of this shape. std::nullopt for more than 64 dimensions, a negative size,
/// and if the product of the sizes other than 0 exceeds 2^63 - 1 bytes.
std::optional<std::uint64_t> byte_size_of(const std::vector<std::int64_t>& shape, ElementType type);

/// The strides of a contiguous row-major tensor. The shape must have a byte_size_of.
std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape);

/// Copies the elements in row-major order to `destination`, which has room for byte_size_of(shape, type).
void copy_elements(const StoredTensor& tensor, std::string_view file, char* destination);

}  // namespace twingrad
