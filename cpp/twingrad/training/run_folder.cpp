#include "twingrad/training/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
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

std::unique_ptr<RunFolder> RunFolder::begin(const fs::path& out, const std::string& dataset_name) {
  const fs::path path = out.empty() ? unused_default_folder(dataset_name) : out;
  make_folder(path);
  return std::unique_ptr<RunFolder>(new RunFolder(path, "wxe"));
}

std::unique_ptr<RunFolder> RunFolder::reopen(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored) || !fs::exists(path / "metrics.jsonl", ignored)) {
    throw UserError("--resume " + path.string(),
                    fmt::format("expected the folder of a run, found {}",
                                fs::is_directory(path, ignored) ? "one without a metrics.jsonl"
                                : fs::exists(path, ignored)     ? "a file"
                                                                : "nothing"),
                    "name the folder that the run has told at its start");
  }
  return std::unique_ptr<RunFolder>(new RunFolder(path, "r+e"));
}

RunFolder::RunFolder(fs::path path, const char* mode) : path_(std::move(path)) {
  const fs::path file = path_ / "metrics.jsonl";
  metrics_.reset(std::fopen(file.c_str(), mode));
  if (!metrics_) {
    throw UserError(file.string(), std::string("expected to write this file, found: ") + std::strerror(errno),
                    "choose another --out");
  }
  if (::flock(fileno(metrics_.get()), LOCK_EX | LOCK_NB) != 0) {
    throw UserError(path_.string(), "expected a run that nobody is writing to, found one that is going on",
                    "wait for its end, or stop it");
  }
}

std::int64_t RunFolder::metrics_size() const {
  ::fsync(fileno(metrics_.get()));  // a checkpoint must not outlive the lines that it counts
  return std::ftell(metrics_.get());
}

void RunFolder::cut_metrics(std::int64_t size) {
  const fs::path file = path_ / "metrics.jsonl";
  std::fseek(metrics_.get(), 0, SEEK_END);
  if (metrics_size() < size) {
    throw UserError(
        file.string(),
        fmt::format("expected {} bytes or more, as the checkpoint says, found {}", size, metrics_size()),
        "put the file back as it was");
  }
  if (::ftruncate(fileno(metrics_.get()), size) != 0 || std::fseek(metrics_.get(), size, SEEK_SET) != 0) {
    throw UserError(file.string(), std::string("expected to write this file, found: ") + std::strerror(errno),
                    "free the folder for writing");
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

nlohmann::ordered_json RunFolder::read_summary() const {
  std::ifstream file(path_ / "summary.json");
  return nlohmann::ordered_json::parse(file, nullptr, /*allow_exceptions=*/false);
}

}  // namespace twingrad
