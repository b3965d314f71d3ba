#include "app/check_plugin.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "twingrad/gradcheck/plugin.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/option_values.h"

namespace twingrad::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSymbol = "twingrad_gradcheck_plugin";

/// Loads the library, which stays loaded: the cases are its code.
std::vector<GradcheckCase> load(const std::string& file) {
  const std::string path = std::filesystem::absolute(file).string();  // a bare name would be searched for
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw UserError("--plugin", fmt::format("expected a shared library, found \"{}\"", dlerror()),
                    "check the path, and build it with the LibTorch of this program");
  }
  const auto plugin_of = reinterpret_cast<const GradcheckPlugin* (*)()>(dlsym(library, kSymbol));
  if (plugin_of == nullptr) {
    throw UserError("--plugin", "expected a library with TWINGRAD_GRADCHECK_PLUGIN, found none in " + file,
                    "include twingrad/gradcheck/plugin.h and define its cases");
  }
  const GradcheckPlugin& plugin = *plugin_of();
  if (std::string(plugin.libtorch_version) != TORCH_VERSION || plugin.case_size != sizeof(GradcheckCase)) {
    throw UserError(
        "--plugin",
        fmt::format("expected a library built with LibTorch {} and the headers of this program, found "
                    "LibTorch {}{}",
                    TORCH_VERSION, plugin.libtorch_version,
                    plugin.case_size == sizeof(GradcheckCase) ? "" : " and other headers"),
        "build it again");
  }
  std::vector<GradcheckCase> cases;
  at::manual_seed(1);  // for random inputs
  try {
    cases = plugin.cases();
  } catch (const std::exception& error) {
    throw UserError("--plugin",
                    fmt::format("expected the cases of {}, found an exception: {}", file, error.what()),
                    "mend TWINGRAD_GRADCHECK_PLUGIN");
  }
  if (cases.empty()) {
    throw UserError("--plugin", "expected at least one case, found none in " + file,
                    "return them from TWINGRAD_GRADCHECK_PLUGIN");
  }
  return cases;
}

std::vector<GradcheckCase> select(std::vector<GradcheckCase> cases, const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const GradcheckCase& one : cases) {
    known.push_back(one.name);
  }
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw UserError(name, fmt::format("expected a case of the plugin: {}", fmt::join(known, ", ")),
                      "choose one of them" + suggestion(name, known));
    }
  }
  std::erase_if(cases, [&](const GradcheckCase& one) {
    return !names.empty() && std::find(names.begin(), names.end(), one.name) == names.end();
  });
  return cases;
}

}  // namespace

int check_plugin(const std::string& file, const std::vector<std::string>& names, CheckFormat format) {
  const auto start = std::chrono::steady_clock::now();
  std::FILE* const stream = format == CheckFormat::text ? stdout : stderr;
  std::vector<CheckVerdict> verdicts;
  Json rows = Json::array();
  for (const GradcheckCase& one : select(load(file), names)) {
    std::vector<GradcheckResult> results = {gradcheck(one.function, one.inputs, one.options)};
    if (one.second_derivatives && results[0]) {
      results.push_back(gradgradcheck(one.function, one.inputs, {}, one.options));
    }
    for (const GradcheckResult& result : results) {
      const std::string text = result.to_string();
      fmt::print(stream, "{}: {}\n", one.name, text);
      const bool second = result.check == GradcheckResult::Check::gradgradcheck;
      verdicts.push_back({one.name, second ? "second derivatives" : "gradients", result.passed, text});
      rows.push_back({{"name", one.name}, {"result", Json::parse(result.to_json())}});
    }
  }
  const auto passed = std::count_if(verdicts.begin(), verdicts.end(),
                                    [](const CheckVerdict& verdict) { return verdict.passed; });
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const bool all = passed == std::ssize(verdicts);
  fmt::print(stream, "{} of {} checks passed · {:.1f} s\n", passed, verdicts.size(), elapsed.count());
  if (format == CheckFormat::json) {
    print_json({{"passed", all}, {"functions", rows}});
  }
  print_verdicts(verdicts, elapsed.count(), format);
  return all ? kDone : kCheckFailed;
}

}  // namespace twingrad::app
