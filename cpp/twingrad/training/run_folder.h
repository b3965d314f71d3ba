#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "twingrad/training/observer.h"

namespace twingrad {

/// The directory of a run: metrics.jsonl with one line per event and metrics.csv with one row per epoch and
/// twin, both written during the run, and summary.json, written at its end. No other process can write there
/// during the lifetime of this object.
class RunFolder final : public TrainingObserver {
 public:
  /// Creates the directory. If `out` is empty, the directory is runs/<time>-<data set>, with a number
  /// appended if that exists. Throws UserError if `out` already contains a run, is a file, or cannot be
  /// created.
  static std::unique_ptr<RunFolder> begin(const std::filesystem::path& out, const std::string& dataset_name);

  /// Opens the directory of a run to resume. Throws UserError if it contains none, or if another process is
  /// writing to it.
  static std::unique_ptr<RunFolder> reopen(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  /// Flushes metrics.jsonl to the disk and returns its size in bytes.
  std::int64_t metrics_size() const;
  /// Truncates metrics.jsonl and writes metrics.csv anew. Throws UserError if metrics.jsonl is already
  /// shorter.
  void truncate_metrics(std::int64_t size);

  void on_epoch(const EpochMetrics& metrics) override;
  void on_agreement(const Agreement& agreement, bool is_report) override;
  void write_summary(const nlohmann::ordered_json& summary) const;
  /// The summary of the run; a discarded value if there is none.
  nlohmann::ordered_json read_summary() const;

 private:
  RunFolder(std::filesystem::path path, const char* mode);
  void begin_table();
  void append_row(const EpochMetrics& metrics);
  void append(const char* kind, const nlohmann::ordered_json& members);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> metrics_;
  std::unique_ptr<std::FILE, Close> table_;  ///< metrics.csv
};

}  // namespace twingrad
