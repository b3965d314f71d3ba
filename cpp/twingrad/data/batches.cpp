#include "twingrad/data/batches.h"

#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "twingrad/ops/function_clones.h"

namespace twingrad::data {
namespace {

/// The smallest part of a batch for which waking a thread is faster.
constexpr std::int64_t kLeastPixels = 20'000;

/// The number of rows to prefetch: the rows of a batch are scattered in memory, and fetching one takes longer
/// than scaling it. (Inline in the loop: the compiler drops a call to a function that only prefetches.)
constexpr std::int64_t kRowsAhead = 4;
constexpr std::int64_t kCacheLineSize = 64;

/// row = pixels / 255, rounded as the division rounds (a test compares all 256 values) but three times as
/// fast: 1/255 is split into high + low, where high has few enough digits for an exact product with a byte.
template <typename Scalar>
inline __attribute__((always_inline)) void scale_row(const std::uint8_t* pixels, std::int64_t width,
                                                     Scalar* row) {
  constexpr int kDigits = std::numeric_limits<Scalar>::digits - 8;
  constexpr auto kUnit = static_cast<double>(std::uint64_t{1} << (kDigits + 7));  // 1/255 is in [2⁻⁸, 2⁻⁷)
  constexpr double kHigh = static_cast<double>(static_cast<std::uint64_t>(kUnit / 255)) / kUnit;
  constexpr auto high = static_cast<Scalar>(kHigh);
  constexpr auto low = static_cast<Scalar>((1 - 255 * kHigh) / 255);
  for (std::int64_t i = 0; i < width; ++i) {
    const auto pixel = static_cast<Scalar>(pixels[i]);
    row[i] = pixel * high + pixel * low;
  }
}

TWINGRAD_FUNCTION_CLONES void scale_row_float(const std::uint8_t* pixels, std::int64_t width, float* row) {
  scale_row(pixels, width, row);
}

TWINGRAD_FUNCTION_CLONES void scale_row_double(const std::uint8_t* pixels, std::int64_t width, double* row) {
  scale_row(pixels, width, row);
}

}  // namespace

ImageTensors::ImageTensors(const LabelledImages& images, at::Device device, std::shared_ptr<ThreadPool> pool)
    : pool_(std::move(pool)) {
  // from_blob needs a mutable pointer; nothing is written through it.
  auto* bytes = const_cast<std::uint8_t*>(images.pixels.data());
  pixels_ = at::from_blob(bytes, {images.count, images.height * images.width}, at::kByte).to(device);
  labels_ = at::empty({images.count}, at::kLong);
  std::copy(images.labels.begin(), images.labels.end(), labels_.data_ptr<std::int64_t>());
  labels_ = labels_.to(device);
}

void ImageTensors::gather(const at::Tensor& indices, at::Tensor& images, at::Tensor& labels) const {
  const bool is_float = images.scalar_type() == at::kFloat;
  if (!pixels_.device().is_cpu() || !(is_float || images.scalar_type() == at::kDouble)) {
    gather_by_tensor_operations(indices, images, labels);
    return;
  }
  const std::int64_t batch_size = indices.size(0);
  const std::int64_t width = pixels_.size(1);
  images.resize_({batch_size, width});
  labels.resize_({batch_size});
  const auto* index = indices.data_ptr<std::int64_t>();
  const auto* pixels = pixels_.data_ptr<std::uint8_t>();
  const auto* from = labels_.data_ptr<std::int64_t>();
  auto* to = labels.data_ptr<std::int64_t>();
  const int parts =
      static_cast<int>(std::clamp<std::int64_t>(batch_size * width / kLeastPixels, 1, pool_->count()));
  pool_->run(parts, [&](int part) {
    const auto [first, size] = part_of(batch_size, parts, part);
    const std::int64_t end = first + size;
    for (std::int64_t row = first - kRowsAhead; row < end; ++row) {
      if (const std::int64_t ahead = row + kRowsAhead; ahead < end) {
        const std::uint8_t* pixel = pixels + index[ahead] * width;
        for (std::int64_t byte = 0; byte < width; byte += kCacheLineSize) {
          __builtin_prefetch(pixel + byte);
        }
        __builtin_prefetch(from + index[ahead]);
      }
      if (row < first) {
        continue;
      }
      const std::uint8_t* source = pixels + index[row] * width;
      if (is_float) {
        scale_row_float(source, width, images.data_ptr<float>() + row * width);
      } else {
        scale_row_double(source, width, images.data_ptr<double>() + row * width);
      }
      to[row] = from[index[row]];
    }
  });
}

void ImageTensors::gather_by_tensor_operations(const at::Tensor& indices, at::Tensor& images,
                                               at::Tensor& labels) const {
  const at::Tensor rows = indices.to(pixels_.device());
  images.resize_({indices.size(0), pixels_.size(1)}).copy_(pixels_.index_select(0, rows)).div_(255);
  labels.resize_({indices.size(0)}).copy_(labels_.index_select(0, rows));
}

__extension__ using Wide = unsigned __int128;

at::Tensor shuffled_indices(std::int64_t count, std::uint64_t seed, std::int64_t epoch) {
  at::Tensor indices = at::arange(count, at::kLong);
  auto* index = indices.data_ptr<std::int64_t>();
  std::seed_seq mixed{seed, seed >> 32, static_cast<std::uint64_t>(epoch)};
  std::mt19937_64 random(mixed);
  for (std::int64_t last = count - 1; last > 0; --last) {
    // The high half of a 64 × 64 bit product maps the number to 0 … last. std::uniform_int_distribution
    // differs between standard libraries.
    const auto draw = static_cast<Wide>(random()) * static_cast<std::uint64_t>(last + 1);
    std::swap(index[last], index[static_cast<std::int64_t>(draw >> 64)]);
  }
  return indices;
}

}  // namespace twingrad::data
