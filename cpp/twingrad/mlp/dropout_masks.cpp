#include "twingrad/mlp/dropout_masks.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "twingrad/ops/function_clones.h"
#include "twingrad/runtime/splitmix64.h"

namespace twingrad {
namespace {

/// Each entry is kept if its 32 random bits, as a number, are below `bound`.
TWINGRAD_FUNCTION_CLONES void draw(std::int64_t count, std::uint64_t seed, std::uint64_t bound, bool* mask) {
  for (std::int64_t i = 0; i + 1 < count; i += 2) {
    const std::uint64_t bits = SplitMix64::number(seed, static_cast<std::uint64_t>(i / 2));
    mask[i] = (bits & 0xFFFFFFFF) < bound;
    mask[i + 1] = (bits >> 32) < bound;
  }
  if (count % 2 == 1) {
    mask[count - 1] = (SplitMix64::number(seed, static_cast<std::uint64_t>(count / 2)) & 0xFFFFFFFF) < bound;
  }
}

}  // namespace

std::vector<at::Tensor> draw_dropout_masks(const MlpSpec& spec, std::int64_t rows, std::uint64_t seed,
                                           std::int64_t step) {
  std::vector<at::Tensor> masks;
  if (spec.dropout == 0 && spec.input_dropout == 0) {
    return masks;
  }
  const std::uint64_t seed_of_step = SplitMix64::number(seed, static_cast<std::uint64_t>(step));
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    if (layer.kind == LayerSpec::Kind::dropout) {
      const auto bound = static_cast<std::uint64_t>(std::llround((1 - layer.dropped) * 0x1p32));
      at::Tensor mask = at::empty({rows, layer.outputs}, at::kBool);
      draw(mask.numel(), SplitMix64::number(seed_of_step, masks.size()), bound, mask.data_ptr<bool>());
      masks.push_back(mask);
    }
  }
  return masks;
}

}  // namespace twingrad
