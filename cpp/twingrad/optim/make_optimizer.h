#pragma once

#include <memory>

#include "twingrad/optim/optimizer.h"
#include "twingrad/optim/options.h"

namespace twingrad::optim {

/// The hand-written optimizer with these options. Gradient clipping is not part of it (clip_by_norm.h).
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options);

}  // namespace twingrad::optim
