#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/training/checkpoint_text.h"

namespace twingrad {

/// The state of a run. Resuming from it gives the same results, bit for bit.
struct Checkpoint : CheckpointText {
  /// Of all twins: "manual.0.weight", "manual.1.running_mean", "manual.optimizer.0.weight.exp_avg", …
  std::vector<NamedTensor> tensors;
};

/// The parameters, buffers and optimizer state of the twins. Each name begins with that of the twin.
std::vector<NamedTensor> tensors_of(const std::vector<Twin*>& twins);

/// Copies them into a twin of the same network and optimizer. Throws std::invalid_argument if names or shapes
/// differ.
void load(Twin& twin, const Checkpoint& checkpoint);

/// The content of a checkpoint file: the tensors as safetensors, and everything else in the metadata, with a
/// SHA-256 checksum that detects damage (checkpoint_text.h). Throws UserError for a text that is not UTF-8.
std::string content_of(const Checkpoint& checkpoint);

/// Throws UserError, beginning with `where`, for anything that content_of did not write.
Checkpoint parse_checkpoint(const std::string& content, const std::string& where);

/// The directory "checkpoint" of a run with its two newest checkpoints, "step-000000000469.safetensors".
class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path path) : path_(std::move(path)) {}

  /// Writes a checkpoint atomically, then removes all but the two newest. If it cannot be written, throws
  /// UserError and keeps the earlier ones.
  void write(const Checkpoint& checkpoint) const;

  /// The newest undamaged checkpoint, and why newer ones were skipped, one line each.
  struct Newest {
    Checkpoint checkpoint;
    std::filesystem::path path;  ///< of its file
    std::vector<std::string> damages;
  };
  /// Throws UserError if there is none.
  Newest read_newest() const;

 private:
  std::vector<std::filesystem::path> files() const;  ///< oldest first

  std::filesystem::path path_;
};

}  // namespace twingrad
