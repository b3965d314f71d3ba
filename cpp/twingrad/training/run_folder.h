#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "twingrad/training/observer.h"

namespace twingrad {

/// The folder of one run: metrics.jsonl, a line an event while the run goes on, and summary.json at its end.
class RunFolder final : public TrainingObserver {
 public:
  /// Makes the folder. An empty `out` stands for runs/<time>-<data set>, with a number behind it should that
  /// exist. Throws UserError when `out` already holds a run, is a file, or cannot be made.
  RunFolder(const std::filesystem::path& out, const std::string& dataset_name);

  const std::filesystem::path& path() const { return path_; }

  void on_epoch(const EpochMetrics& metrics) override;
  void on_agreement(const Agreement& agreement, double bound) override;
  void write_summary(const nlohmann::ordered_json& summary) const;

 private:
  void append(const nlohmann::ordered_json& event);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> metrics_;
};

}  // namespace twingrad
