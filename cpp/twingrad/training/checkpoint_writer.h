#pragma once

#include <utility>
#include <vector>

#include "twingrad/training/checkpoint.h"
#include "twingrad/training/run_folder.h"

namespace twingrad {

/// Writes a checkpoint whenever the trainer asks for one.
class CheckpointWriter final : public TrainingObserver {
 public:
  /// run: becomes Checkpoint::run. twins and folder must outlive the writer.
  CheckpointWriter(const std::vector<Twin*>& twins, const RunFolder& folder, nlohmann::json run)
      : twins_(twins), folder_(folder), run_(std::move(run)), checkpoints_(folder.path() / "checkpoint") {}

  void on_checkpoint(const TrainingProgress& progress) override {
    checkpoints_.write({{progress, folder_.metrics_size(), run_}, tensors_of(twins_)});
  }

 private:
  const std::vector<Twin*>& twins_;
  const RunFolder& folder_;
  nlohmann::json run_;
  CheckpointFolder checkpoints_;
};

}  // namespace twingrad
