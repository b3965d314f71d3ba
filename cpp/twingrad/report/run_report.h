#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/training/metrics_file.h"

namespace twingrad {

/// What the report of a run shows: the files metrics.jsonl and report.json of its directory.
struct RunReport {
  std::string name;              ///< of the directory
  nlohmann::ordered_json facts;  ///< report.json (report_writer.h); empty for a run of an older version
  RunMetrics metrics;
};

/// The name of the directory of a run, also for "." and "run/".
std::string run_name(const std::filesystem::path& directory);

/// Reads the directory of a run, also while the run goes on. Throws UserError unless it holds a
/// metrics.jsonl, and for damaged files.
RunReport read_run_report(const std::filesystem::path& directory);

/// The report as one HTML page without references to other files.
std::string run_page(const RunReport& report);

/// A run of a comparison, and its own report.
struct LinkedReport {
  RunReport report;
  std::string link;  ///< the address of its report, seen from the comparison; empty: none
};

/// A page that compares runs: results, differences of their settings, curves.
std::string comparison_page(const std::vector<LinkedReport>& runs);

/// Writes a page atomically. Throws UserError if the path exists and is not a report of twingrad.
void write_report(const std::filesystem::path& path, const std::string& page);

}  // namespace twingrad
