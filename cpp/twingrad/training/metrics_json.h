#pragma once

#include <nlohmann/json_fwd.hpp>

#include "twingrad/training/progress.h"

namespace twingrad {

/// The two kinds of line in metrics.jsonl. A number that is not finite becomes null.
nlohmann::ordered_json to_json(const EpochMetrics& metrics);
nlohmann::ordered_json to_json(const Agreement& agreement);

}  // namespace twingrad
