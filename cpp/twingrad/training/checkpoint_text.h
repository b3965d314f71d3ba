#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "twingrad/training/progress.h"

namespace twingrad {

/// What a checkpoint holds beside its tensors. It stands in the metadata of a safetensors file:
///
///   twingrad.checkpoint     the version of this format, "1"
///   twingrad.metrics_size   a count
///   twingrad.progress       JSON; a number that is not finite is the text "inf", "-inf", "nan" or "-nan"
///   twingrad.run            JSON
///   twingrad.sha256         of the whole file, with 64 zeros in this place
///
/// A count is a whole number from 0 to 10^13: no run counts further in years, and what adds up those of one
/// file stays below 2^63.
struct CheckpointText {
  TrainingProgress progress;
  std::int64_t metrics_size = 0;  ///< bytes of metrics.jsonl that belong to it
  nlohmann::json run;             ///< what the run was told; only the program knows what is in there
};

/// The metadata, without a checksum as yet. Throws UserError for a text that is not UTF-8.
std::map<std::string, std::string> metadata_of(const CheckpointText& text);

/// Puts the checksum into the content of a safetensors file with this metadata, written by
/// write_safetensors_header. Throws std::invalid_argument for any other.
std::string with_checksum(std::string content);

/// The text of the file with this content, whose metadata has been read. Throws UserError, naming `where`, for
/// another version, for a checksum that is not the content's, and for text that metadata_of did not write:
/// a count out of range, a key missing, of another type or there twice, JSON nested deeper than 64, what a twin
/// reached without its seconds.
CheckpointText parse_checkpoint_text(const std::map<std::string, std::string>& metadata,
                                     std::string_view content, const std::string& where);

}  // namespace twingrad
