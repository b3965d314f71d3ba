#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "../oracles.h"
#include "twingrad/optim/optimizer.h"

namespace twingrad::testing {

using namespace optim;

/// 1,000 gradients of 60 entries of very different size, 1e-9 to 10, the same for every walk. An epsilon in
/// the wrong place shows only in the tiny ones.
inline const Tensor& recorded_gradients() {
  static const Tensor gradients = [] {
    torch::manual_seed(5);
    return torch::randn({1000, 60}, torch::kDouble) * torch::logspace(-9, 1, 60, 10, torch::kDouble);
  }();
  return gradients;
}

/// Changes both optimizers before a step, for example their learning rate.
using BeforeStep = std::function<void(std::int64_t step, Optimizer& ours, torch::optim::Optimizer& theirs)>;

/// Walks beside an optimizer of torch::optim on the recorded gradients. Returns the largest difference over
/// all steps, relative to max(1, |w|).
inline double largest_distance(Optimizer& ours,
                               const std::function<std::unique_ptr<torch::optim::Optimizer>(Tensor)>& make,
                               const BeforeStep& before_step = nullptr) {
  const Tensor start = torch::linspace(-3, 3, recorded_gradients().size(1), torch::kDouble);
  Tensor by_hand = start.clone();
  Tensor leaf = start.clone().requires_grad_();
  const auto theirs = make(leaf);
  double largest = 0;
  for (std::int64_t step = 0; step < recorded_gradients().size(0); ++step) {
    if (before_step) {
      before_step(step, ours, *theirs);
    }
    const Tensor gradient = recorded_gradients()[step];
    leaf.mutable_grad() = gradient.clone();
    theirs->step();
    ours.step(by_hand, gradient);
    const Tensor expected = leaf.detach();
    const Tensor distance = ((by_hand - expected).abs() / expected.abs().clamp_min(1)).max();
    EXPECT_TRUE(distance.isfinite().item<bool>());
    largest = std::max(largest, distance.item<double>());
  }
  return largest;
}

/// Both walk the same 1,000 steps in float64: 1e-12 is 4,500 roundings of a parameter, some four a step.
constexpr double kBound = 1e-12;

}  // namespace twingrad::testing
