#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "twingrad/training/progress.h"

namespace twingrad {

/// What a checkpoint holds besides its tensors. It is stored in the metadata of a safetensors file:
///
///   twingrad.checkpoint     the version of this format, "1"
///   twingrad.metrics_size   a count
///   twingrad.progress       JSON (progress_json.h)
///   twingrad.run            JSON
///   twingrad.sha256         the checksum of the file, computed with 64 zeros in its place
struct CheckpointText {
  TrainingProgress progress;
  std::int64_t metrics_size = 0;  ///< bytes of metrics.jsonl that belong to it
  nlohmann::json run;             ///< the record of the run (run_record.h)
};

/// The metadata, with zeros as the checksum. Throws UserError for a text that is not UTF-8.
std::map<std::string, std::string> metadata_of(const CheckpointText& text);

/// Writes the checksum into the content of a safetensors file with this metadata, written by
/// write_safetensors_header. Throws std::invalid_argument for any other content.
std::string with_checksum(std::string content);

/// Parses the metadata of the file with this content. Throws UserError, beginning with `where`, for another
/// version, for a wrong checksum, and for text that metadata_of did not write: a count out of range, a key
/// that is missing, duplicate or of another type, JSON nested deeper than 64, metrics of a twin without its
/// seconds.
CheckpointText parse_checkpoint_text(const std::map<std::string, std::string>& metadata,
                                     std::string_view content, const std::string& where);

}  // namespace twingrad
