#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/training/checkpoint.h"
#include "twingrad/training/run_folder.h"
#include "twingrad/training/run_record.h"
#include "twingrad/training/trainer.h"

namespace twingrad {

/// A run that is taken up again where its newest whole checkpoint stands.
class Resumption {
 public:
  /// Opens the folder of a run. Throws UserError unless it holds a whole checkpoint that train has written, or when another
  /// process is writing there.
  explicit Resumption(const std::string& path);

  const CheckpointFolder::Newest& newest() const { return newest_; }
  const RunRecord& record() const { return record_; }

  /// The summary of the run if nothing of so many epochs is left to do, otherwise nothing (null).
  nlohmann::ordered_json finished_summary(std::int64_t epochs) const;

  /// Throws UserError unless the run may go on with these settings (settings_of in run_description.h) and this data.
  void refuse_another_run(nlohmann::ordered_json settings) const;

  /// Puts the twins and the run's metrics back to the checkpoint, and returns where the run stands. images: how many it trains
  /// on. Throws UserError for a checkpoint that cannot be of such a run.
  TrainingProgress take_up(const std::vector<Twin*>& twins, const TrainingOptions& training,
                           std::int64_t images);

  /// Hands the folder over to who goes on writing it.
  std::unique_ptr<RunFolder> take_folder() { return std::move(folder_); }

 private:
  std::string path_;
  std::unique_ptr<RunFolder> folder_;
  CheckpointFolder::Newest newest_;
  RunRecord record_;
};

}  // namespace twingrad
