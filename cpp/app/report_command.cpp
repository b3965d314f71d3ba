#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <memory>
#include <string_view>

#include "app/command_line.h"
#include "app/commands.h"
#include "twingrad/report/run_report.h"
#include "twingrad/runtime/error.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::vector<std::string> directories;
  std::string out;
};

// clang-format off
const FieldTable<ReportOptions> kReportFields = {"Options", "", {
  text("--out", "FILE", &ReportOptions::out,
       "file to write; default: report.html in the directory of the run, or for a comparison in the "
       "working directory").without_default(),
}};
// clang-format on

/// A path as the address of a link. A "%", a space and the like are escaped.
std::string link_to(const fs::path& path) {
  std::string link;
  for (const char c : path.generic_string()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain =
        std::isalnum(byte) != 0 || std::string_view("-._~/").find(c) != std::string_view::npos;
    link += is_plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return link;
}

int write_reports(const ReportOptions& options) {
  require_value("twingrad report", options.directories.empty() ? "" : options.directories.front(),
                "directories of runs", "twingrad report");
  const bool is_comparison = options.directories.size() > 1;
  const fs::path out = options.out.empty() ? "report.html" : options.out;
  std::vector<LinkedReport> runs;
  std::vector<std::pair<fs::path, std::string>> pages;  // written when all runs have been read
  for (const std::string& directory : options.directories) {
    const fs::path of_run =
        is_comparison || options.out.empty() ? fs::path(directory) / "report.html" : fs::path(options.out);
    const fs::path from = fs::absolute(out).parent_path();
    runs.push_back({read_run_report(directory), link_to(fs::proximate(of_run, from))});
    pages.emplace_back(of_run, run_page(runs.back().report));
  }
  if (is_comparison) {
    pages.emplace_back(out, comparison_page(runs));
  }
  for (const auto& [file, page] : pages) {
    write_report(file, page);
    fmt::print("{}\n", file.string());
  }
  return kDone;
}

}  // namespace

std::function<int()> add_report_command(CLI::App& program) {
  const auto options = std::make_shared<ReportOptions>();
  CLI::App& command =
      add_command(program, "report", "Regenerate the reports of runs, and compare several runs.",
                  {{"twingrad report runs/first", "runs/first/report.html, from its files"},
                   {"twingrad report runs/first runs/second --out comparison.html",
                    "results, settings and curves of both"}});
  command.add_option("directories", options->directories, "directories of runs; several are also compared")
      ->type_name("DIR");
  return command_with(command, kReportFields, write_reports, options);
}

}  // namespace twingrad::app
