#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/runtime/threads.h"

namespace twingrad {

/// The most threads that a run may be given.
constexpr int kMostThreads = 1024;

/// What the program keeps as Checkpoint::run, for who continues the run.
struct RunRecord {
  std::vector<std::string> lasting;  ///< the options of `twingrad train` that count again
  nlohmann::json settings;           ///< settings_of of the run; settings["recipe"] is a text
  std::string initial_weights;       ///< the file that it began with, or ""
  ThreadPlan threads;                ///< as planned on the machine that began it
};

nlohmann::ordered_json to_json(const ThreadPlan& threads);

/// Throws UserError for an option, a recipe or a file name that is not UTF-8, which JSON cannot hold.
nlohmann::json to_json(const RunRecord& record);

/// Throws UserError, naming `where`, unless all of it is there: texts, an object, and from 1 to kMostThreads
/// threads everywhere.
RunRecord run_record_of(const nlohmann::json& json, const std::string& where);

}  // namespace twingrad
