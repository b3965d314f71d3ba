#include "twingrad/training/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "twingrad/io/atomic_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/training/metrics_json.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

fs::path unused_default_folder(const std::string& dataset_name) {
  const auto base = fmt::format("runs/{:%Y-%m-%d-%H%M%S}-{}", fmt::localtime(std::time(nullptr)),
                                fs::path(dataset_name).filename().string());
  fs::path folder = base;
  std::error_code ignored;  // a folder that cannot be looked into is refused when the run's own is made
  for (int number = 2; fs::exists(folder, ignored); ++number) {
    folder = fmt::format("{}-{}", base, number);
  }
  return folder;
}

void make_folder(const fs::path& folder) {
  const std::string where = "--out " + folder.string();
  std::error_code ignored;
  if (fs::exists(folder, ignored) && !fs::is_directory(folder, ignored)) {
    throw UserError(where, "expected a new or empty folder, found a file", "choose another folder");
  }
  if (fs::exists(folder / "metrics.jsonl", ignored)) {
    throw UserError(where, "expected a new or empty folder, found the metrics.jsonl of another run",
                    "choose another folder, a run is never overwritten");
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw UserError(where, "expected a folder that can be made, found: " + error.message(),
                    "choose another folder");
  }
}

}  // namespace

RunFolder::RunFolder(const fs::path& out, const std::string& dataset_name)
    : path_(out.empty() ? unused_default_folder(dataset_name) : out) {
  make_folder(path_);
  const fs::path file = path_ / "metrics.jsonl";
  metrics_.reset(std::fopen(file.c_str(), "wxe"));
  if (!metrics_) {
    throw UserError(file.string(), std::string("expected to write this file, found: ") + std::strerror(errno),
                    "choose another --out");
  }
}

void RunFolder::append(const nlohmann::ordered_json& event) {
  if (std::fputs((event.dump() + "\n").c_str(), metrics_.get()) < 0 || std::fflush(metrics_.get()) != 0) {
    throw UserError((path_ / "metrics.jsonl").string(),
                    std::string("expected to write this file, found: ") + std::strerror(errno),
                    "free some space or choose another --out");
  }
}

void RunFolder::on_epoch(const EpochMetrics& metrics) { append(to_json(metrics)); }

void RunFolder::on_agreement(const Agreement& agreement, double /*bound*/) { append(to_json(agreement)); }

void RunFolder::write_summary(const nlohmann::ordered_json& summary) const {
  write_atomically(path_ / "summary.json", summary.dump(2) + "\n");
}

}  // namespace twingrad
