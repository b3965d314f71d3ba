#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/training/progress.h"

namespace twingrad {

/// A run at one moment: all that continuing it takes, bit for bit.
struct Checkpoint {
  TrainingProgress progress;
  std::int64_t metrics_size = 0;  ///< bytes of metrics.jsonl that belong to it
  nlohmann::json run;  ///< what the run was told, for who continues it: the program knows what is in there
  std::vector<NamedTensor>
      tensors;  ///< "manual.0.weight", "manual.1.running_mean", "manual.optimizer.mean", …
};

/// Parameters, buffers and optimizer of a twin, with its name in front.
std::vector<NamedTensor> tensors_of(const Twin& twin);

/// Puts them into a twin of the same network and optimizer. Throws std::invalid_argument for what does not fit.
void load(Twin& twin, const Checkpoint& checkpoint);

/// The content of a checkpoint's file: safetensors, with the rest as text in its metadata and the SHA-256 of the whole, so that
/// a bit that was lost is noticed (checkpoint_text.h). Throws UserError for a text that is not UTF-8.
std::string content_of(const Checkpoint& checkpoint);

/// Throws UserError, with `where` in front, for anything that content_of did not write.
Checkpoint parse_checkpoint(const std::string& content, const std::string& where);

/// The folder "checkpoint" of a run: its two newest checkpoints, "step-000000000469.safetensors".
class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path path) : path_(std::move(path)) {}

  /// Writes a checkpoint, whole or not at all, and then removes all but two. Throws UserError if it cannot be written; those
  /// before it then remain.
  void write(const Checkpoint& checkpoint) const;

  /// The newest that is whole, and why newer ones were passed over, one line each.
  struct Newest {
    Checkpoint checkpoint;
    std::filesystem::path path;  ///< its file
    std::vector<std::string> damages;
  };
  /// Throws UserError if there is none.
  Newest read_newest() const;

 private:
  std::vector<std::filesystem::path> files() const;  ///< oldest first

  std::filesystem::path path_;
};

}  // namespace twingrad
