#include "twingrad/training/metrics_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "twingrad/io/input_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/training/progress_json.h"

namespace twingrad {
namespace {

void read_event(const std::string& line, RunMetrics& metrics) {
  const nlohmann::json event = nlohmann::json::parse(line);
  const std::string& kind = event.at("event").get_ref<const std::string&>();
  if (kind == "epoch") {
    metrics.epochs.push_back(epoch_metrics_from_json(event));
    if (const std::string& twin = metrics.epochs.back().twin; twin != "autograd" && twin != "manual") {
      throw std::invalid_argument("twin");
    }
  } else if (kind == "agreement") {
    metrics.agreements.push_back(agreement_from_json(event));
  }
}

}  // namespace

RunMetrics read_metrics(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "metrics.jsonl";
  const std::string text = read_whole_file(file);
  RunMetrics metrics;
  int number = 1;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      read_event(text.substr(begin, end - begin), metrics);
    } catch (const std::exception&) {  // of nlohmann-json, or of progress_json.h
      throw UserError(fmt::format("{}: line {}", file.string(), number),
                      "expected an event as a JSON object, found something else", "restore the file");
    }
    ++number;
  }
  return metrics;
}

std::string metrics_csv_header() {
  return "epoch,twin,train_loss,train_accuracy,test_loss,test_accuracy,seconds,samples_per_second\n";
}

std::string metrics_csv_row(const EpochMetrics& metrics) {
  return fmt::format("{},{},{},{},{},{},{},{}\n", metrics.epoch, metrics.twin, metrics.train_loss,
                     metrics.train_accuracy, metrics.test_loss, metrics.test_accuracy, metrics.seconds,
                     metrics.samples_per_second);
}

}  // namespace twingrad
