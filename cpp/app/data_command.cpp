#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/option_values.h"
#include "twingrad/data/dataset.h"

namespace twingrad::app {
namespace {

/// The folder in which a named data set lies, or "".
std::string location_of(const std::string& name) {
  for (const std::filesystem::path& folder : data::search_folders(name)) {
    std::error_code error;
    if (std::filesystem::is_directory(folder, error)) {
      return folder.string();
    }
  }
  return "";
}

int list(bool json) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const data::NamedDataset& named : data::named_datasets()) {
    const std::string location = location_of(named.name);
    rows.push_back({{"name", named.name},
                    {"title", named.title},
                    {"location", location},
                    {"how_to_get", named.how_to_get}});
    if (!json) {
      fmt::print("{:<14} {:<14} {}\n", named.name, named.title,
                 location.empty() ? "not here; get it with: " + named.how_to_get : location);
    }
  }
  rows.push_back({{"name", "synthetic"}, {"title", "synthetic"}, {"location", ""}, {"how_to_get", ""}});
  if (json) {
    fmt::print("{}\n", rows.dump(2));
  } else {
    fmt::print("{:<14} {:<14} drawn from --seed, needs no files\n", "synthetic", "synthetic");
  }
  return kDone;
}

int verify(const std::string& name_or_folder, std::int64_t classes, bool json) {
  bool damaged = false;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const data::FileVerdict& verdict : data::verify(name_or_folder, classes)) {
    const char* words = !verdict.known    ? "well-formed, no published checksum"
                        : verdict.matches ? "as published"
                                          : "well-formed, but NOT as published";
    damaged = damaged || (verdict.known && !verdict.matches);
    rows.push_back({{"file", verdict.file}, {"sha256", verdict.sha256}, {"verdict", words}});
    if (!json) {
      fmt::print("{}  {}  {}\n", verdict.sha256, verdict.file, words);
    }
  }
  if (json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"passed", !damaged}, {"files", rows}}.dump(2));
  }
  return damaged ? kCheckFailed : kDone;
}

}  // namespace

int data_command(const std::vector<std::string>& arguments) {
  CLI::App command(
      "list: the known data sets and where they lie. verify NAME|DIR: reads every file of one and compares "
      "its "
      "checksum with the published one.",
      "twingrad data");
  std::string action;
  std::string name;
  std::int64_t classes = 10;
  bool json = false;
  command.add_option("action", action, "list or verify")->type_name("");
  command.add_option("dataset", name, "for verify: a name or a folder")->type_name("");
  add_option(command, "Options", {"--classes", "N", "10", "how many classes the labels name"},
             [&](const std::string& text) { classes = parse_integer("--classes", text, 2, 256); });
  add_flag(command, "Options", "--json", json, "print JSON");
  if (!parse(command, arguments)) {
    return kDone;
  }
  if (choose<bool>("twingrad data", action, {{"list", true}, {"verify", false}})) {
    return list(json);
  }
  if (name.empty()) {
    throw UserError("twingrad data verify", "expected a data set's name or folder, found none",
                    "name one, for example fashion-mnist");
  }
  return verify(name, classes, json);
}

}  // namespace twingrad::app
