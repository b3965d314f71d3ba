#include "twingrad/mlp/dropout_masks.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "twingrad/ops/function_clones.h"

namespace twingrad {
namespace {

/// 64 random bits for each counter: splitmix64 of Steele, Lea, Flood, Fast splittable pseudorandom number generators (2014).
/// Without a state that passes from one draw to the next, a loop of them runs in the lanes of the processor; LibTorch's
/// generator took more time for the masks of 784-1024-1024-10 than its products did.
inline std::uint64_t random_bits(std::uint64_t seed, std::uint64_t counter) {
  std::uint64_t bits = seed + counter * 0x9E3779B97F4A7C15;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB;
  return bits ^ (bits >> 31);
}

/// Each entry stays if its 32 random bits, as a number, are below `bound`.
TWINGRAD_FUNCTION_CLONES void draw(std::int64_t count, std::uint64_t seed, std::uint64_t bound, bool* mask) {
  for (std::int64_t i = 0; i + 1 < count; i += 2) {
    const std::uint64_t bits = random_bits(seed, static_cast<std::uint64_t>(i / 2));
    mask[i] = (bits & 0xFFFFFFFF) < bound;
    mask[i + 1] = (bits >> 32) < bound;
  }
  if (count % 2 == 1) {
    mask[count - 1] = (random_bits(seed, static_cast<std::uint64_t>(count / 2)) & 0xFFFFFFFF) < bound;
  }
}

}  // namespace

std::vector<at::Tensor> draw_dropout_masks(const MlpSpec& spec, std::int64_t rows, std::uint64_t seed,
                                           std::int64_t step) {
  std::vector<at::Tensor> masks;
  if (spec.dropout == 0 && spec.input_dropout == 0) {
    return masks;
  }
  const std::uint64_t seed_of_step = random_bits(seed, static_cast<std::uint64_t>(step));
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    if (layer.kind == LayerSpec::Kind::dropout) {
      const auto bound = static_cast<std::uint64_t>(std::llround((1 - layer.dropped) * 0x1p32));
      at::Tensor mask = at::empty({rows, layer.outputs}, at::kBool);
      draw(mask.numel(), random_bits(seed_of_step, masks.size()), bound, mask.data_ptr<bool>());
      masks.push_back(mask);
    }
  }
  return masks;
}

}  // namespace twingrad
