#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/option_values.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/version.h"
#include "twingrad/training/benchmark.h"

namespace twingrad::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kManual = 1;  ///< the place of the manual twin among those that take turns

/// reference: its place, if the timings are set against one of them
Json to_json(const std::vector<Timing>& timings, std::optional<std::size_t> reference = {}) {
  Json rows = Json::array();
  for (const Timing& timing : timings) {
    rows.push_back(
        {{"what", timing.what},
         {"seconds", {{"median", timing.median()}, {"min", timing.minimum()}, {"max", timing.maximum()}}}});
    if (reference) {
      rows.back()["ratio_to_manual"] = median_ratio(timing, timings[*reference]);
    }
  }
  return rows;
}

void print(std::FILE* stream, const std::string& heading, const std::vector<Timing>& timings, double unit,
           int digits, std::optional<std::size_t> reference = {}) {
  fmt::print(stream, "{:<52} {:>10} {:>10} {:>10}{}\n", heading, "median", "least", "most",
             reference ? "   / manual" : "");
  for (const Timing& timing : timings) {
    fmt::print(stream, "  {:<50} {:>10.{}f} {:>10.{}f} {:>10.{}f}", timing.what, unit * timing.median(),
               digits, unit * timing.minimum(), digits, unit * timing.maximum(), digits);
    fmt::print(stream, "{}\n",
               reference ? fmt::format(" {:>10.2f}", median_ratio(timing, timings[*reference])) : "");
  }
}

void print(std::FILE* stream, const BenchmarkResult& result) {
  fmt::print(stream, "\n{} · {}{}\n", result.of.name(),
             result.threads.describe(true, true, ops::product_library()),
             result.shards > 1 ? fmt::format(" · {} shards", result.shards) : "");
  if (const Timing& timing = result.core_to_core; !timing.seconds.empty()) {
    fmt::print(stream, "from core to core in {:.0f} ns ({:.0f}–{:.0f})\n", 1e9 * timing.median(),
               1e9 * timing.minimum(), 1e9 * timing.maximum());
  }
  print(stream, "seconds of an epoch of 60,000 images", result.epoch, 1, 4, kManual);
  print(stream, "seconds of an evaluation of 10,000 images", result.evaluation, 1, 4, kManual);
  print(stream, "microseconds of the parts of a step, by hand", result.details, 1e6, 1);
}

}  // namespace

int bench_command(const std::vector<std::string>& arguments) {
  BenchmarkOptions options;
  BenchmarkCase only{.network = {.hidden = {98}}};
  bool given = false;
  bool json = false;
  CLI::App command("Times both twins, the matrix products alone and the parts of a step, turn by turn.",
                   "twingrad bench");
  const std::string group = "Options";
  add_option(command, group,
             {"--hidden", "N,N", "",
              "widths of the hidden layers of the one network to time; default: a standard list"},
             [&](const std::string& text) {
               only.network.hidden = parse_widths("--hidden", text);
               given = true;
             });
  add_option(command, group, {"--batch-size", "N|full", "", "images a step, of that one network"},
             [&](const std::string& text) {
               only.batch_size = text == "full" ? 0 : parse_integer("--batch-size", text, 1, 60'000);
               given = true;
             });
  add_option(command, group, {"--threads", "N", "all processors", "at most so many threads"},
             [&](const std::string& text) {
               options.threads = static_cast<int>(parse_integer("--threads", text, 1, 1024));
             });
  add_option(command, group, {"--repeats", "N", "5", "runs of each, of which the median counts"},
             [&](const std::string& text) {
               options.repeats = static_cast<int>(parse_integer("--repeats", text, 1, 1000));
             });
  add_flag(command, group, "--json", json, "print JSON on standard output, all else on standard error");
  if (!parse(command, arguments)) {
    return kDone;
  }
  std::FILE* stream = json ? stderr : stdout;
  const std::vector<BenchmarkCase> cases =
      given ? std::vector<BenchmarkCase>{only} : standard_benchmark_cases();
  const std::string machine = fmt::format("{} · {} processors", processor_name(), available_processors());
  fmt::print(stream, "{}\nLibTorch {} · {} · float32 · Adam\n", machine, libtorch_version(), blas_library());
  Json rows = Json::array();
  for (const BenchmarkCase& of : cases) {
    const BenchmarkResult result = run_benchmark(of, options);
    print(stream, result);
    std::fflush(stream);
    rows.push_back({{"name", of.name()},
                    {"threads", result.threads.describe(true, true, ops::product_library())},
                    {"shards", result.shards},
                    {"core_to_core",
                     result.core_to_core.seconds.empty() ? Json::array() : to_json({result.core_to_core})},
                    {"rows", to_json(result.epoch, kManual)},
                    {"evaluation", to_json(result.evaluation, kManual)},
                    {"details", to_json(result.details)}});
  }
  if (json) {
    fmt::print("{}\n", Json{{"machine", machine},
                            {"libtorch", libtorch_version()},
                            {"blas", blas_library()},
                            {"products_by_hand", ops::product_library()},
                            {"cases", rows}}
                           .dump(2));
  }
  return kDone;
}

}  // namespace twingrad::app
