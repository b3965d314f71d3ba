#include "twingrad/report/run_report.h"

#include <fmt/format.h>

#include <fstream>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/input_file.h"
#include "twingrad/report/page.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestFactsFile = 64U << 20;

nlohmann::ordered_json read_facts(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    return nlohmann::ordered_json::object();
  }
  auto facts = nlohmann::ordered_json::parse(read_whole_file(file, kLargestFactsFile), nullptr,
                                             /*allow_exceptions=*/false);
  if (!facts.is_object()) {
    throw UserError(file.string(), "expected a JSON object, found something else",
                    "restore or remove the file");
  }
  return facts;
}

}  // namespace

std::string run_name(const fs::path& directory) {
  std::error_code ignored;
  fs::path full = fs::weakly_canonical(directory, ignored);
  if (!full.has_filename()) {
    full = full.parent_path();
  }
  return full.has_filename() ? full.filename().string() : directory.string();
}

RunReport read_run_report(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::exists(directory / "metrics.jsonl", ignored)) {
    throw UserError(directory.string(),
                    fmt::format("expected the directory of a run, found {}",
                                fs::is_directory(directory, ignored) ? "one without a metrics.jsonl"
                                : fs::exists(directory, ignored)     ? "a file"
                                                                     : "nothing"),
                    "pass a directory that 'twingrad train' has written");
  }
  return {run_name(directory), read_facts(directory / "report.json"), read_metrics(directory)};
}

void write_report(const fs::path& path, const std::string& page) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) {
    std::string start(400, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(start.data(), static_cast<std::streamsize>(start.size()));
    if (start.find(kReportMark) == std::string::npos) {
      throw UserError(path.string(), "expected a new file or a report of twingrad, found something else",
                      "choose another --out, or move it away");
    }
  }
  write_atomically(path, page);
}

}  // namespace twingrad
