#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "twingrad/training/observer.h"

namespace twingrad {

/// The folder of one run: metrics.jsonl, a line an event while the run goes on, and summary.json at its end. As long as this
/// lives no other process can write there.
class RunFolder final : public TrainingObserver {
 public:
  /// Makes the folder. An empty `out` stands for runs/<time>-<data set>, with a number behind it should that
  /// exist. Throws UserError when `out` already holds a run, is a file, or cannot be made.
  static std::unique_ptr<RunFolder> begin(const std::filesystem::path& out, const std::string& dataset_name);

  /// The folder of a run that is to be continued. Throws UserError unless it holds one, or when another process is writing to
  /// it.
  static std::unique_ptr<RunFolder> reopen(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  /// Bytes of metrics.jsonl so far, which are on the disk then.
  std::int64_t metrics_size() const;
  /// Cuts it back. Throws UserError if it is shorter already.
  void cut_metrics(std::int64_t size);

  void on_epoch(const EpochMetrics& metrics) override;
  void on_agreement(const Agreement& agreement, double bound) override;
  void write_summary(const nlohmann::ordered_json& summary) const;
  /// The summary that the run has written, empty if it has not.
  nlohmann::ordered_json read_summary() const;

 private:
  RunFolder(std::filesystem::path path, const char* mode);
  void append(const nlohmann::ordered_json& event);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> metrics_;
};

}  // namespace twingrad
