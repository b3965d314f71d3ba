#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "twingrad/data/dataset.h"
#include "twingrad/runtime/option_values.h"

namespace twingrad::app {
namespace {

struct DataOptions {
  std::string action;
  std::string dataset;
  std::int64_t classes = 10;
  bool json = false;
};

// clang-format off
const FieldTable<DataOptions> kDataFields = {"Options", "", {
  integer("--classes", &DataOptions::classes, {2, 256}, {}, "", "number of classes"),
  flag("--json", &DataOptions::json, {}, "", "print JSON"),
}};
// clang-format on

/// The directory of a named data set, or "".
std::string location_of(const std::string& name) {
  for (const std::filesystem::path& directory : data::search_folders(name)) {
    std::error_code error;
    if (std::filesystem::is_directory(directory, error)) {
      return directory.string();
    }
  }
  return "";
}

int list_datasets(bool json) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const data::NamedDataset& named : data::named_datasets()) {
    const std::string location = location_of(named.name);
    rows.push_back({{"name", named.name},
                    {"title", named.title},
                    {"location", location},
                    {"how_to_get", named.how_to_get}});
    if (!json) {
      fmt::print("{:<14} {:<14} {}\n", named.name, named.title,
                 location.empty() ? "not installed; get it with: " + named.how_to_get : location);
    }
  }
  rows.push_back({{"name", "synthetic"}, {"title", "synthetic"}, {"location", ""}, {"how_to_get", ""}});
  if (json) {
    print_json(rows);
  } else {
    fmt::print("{:<14} {:<14} generated from --seed, needs no files\n", "synthetic", "synthetic");
  }
  return kDone;
}

int verify_dataset(const DataOptions& options) {
  bool damaged = false;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const data::FileVerdict& file : data::verify(options.dataset, options.classes)) {
    const char* verdict = !file.known    ? "well-formed, no published checksum"
                          : file.matches ? "matches the published checksum"
                                         : "well-formed, but DOES NOT match the published checksum";
    damaged = damaged || (file.known && !file.matches);
    rows.push_back({{"file", file.file}, {"sha256", file.sha256}, {"verdict", verdict}});
    if (!options.json) {
      fmt::print("{}  {}  {}\n", file.sha256, file.file, verdict);
    }
  }
  if (options.json) {
    print_json({{"passed", !damaged}, {"files", rows}});
  }
  return damaged ? kCheckFailed : kDone;
}

int list_or_verify(const DataOptions& options) {
  if (choose<bool>("twingrad data", options.action, {{"list", true}, {"verify", false}})) {
    return list_datasets(options.json);
  }
  require_value("twingrad data verify", options.dataset, "a data set name or directory", "twingrad data");
  return verify_dataset(options);
}

}  // namespace

std::function<int()> add_data_command(CLI::App& program) {
  const auto options = std::make_shared<DataOptions>();
  CLI::App& command = add_command(program, "data", "List the known data sets, or verify one.",
                                  {{"twingrad data list", "which data sets are installed, and where"},
                                   {"twingrad data verify fashion-mnist", "compare its checksums"}});
  command
      .add_option("action", options->action,
                  "list: show the known data sets and where they are\nverify: compare the checksums of a "
                  "data set with\nthe published ones")
      ->type_name("");
  command.add_option("dataset", options->dataset, "for verify: a name or a directory")->type_name("");
  return command_with(command, kDataFields, list_or_verify, options);
}

}  // namespace twingrad::app
