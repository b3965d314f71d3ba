#pragma once

#include <vector>

#include "twingrad/catalogue/check_result.h"
#include "twingrad/catalogue/entry.h"
#include "twingrad/catalogue/optimizers.h"
#include "twingrad/catalogue/schedules.h"

namespace twingrad::catalogue {

/// The checks of an entry, by hand as it is. None if it has none of that dtype: a schedule knows no float32.
std::vector<Check> check(const Entry& entry, const Where& where = {});
std::vector<Check> check(const OptimizerEntry& entry, const Where& where = {});
std::vector<Check> check(const ValuesEntry& entry, const Where& where = {});

/// The same with a bug planted.
std::vector<Check> check(const Entry& entry, const Bug& bug, const Where& where = {});
std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug, const Where& where = {});
std::vector<Check> check(const ValuesEntry& entry, const ValuesBug& bug, const Where& where = {});

/// The error of central differences of a smooth case, step sizes 1e-1 … 1e-12: large steps err by h², small
/// ones by ε/h. Empty for an entry without a smooth case.
std::vector<SweepPoint> sweep(const Entry& entry);

}  // namespace twingrad::catalogue
