#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/training/checkpoint.h"
#include "twingrad/training/options.h"
#include "twingrad/training/run_folder.h"
#include "twingrad/training/run_record.h"

namespace twingrad {

/// A run that is resumed from its newest undamaged checkpoint.
class Resumption {
 public:
  /// Opens the directory of a run. Throws UserError if it has no undamaged checkpoint written by `twingrad
  /// train`, or if another process is writing to it.
  explicit Resumption(const std::string& path);

  /// The same run in another process, from `content()`.
  Resumption(const std::string& path, const std::string& content);

  /// The content of its checkpoint, for other processes.
  std::string content() const { return content_of(newest_.checkpoint); }

  const CheckpointFolder::Newest& newest() const { return newest_; }
  const RunRecord& record() const { return record_; }

  /// The summary of the run if it has trained for this number of epochs; otherwise null.
  nlohmann::ordered_json finished_summary(std::int64_t epochs) const;

  /// Throws UserError unless the run started with these settings (settings_of in run_description.h), data
  /// included.
  void require_same_settings(const nlohmann::ordered_json& settings) const;

  /// Restores the twins and metrics.jsonl from the checkpoint, and returns the progress of the run. images:
  /// the number of training images. Throws UserError for a checkpoint that cannot belong to this run.
  TrainingProgress restore(const std::vector<Twin*>& twins, const TrainingOptions& training,
                           std::int64_t images);

  /// Passes the directory on to the resumed run.
  std::unique_ptr<RunFolder> release_folder() { return std::move(folder_); }

 private:
  std::string path_;
  std::unique_ptr<RunFolder> folder_;  ///< null in other processes
  CheckpointFolder::Newest newest_;
  RunRecord record_;
};

}  // namespace twingrad
