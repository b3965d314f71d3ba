#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "app/command_line.h"
#include "app/commands.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/option_values.h"
#include "twingrad/runtime/version.h"
#include "twingrad/training/benchmark.h"
#include "twingrad/training/run_record.h"

namespace twingrad::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kManual = 1;  ///< index of the manual twin in the timings of an epoch and an evaluation

struct BenchOptions {
  std::optional<std::vector<std::int64_t>> hidden;
  std::optional<std::int64_t> batch_size;  ///< 0: all images
  int threads = 0;                         ///< 0: all processors
  int repeats = 5;
  bool json = false;

  std::vector<BenchmarkCase> cases() const {
    if (!hidden && !batch_size) {
      return standard_benchmark_cases();
    }
    return {{{.hidden = hidden.value_or(std::vector<std::int64_t>{98})}, batch_size.value_or(128)}};
  }
};

// clang-format off
const FieldTable<BenchOptions> kBenchFields = {"Options", "", {
  parsed("--hidden", "N,N", &BenchOptions::hidden, parse_widths, {}, "",
         "hidden layer widths of a single network to time; default: a standard list, or 98 with "
         "--batch-size").without_default(),
  parsed("--batch-size", "N|full", &BenchOptions::batch_size,
         [](const std::string& option, const std::string& text) {
           return text == "full" ? 0 : parse_integer(option, text, 1, 60'000);
         }, {}, "", "images per step for this network").without_default(),
  integer("--threads", &BenchOptions::threads, {1, kMaxThreads}, {}, "",
          "maximum number of threads; default: OMP_NUM_THREADS, or all processors").without_default(),
  integer("--repeats", &BenchOptions::repeats, {1, 1000}, {}, "",
          "number of repetitions; the median is shown"),
  flag("--json", &BenchOptions::json, {}, "", kJsonHelp),
}};
// clang-format on

/// reference: index of the timing that the ratios are relative to
Json timings_to_json(const std::vector<Timing>& timings, std::optional<std::size_t> reference = {}) {
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

Json result_to_json(const BenchmarkResult& result) {
  const bool has_latency = !result.core_to_core.seconds.empty();
  return {{"name", result.of.name()},
          {"threads", result.threads.describe(true, true, ops::product_library())},
          {"shards", result.shards},
          {"core_to_core", has_latency ? timings_to_json({result.core_to_core}) : Json::array()},
          {"rows", timings_to_json(result.epoch, kManual)},
          {"evaluation", timings_to_json(result.evaluation, kManual)},
          {"details", timings_to_json(result.details)}};
}

void print_timings(std::FILE* stream, const std::string& heading, const std::vector<Timing>& timings,
                   double unit, int digits, std::optional<std::size_t> reference = {}) {
  fmt::print(stream, "{:<52} {:>10} {:>10} {:>10}{}\n", heading, "median", "min", "max",
             reference ? "   / manual" : "");
  for (const Timing& timing : timings) {
    fmt::print(stream, "  {:<50} {:>10.{}f} {:>10.{}f} {:>10.{}f}", timing.what, unit * timing.median(),
               digits, unit * timing.minimum(), digits, unit * timing.maximum(), digits);
    fmt::print(stream, "{}\n",
               reference ? fmt::format(" {:>10.2f}", median_ratio(timing, timings[*reference])) : "");
  }
}

void print_result(std::FILE* stream, const BenchmarkResult& result) {
  fmt::print(stream, "\n{} · {}{}\n", result.of.name(),
             result.threads.describe(true, true, ops::product_library()),
             result.shards > 1 ? fmt::format(" · {} shards", result.shards) : "");
  if (const Timing& timing = result.core_to_core; !timing.seconds.empty()) {
    fmt::print(stream, "core-to-core latency {:.0f} ns ({:.0f}–{:.0f})\n", 1e9 * timing.median(),
               1e9 * timing.minimum(), 1e9 * timing.maximum());
  }
  print_timings(stream, "seconds per epoch of 60,000 images", result.epoch, 1, 4, kManual);
  print_timings(stream, "seconds per evaluation of 10,000 images", result.evaluation, 1, 4, kManual);
  print_timings(stream, "microseconds per part of a manual step", result.details, 1e6, 1);
  std::fflush(stream);
}

int run_benchmarks(const BenchOptions& options) {
  std::FILE* stream = options.json ? stderr : stdout;
  const std::string machine = fmt::format("{} · {} processors", processor_name(), available_processors());
  fmt::print(stream, "{}\nLibTorch {} · {} · float32 · Adam\n", machine, libtorch_version(), blas_library());
  Json rows = Json::array();
  for (const BenchmarkCase& of : options.cases()) {
    const BenchmarkResult result =
        run_benchmark(of, {.repeats = options.repeats, .threads = options.threads});
    print_result(stream, result);
    rows.push_back(result_to_json(result));
  }
  if (options.json) {
    print_json({{"machine", machine},
                {"libtorch", libtorch_version()},
                {"blas", blas_library()},
                {"products_by_hand", ops::product_library()},
                {"cases", rows}});
  }
  return kDone;
}

}  // namespace

std::function<int()> add_bench_command(CLI::App& program) {
  return command_with(
      add_command(program, "bench", "Time both twins, the matrix products and the parts of a step.",
                  {{"twingrad bench --hidden 32 --batch-size 256 --repeats 2", "one network"},
                   {"twingrad bench --hidden 64 --batch-size 500 --repeats 1 --json", "JSON for a script"}}),
      kBenchFields, run_benchmarks);
}

}  // namespace twingrad::app
