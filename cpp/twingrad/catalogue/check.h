#pragma once

#include <vector>

#include "twingrad/catalogue/check_result.h"
#include "twingrad/catalogue/entry.h"
#include "twingrad/catalogue/optimizers.h"
#include "twingrad/catalogue/schedules.h"

namespace twingrad::catalogue {

/// The checks of an entry. Empty if it has none in that dtype: a schedule has none in float32.
std::vector<Check> check(const FunctionEntry& entry, const Where& where = {});
std::vector<Check> check(const OptimizerEntry& entry, const Where& where = {});
std::vector<Check> check(const ValuesEntry& entry, const Where& where = {});

/// The same with a planted bug.
std::vector<Check> check(const FunctionEntry& entry, const Bug& bug, const Where& where = {});
std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug, const Where& where = {});
std::vector<Check> check(const ValuesEntry& entry, const ValuesBug& bug, const Where& where = {});

/// The function of an entry with a bug in its backward pass.
HandWritten with_bug(const FunctionEntry& entry, const Bug& bug);

/// Autograd's gradients of Σ grad_y · reference(inputs) with respect to all inputs but the constants.
Tensors autograd_gradients(const FunctionEntry& entry, Tensors inputs, const Tensor& grad_y);

/// The error of central differences in a smooth case, for step sizes 1e-1 … 1e-12: it grows like h² for large
/// steps and like ε/h for small ones. Empty for an entry without a smooth case.
std::vector<SweepPoint> sweep(const FunctionEntry& entry);

}  // namespace twingrad::catalogue
