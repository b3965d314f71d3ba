#include "twingrad/report/report_writer.h"

#include <fmt/format.h>

#include <utility>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/png.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/report/base64.h"
#include "twingrad/report/weight_images.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/runtime/monotonic_clock.h"
#include "twingrad/runtime/version.h"
#include "twingrad/training/progress_json.h"

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSecondsBetweenWrites = 2;
/// Larger images are not stored: a report has at most 300 KB.
constexpr std::int64_t kMostPixelsOfMistake = 64 * 64;

Json facts_of(const RunDescription& run, const std::vector<Twin*>& twins, const std::string& command) {
  Json heading = Json::array();
  for (const auto& [label, text] : heading_of(run)) {
    heading.push_back({label, text});
  }
  Json names = Json::array();
  for (const Twin* twin : twins) {
    names.push_back(twin->name());
  }
  return {{"twingrad", version()},
          {"libtorch", libtorch_version()},
          {"status", "running"},
          {"dataset", run.dataset.title},
          {"network", describe_widths(run.network)},
          {"twins", names},
          {"command", command},
          {"heading", heading},
          {"settings", to_json(run)},
          {"class_names", data::class_names(run.dataset.name)}};
}

std::string encoded_image(const data::LabelledImages& images, std::int64_t index) {
  const std::int64_t size = images.height * images.width;
  const auto first = images.pixels.begin() + index * size;
  return base64(encode_png(GreyImage{images.height, images.width, {first, first + size}}));
}

Json to_json(const TestMistake& mistake, const TestResults& results, const data::LabelledImages& images) {
  Json twins = Json::object();
  for (std::size_t i = 0; i < results.twins.size(); ++i) {
    twins[results.twins[i]] = {{"prediction", mistake.predictions[i]},
                               {"prediction_probability", mistake.prediction_probability[i]},
                               {"label_probability", mistake.label_probability[i]}};
  }
  Json json = {{"image", mistake.image},
               {"label", mistake.label},
               {"prediction", mistake.prediction},
               {"twins", twins}};
  if (images.height * images.width <= kMostPixelsOfMistake) {
    json["png"] = encoded_image(images, mistake.image);
  }
  return json;
}

Json to_json(const TestResults& results, const data::LabelledImages& images) {
  Json json = {{"epoch", results.epoch},      {"images", results.images},
               {"classes", results.classes},  {"same_predictions", results.same_predictions},
               {"confusion", Json::object()}, {"mistakes", Json::array()}};
  for (std::size_t i = 0; i < results.twins.size(); ++i) {
    json["confusion"][results.twins[i]] = results.confusion[i];
  }
  for (const TestMistake& mistake : results.mistakes) {
    json["mistakes"].push_back(to_json(mistake, results, images));
  }
  return json;
}

}  // namespace

ReportWriter::ReportWriter(const RunDescription& run, const std::vector<Twin*>& twins,
                           const std::filesystem::path& directory, const std::string& command)
    : run_(run), twins_(twins), directory_(directory), last_write_(monotonic_seconds()) {
  report_.name = run_name(directory);
  report_.metrics = read_metrics(directory);
  report_.facts = facts_of(run, twins, command);
  if (!report_.metrics.epochs.empty()) {  // the run is resumed: what was known of its last epoch still holds
    const Json before = read_run_report(directory).facts;
    for (const char* part : {"test", "steps", "seconds", "seconds_by_part", "first_layer"}) {
      if (const auto found = before.find(part); found != before.end()) {
        report_.facts[part] = *found;
      }
    }
  }
  attempt([this] { write_facts(); });
}

void ReportWriter::on_epoch(const EpochMetrics& metrics) { report_.metrics.epochs.push_back(metrics); }

void ReportWriter::on_agreement(const Agreement& agreement, bool /*is_report*/) {
  report_.metrics.agreements.push_back(agreement);
}

void ReportWriter::on_test_results(const TestResults& results, const TrainingResult& result) {
  results_ = results;
  if (monotonic_seconds() - last_write_ >= kSecondsBetweenWrites) {
    add_result(result);
    write("running");
  }
}

void ReportWriter::add_result(const TrainingResult& result) {
  report_.facts["steps"] = result.steps;
  for (const auto& [twin, seconds] : result.seconds) {
    report_.facts["seconds"][twin] = number_to_json(seconds);
  }
  for (const auto& [twin, parts] : result.seconds_by_part) {
    report_.facts["seconds_by_part"][twin] = twingrad::to_json(parts);
  }
}

void ReportWriter::finish(const TrainingResult& result) {
  add_result(result);
  write(result.interrupted ? "interrupted" : "finished");
}

void ReportWriter::finish_failed(const std::string& message) {
  report_.facts["message"] = message;
  write("failed");
}

void ReportWriter::write_facts() const {
  write_atomically(directory_ / "report.json",
                   report_.facts.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void ReportWriter::write(const std::string& status) {
  attempt([&] {
    report_.facts["status"] = status;
    if (results_) {  // now, because it takes milliseconds
      report_.facts["test"] = to_json(*results_, run_.dataset.test);
    }
    report_.facts["first_layer"] =
        first_layer_images(*twins_.back(), run_.network, run_.dataset.train.height, run_.dataset.train.width);
    write_facts();
    write_report(directory_ / "report.html", run_page(report_));
  });
  last_write_ = monotonic_seconds();
}

void ReportWriter::attempt(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception& error) {
    if (!std::exchange(has_failed_, true)) {
      fmt::print(stderr, "twingrad: the report is not written: {}\n", error.what());
    }
  }
}

}  // namespace twingrad
