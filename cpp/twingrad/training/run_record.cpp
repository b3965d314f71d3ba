#include "twingrad/training/run_record.h"

#include <fmt/format.h>

#include <stdexcept>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/ranks.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

using Json = nlohmann::json;

void check_utf8(const std::string& text) {
  if (is_utf8(text)) return;
  throw UserError(fmt::format("\"{}\"", printable(text)), "expected UTF-8 text, found other bytes",
                  "rename the file");
}

int threads_of(const Json& json) {
  if (!json.is_number_integer() || json < 1 || json > kMaxThreads) throw std::out_of_range("threads");
  return json.get<int>();
}

int ranks_of(const Json& json) {
  if (!json.is_number_integer() || json < 1 || json > kMaxRanks) throw std::out_of_range("ranks");
  return json.get<int>();
}

ThreadSettings thread_settings_of(const Json& json) {
  return {.aten = threads_of(json.at("aten")), .blas = threads_of(json.at("blas"))};
}

ThreadPlan thread_plan_of(const Json& json) {
  const Json& manual = json.at("manual");
  return {.autograd = thread_settings_of(json.at("autograd")),
          .manual = thread_settings_of(manual),
          .workers = threads_of(manual.at("workers"))};
}

/// Reads the part with this name. what: the part in words, for the message.
template <typename Part>
Part part_of(const Json& json, const char* name, Part (*parse)(const Json&), const std::string& what,
             const std::string& where) {
  try {
    return parse(json.at(name));
  } catch (const std::logic_error&) {
  } catch (const Json::exception&) {
  }
  throw UserError(where, fmt::format("expected {} of the run under \"{}\", found something else", what, name),
                  "start a new run");
}

}  // namespace

nlohmann::ordered_json to_json(const ThreadPlan& threads) {
  return {{"autograd", {{"aten", threads.autograd.aten}, {"blas", threads.autograd.blas}}},
          {"manual",
           {{"workers", threads.workers}, {"aten", threads.manual.aten}, {"blas", threads.manual.blas}}}};
}

nlohmann::json to_json(const RunRecord& record) {
  for (const std::string& option : record.options) check_utf8(option);
  check_utf8(record.settings.at("recipe").get_ref<const std::string&>());
  check_utf8(record.initial_weights);
  return {{"lasting", record.options},
          {"settings", record.settings},
          {"initial_weights", record.initial_weights},
          {"threads", to_json(record.threads)},
          {"ranks", record.ranks}};
}

RunRecord run_record_of(const nlohmann::json& json, const std::string& where) {
  const auto texts = [](const Json& part) { return part.get<std::vector<std::string>>(); };
  const auto settings = [](const Json& part) {
    part.at("recipe").get_ref<const std::string&>();
    return part;
  };
  return {.options = part_of<std::vector<std::string>>(json, "lasting", texts, "the options", where),
          .settings = part_of<Json>(json, "settings", settings, "the settings, with a recipe,", where),
          .initial_weights = part_of<std::string>(
              json, "initial_weights", [](const Json& part) { return part.get<std::string>(); },
              "a file name", where),
          .threads = part_of<ThreadPlan>(json, "threads", thread_plan_of,
                                         fmt::format("from 1 to {} threads", kMaxThreads), where),
          .ranks = json.contains("ranks")
                       ? part_of<int>(json, "ranks", ranks_of,
                                      fmt::format("from 1 to {} processes", kMaxRanks), where)
                       : 1};
}

}  // namespace twingrad
