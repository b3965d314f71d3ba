#include "twingrad/io/stored_tensor.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace twingrad {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are copied without conversion");

/// Whether the elements follow each other. The stride of a dimension of size 1 does not matter.
bool is_contiguous(const StoredTensor& tensor) {
  const std::vector<std::int64_t> contiguous = contiguous_strides(tensor.shape);
  for (std::size_t i = 0; i < contiguous.size(); ++i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != contiguous[i]) return false;
  }
  return true;
}

/// Iterates over the elements of a tensor in row-major order.
class ElementIterator {
 public:
  explicit ElementIterator(const StoredTensor& tensor) : tensor_(tensor), index_(tensor.shape.size(), 0) {}

  /// From the first element to the current one, in elements.
  std::uint64_t offset() const { return offset_; }

  void step() {
    for (std::size_t i = index_.size(); i-- > 0;) {
      const auto stride = static_cast<std::uint64_t>(tensor_.strides[i]);
      offset_ += stride;
      if (++index_[i] < tensor_.shape[i]) return;
      // Unsigned: the stride of a dimension of size 1 can have any value, and may overflow here.
      offset_ -= stride * static_cast<std::uint64_t>(tensor_.shape[i]);
      index_[i] = 0;
    }
  }

 private:
  const StoredTensor& tensor_;
  std::vector<std::int64_t> index_;
  std::uint64_t offset_ = 0;
};

}  // namespace

std::optional<std::uint64_t> byte_size_of(const std::vector<std::int64_t>& shape, ElementType type) {
  constexpr std::uint64_t kMostBytes = std::numeric_limits<std::int64_t>::max();
  std::uint64_t bytes = format_of(type).size;
  bool empty = false;
  if (shape.size() > kMostDimensions) return std::nullopt;
  for (const std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    empty = empty || size == 0;
    if (size == 0) continue;  // LibTorch multiplies the other sizes for the strides
    if (bytes > kMostBytes / static_cast<std::uint64_t>(size)) return std::nullopt;
    bytes *= static_cast<std::uint64_t>(size);
  }
  return empty ? 0 : bytes;
}

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<std::int64_t>(shape[i], 1);
  }
  return strides;
}

void copy_elements(const StoredTensor& tensor, std::string_view file, char* destination) {
  const std::uint64_t bytes = byte_size_of(tensor.shape, tensor.type).value();
  const char* source = file.data() + tensor.begin;
  if (bytes == 0) return;
  if (is_contiguous(tensor)) {
    std::memcpy(destination, source, bytes);
    return;
  }
  const std::uint64_t size = format_of(tensor.type).size;
  ElementIterator element(tensor);
  for (std::uint64_t copied = 0; copied < bytes; copied += size) {
    std::memcpy(destination + copied, source + element.offset() * size, size);
    element.step();
  }
}

}  // namespace twingrad
