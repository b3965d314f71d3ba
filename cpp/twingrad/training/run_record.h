#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/runtime/threads.h"

namespace twingrad {

/// What a checkpoint records about its run, so that the run can be resumed (Checkpoint::run).
struct RunRecord {
  std::vector<std::string> options;  ///< of `twingrad train`, "--lr=0.1"; the key in JSON is "lasting"
  nlohmann::json settings;           ///< settings_of (run_description.h); settings["recipe"] is a text
  std::string initial_weights;       ///< the file of the initial weights, or ""
  ThreadPlan threads;                ///< as planned on the machine that started it
  int ranks = 1;                     ///< processes that trained together
};

nlohmann::ordered_json to_json(const ThreadPlan& threads);

/// Throws UserError for an option, a recipe or a file name that is not UTF-8: JSON cannot hold it.
nlohmann::json to_json(const RunRecord& record);

/// Throws UserError, beginning with `where`, unless all parts are present and valid, with 1 to kMaxThreads
/// threads each.
RunRecord run_record_of(const nlohmann::json& json, const std::string& where);

}  // namespace twingrad
