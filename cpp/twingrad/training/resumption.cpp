#include "twingrad/training/resumption.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// "network widths", for the key "/network/widths"
std::string setting_name(const std::string& key) {
  std::string name = key.substr(1);
  std::replace(name.begin(), name.end(), '/', ' ');
  return name;
}

/// Whether a run with this number of images can have this progress.
bool is_possible(const TrainingProgress& progress, const TrainingOptions& training, std::int64_t images,
                 std::size_t twins) {
  const std::int64_t batch_size = training.rows_per_step(images);
  const std::int64_t steps_per_epoch = (images + batch_size - 1) / batch_size;
  const std::int64_t steps_before = progress.result.steps - progress.samples_done / batch_size;
  return progress.epoch >= 1 && progress.samples_done < images && progress.samples_done % batch_size == 0 &&
         steps_before % steps_per_epoch == 0 && steps_before / steps_per_epoch == progress.epoch - 1 &&
         (progress.samples_done == 0 || progress.tallies.size() == twins);
}

}  // namespace

Resumption::Resumption(const std::string& path)
    : path_(path),
      folder_(RunFolder::reopen(path)),
      newest_(CheckpointFolder(std::filesystem::path(path) / "checkpoint").read_newest()),
      record_(run_record_of(newest_.checkpoint.run, newest_.path.string())) {}

Resumption::Resumption(const std::string& path, const std::string& content)
    : path_(path),
      newest_{.checkpoint = parse_checkpoint(content, path), .path = path, .damages = {}},
      record_(run_record_of(newest_.checkpoint.run, path)) {}

nlohmann::ordered_json Resumption::finished_summary(std::int64_t epochs) const {
  const TrainingProgress& progress = newest_.checkpoint.progress;
  nlohmann::ordered_json summary = folder_ ? folder_->read_summary() : nlohmann::ordered_json();
  // A finished run that is resumed with more epochs keeps its old summary until it finishes again.
  const nlohmann::ordered_json::json_pointer steps("/training/steps");
  const bool is_finished = progress.epoch > epochs && summary.is_object() &&
                           summary.value("status", nlohmann::ordered_json()) == "finished" &&
                           summary.contains(steps) && summary.at(steps) == progress.result.steps;
  return is_finished ? summary : nlohmann::ordered_json();
}

void Resumption::require_same_settings(const nlohmann::ordered_json& settings) const {
  const nlohmann::json before = record_.settings.flatten();
  const nlohmann::ordered_json now = settings.flatten();
  std::string option_difference, data_difference;
  for (const auto& [key, value] : now.items()) {
    const auto was = before.find(key);
    if (was == before.end()) {
      throw UserError(
          newest_.path.string(),
          fmt::format("expected the setting {}, found a checkpoint of another version of twingrad "
                      "without it",
                      setting_name(key)),
          "resume the run with the version that started it");
    }
    std::string& difference = key.starts_with("/dataset/") ? data_difference : option_difference;
    if (difference.empty() && nlohmann::json(value) != *was) {
      difference =
          fmt::format("{} {} instead of {}", setting_name(key), value.dump(), printable(was->dump()));
    }
  }
  if (!option_difference.empty()) {
    throw UserError("--resume " + path_,
                    "expected the options that the run started with, found " + option_difference,
                    "leave out all options except --epochs, --quiet and --json");
  }
  if (!data_difference.empty()) {
    throw UserError("--resume " + path_,
                    "expected the data that the run started with, found " + data_difference,
                    "restore the data");
  }
}

TrainingProgress Resumption::restore(const std::vector<Twin*>& twins, const TrainingOptions& training,
                                     std::int64_t images) {
  const Checkpoint& checkpoint = newest_.checkpoint;
  const std::string where = (std::filesystem::path(path_) / "checkpoint").string();
  if (!is_possible(checkpoint.progress, training, images, twins.size())) {
    throw UserError(where, "expected the progress of this run, found progress that does not match",
                    "start a new run");
  }
  try {
    for (Twin* twin : twins) {
      load(*twin, checkpoint);
    }
  } catch (const std::invalid_argument& error) {
    throw UserError(where, error.what(), "start a new run");
  }
  if (folder_) {
    folder_->truncate_metrics(checkpoint.metrics_size);
  }
  return checkpoint.progress;
}

}  // namespace twingrad
