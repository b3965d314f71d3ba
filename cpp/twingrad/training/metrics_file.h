#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "twingrad/training/progress.h"

namespace twingrad {

/// The events of metrics.jsonl.
struct RunMetrics {
  std::vector<EpochMetrics> epochs;
  std::vector<Agreement> agreements;
};

/// Reads metrics.jsonl in the directory of a run, also while the run goes on: an incomplete last line is
/// ignored, and so are unknown events. Throws UserError for a line that is not an event.
RunMetrics read_metrics(const std::filesystem::path& directory);

/// The lines of metrics.csv, each with its line feed. A number that is not finite is "inf", "-inf" or "nan".
std::string metrics_csv_header();
std::string metrics_csv_row(const EpochMetrics& metrics);

}  // namespace twingrad
