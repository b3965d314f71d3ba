#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "twingrad/mlp/twin.h"
#include "twingrad/report/run_description.h"
#include "twingrad/report/run_report.h"
#include "twingrad/training/observer.h"

namespace twingrad {

/// Writes report.html into the directory of a run, and report.json, which holds what the other files of the
/// directory do not: at the end, and after an epoch if the last time was at least two seconds ago. An error
/// is printed once to standard error and does not stop the run. report.json is also written at the start, for
/// `twingrad report`.
class ReportWriter final : public TrainingObserver {
 public:
  /// command: repeats the run. The directory holds metrics.jsonl; of a resumed run it must be truncated
  /// already. run and twins must outlive the writer.
  ReportWriter(const RunDescription& run, const std::vector<Twin*>& twins,
               const std::filesystem::path& directory, const std::string& command);

  void on_epoch(const EpochMetrics& metrics) override;
  void on_agreement(const Agreement& agreement, bool is_report) override;
  void on_test_results(const TestResults& results, const TrainingResult& result) override;

  /// Writes the report of a run that has ended.
  void finish(const TrainingResult& result);
  /// Writes the report of a run that a failed check has stopped.
  void finish_failed(const std::string& message);

 private:
  void add_result(const TrainingResult& result);
  void write(const std::string& status);
  void write_facts() const;
  void attempt(const std::function<void()>& action);

  const RunDescription& run_;
  const std::vector<Twin*>& twins_;
  std::filesystem::path directory_;
  RunReport report_;
  std::optional<TestResults> results_;  ///< of the last evaluation in this process
  double last_write_;
  bool has_failed_ = false;
};

}  // namespace twingrad
