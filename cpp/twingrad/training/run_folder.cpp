#include "twingrad/training/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "twingrad/io/atomic_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/training/metrics_file.h"
#include "twingrad/training/progress_json.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

fs::path unused_default_folder(const std::string& dataset_name) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  const std::string base =
      fmt::format("runs/{:%Y-%m-%d-%H%M%S}-{}", local, fs::path(dataset_name).filename().string());
  fs::path folder = base;
  std::error_code ignored;  // make_folder reports a directory that cannot be read
  for (int number = 2; fs::exists(folder, ignored); ++number) {
    folder = fmt::format("{}-{}", base, number);
  }
  return folder;
}

[[noreturn]] void refuse_write(const fs::path& file, const std::string& remedy) {
  throw UserError(file.string(),
                  fmt::format("expected a file that can be written, found \"{}\"", std::strerror(errno)),
                  remedy);
}

void make_folder(const fs::path& folder) {
  const std::string where = "--out " + folder.string();
  std::error_code ignored;
  if (fs::exists(folder, ignored) && !fs::is_directory(folder, ignored)) {
    throw UserError(where, "expected a new or empty directory, found a file", "choose another directory");
  }
  if (fs::exists(folder / "metrics.jsonl", ignored)) {
    throw UserError(where, "expected a new or empty directory, found the metrics.jsonl of another run",
                    "choose another directory; runs are never overwritten");
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw UserError(where,
                    fmt::format("expected a directory that can be created, found \"{}\"", error.message()),
                    "choose another directory");
  }
}

}  // namespace

std::unique_ptr<RunFolder> RunFolder::begin(const fs::path& out, const std::string& dataset_name) {
  const fs::path path = out.empty() ? unused_default_folder(dataset_name) : out;
  make_folder(path);
  std::unique_ptr<RunFolder> folder(new RunFolder(path, "wxe"));
  folder->begin_table();
  return folder;
}

std::unique_ptr<RunFolder> RunFolder::reopen(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored) || !fs::exists(path / "metrics.jsonl", ignored)) {
    throw UserError("--resume " + path.string(),
                    fmt::format("expected the directory of a run, found {}",
                                fs::is_directory(path, ignored) ? "one without a metrics.jsonl"
                                : fs::exists(path, ignored)     ? "a file"
                                                                : "nothing"),
                    "pass the directory printed at startup");
  }
  return std::unique_ptr<RunFolder>(new RunFolder(path, "r+e"));
}

RunFolder::RunFolder(fs::path path, const char* mode) : path_(std::move(path)) {
  const fs::path file = path_ / "metrics.jsonl";
  metrics_.reset(std::fopen(file.c_str(), mode));
  if (!metrics_) {
    refuse_write(file, "choose another --out");
  }
  if (::flock(fileno(metrics_.get()), LOCK_EX | LOCK_NB) != 0) {
    throw UserError(path_.string(), "expected a run that has stopped, found one that is still running",
                    "wait until it ends, or stop it");
  }
}

std::int64_t RunFolder::metrics_size() const {
  ::fsync(fileno(
      metrics_.get()));  // after a crash, metrics.jsonl must not be shorter than the checkpoint records
  return std::ftell(metrics_.get());
}

void RunFolder::truncate_metrics(std::int64_t size) {
  const fs::path file = path_ / "metrics.jsonl";
  std::fseek(metrics_.get(), 0, SEEK_END);
  if (metrics_size() < size) {
    throw UserError(file.string(),
                    fmt::format("expected at least {} bytes, as recorded in the checkpoint, found {}", size,
                                metrics_size()),
                    "restore the file");
  }
  if (::ftruncate(fileno(metrics_.get()), size) != 0 || std::fseek(metrics_.get(), size, SEEK_SET) != 0) {
    refuse_write(file, "make the directory writable");
  }
  begin_table();
  for (const EpochMetrics& metrics : read_metrics(path_).epochs) {
    append_row(metrics);
  }
}

void RunFolder::begin_table() {
  const fs::path file = path_ / "metrics.csv";
  table_.reset(std::fopen(file.c_str(), "we"));
  if (!table_ || std::fputs(metrics_csv_header().c_str(), table_.get()) < 0 ||
      std::fflush(table_.get()) != 0) {
    refuse_write(file, "make the directory writable");
  }
}

void RunFolder::append_row(const EpochMetrics& metrics) {
  if (std::fputs(metrics_csv_row(metrics).c_str(), table_.get()) < 0 || std::fflush(table_.get()) != 0) {
    refuse_write(path_ / "metrics.csv", "free some space or choose another --out");
  }
}

void RunFolder::append(const char* kind, const nlohmann::ordered_json& members) {
  nlohmann::ordered_json event = {{"event", kind}};
  event.update(members);
  if (std::fputs((event.dump() + "\n").c_str(), metrics_.get()) < 0 || std::fflush(metrics_.get()) != 0) {
    refuse_write(path_ / "metrics.jsonl", "free some space or choose another --out");
  }
}

void RunFolder::on_epoch(const EpochMetrics& metrics) {
  append("epoch", to_json(metrics));
  append_row(metrics);
}

void RunFolder::on_agreement(const Agreement& agreement, bool /*is_report*/) {
  nlohmann::ordered_json event = to_json(agreement);
  for (const auto& [name, difference] : agreement.gradients) {
    event["gradients"][name] = number_to_json(difference);
  }
  append("agreement", event);
}

void RunFolder::write_summary(const nlohmann::ordered_json& summary) const {
  write_atomically(path_ / "summary.json", summary.dump(2) + "\n");
}

nlohmann::ordered_json RunFolder::read_summary() const {
  std::ifstream file(path_ / "summary.json");
  return nlohmann::ordered_json::parse(file, nullptr, /*allow_exceptions=*/false);
}

}  // namespace twingrad
