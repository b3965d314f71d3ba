#pragma once

#include <nlohmann/json.hpp>

#include "twingrad/training/progress.h"

namespace twingrad {

/// The JSON form of the results of a run, the same in metrics.jsonl, summary.json and checkpoints. A number
/// that is not finite becomes the text "inf", "-inf", "nan" or "-nan".
nlohmann::ordered_json to_json(const EpochMetrics& metrics);
nlohmann::ordered_json to_json(const StepSeconds& seconds);
nlohmann::ordered_json to_json(const Agreement& agreement);
nlohmann::ordered_json to_json(const TrainingProgress& progress);

/// Counts are integers from 0 to 10^13: more than any run reaches in years, and few enough that the sum of
/// all counts of a file stays below 2^63.
constexpr std::int64_t kMaxCount = 10'000'000'000'000;

/// Read what to_json wrote. Throw std::exception if a member is missing or has another type.
EpochMetrics epoch_metrics_from_json(const nlohmann::json& json);
Agreement agreement_from_json(const nlohmann::json& json);

/// Throws std::exception if a member is missing or has another type, if a count is out of range, or if a twin
/// has metrics but no seconds.
TrainingProgress progress_from_json(const nlohmann::json& json);

}  // namespace twingrad
