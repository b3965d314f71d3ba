#pragma once

#include <nlohmann/json.hpp>

#include "twingrad/training/progress.h"

namespace twingrad {

/// The JSON form of the results of a run, the same in metrics.jsonl, summary.json and checkpoints. A number
/// that is not finite becomes the text "inf", "-inf", "nan" or "-nan".
nlohmann::ordered_json to_json(const EpochMetrics& metrics);
nlohmann::ordered_json to_json(const Agreement& agreement);
nlohmann::ordered_json to_json(const TrainingProgress& progress);

/// Counts are integers from 0 to 10^13: no run reaches more in years, and sums of the counts of one file stay
/// below 2^63.
constexpr std::int64_t kLargestCount = 10'000'000'000'000;

/// Reads a progress. Throws std::exception unless each part is there and of its type, counts are in range,
/// and each twin with metrics has its seconds.
TrainingProgress progress_from_json(const nlohmann::json& json);

}  // namespace twingrad
