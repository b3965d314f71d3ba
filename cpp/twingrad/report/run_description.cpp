#include "twingrad/report/run_description.h"

#include <c10/core/TensorOptions.h>
#include <fmt/format.h>

#include "twingrad/mlp/training_loss.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/runtime/gpu.h"
#include "twingrad/runtime/text.h"
#include "twingrad/runtime/version.h"
#include "twingrad/training/progress_json.h"
#include "twingrad/training/run_record.h"

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;

std::string describe_network(const RunDescription& run) {
  const MlpSpec& network = run.network;
  std::string text = describe_widths(network);
  if (!network.hidden.empty()) {
    text += " · " + network.activation;
  }
  text += heading_of_fields(network_fields(), network);
  text += fmt::format(" · {} parameters", with_separators(parameter_count(network)));
  text += heading_of_fields(loss_fields(), network);
  if (!run.initial_weights.empty()) {
    text += " · weights from " + run.initial_weights;
  } else if (network.initialization == Initialization::normal) {
    text += " · weights from N(0, 1)";
  }
  return text;
}

std::string describe_training(const RunDescription& run) {
  const std::string separator = " · ";
  const std::string text = heading_of_fields(optimizer_fields(), run.optimizer) +
                           heading_of_fields(schedule_fields(), run.training.schedule);
  const std::string batch =
      run.training.batch_size == 0 ? "full batch" : fmt::format("batch {}", run.training.batch_size);
  return fmt::format("{} · {} · {} · seed {}", text.substr(separator.size()), batch,
                     name_of(dtypes(), run.training.dtype), run.training.seed);
}

/// The library of the manual twin's matrix products; empty if it is LibTorch's.
std::string product_library_of(const RunDescription& run) {
  return ops::product_library(at::TensorOptions(run.training.device).dtype(run.training.dtype));
}

/// "cpu · autograd 1 thread · manual 2 threads", or "cuda · NVIDIA H100 80GB HBM3"
std::string describe_device(const RunDescription& run) {
  const std::string device = run.training.device.str();
  if (run.training.device.is_cuda()) {
    return fmt::format("{} · {}", device, gpu::name());
  }
  return fmt::format("{} · {}", device,
                     run.threads.describe(run.twins != Twins::manual, run.twins != Twins::autograd,
                                          product_library_of(run)));
}

}  // namespace

const Names<Twins>& twin_choices() {
  static const Names<Twins> names = {
      {"both", Twins::both}, {"autograd", Twins::autograd}, {"manual", Twins::manual}};
  return names;
}

std::vector<std::pair<std::string, std::string>> heading_of(const RunDescription& run) {
  const data::Dataset& dataset = run.dataset;
  std::vector<std::pair<std::string, std::string>> lines = {
      {"Data",
       fmt::format("{} · {} train · {} test · {}×{} · {} classes · sha256 {}…", dataset.title,
                   with_separators(dataset.train.count), with_separators(dataset.test.count),
                   dataset.train.height, dataset.train.width, dataset.classes, dataset.sha256.substr(0, 8))},
      {"Network", describe_network(run)},
      {"Training", describe_training(run)},
      {"Machine", fmt::format("LibTorch {} · {}", libtorch_version(), describe_device(run))},
  };
  if (!run.recipe.empty()) {
    lines.insert(lines.begin(), {"Recipe", run.recipe});
  }
  return lines;
}

Json settings_of(const RunDescription& run) {
  const data::Dataset& dataset = run.dataset;
  Json network = {{"widths", describe_widths(run.network)}};
  network.update(fields_to_json(network_fields(), run.network));
  network.erase("hidden");  // part of the widths
  network["parameters"] = parameter_count(run.network);
  Json training = {{"twins", name_of(twin_choices(), run.twins)}};
  training.update(fields_to_json(training_fields(), run.training));
  training.erase("epochs");
  training["threads"] = run.requested_threads;
  return {{"recipe", run.recipe},
          {"dataset",
           {{"sha256", dataset.sha256},
            {"train_images", dataset.train.count},
            {"test_images", dataset.test.count},
            {"height", dataset.train.height},
            {"width", dataset.train.width},
            {"classes", dataset.classes}}},
          {"network", network},
          {"loss", fields_to_json(loss_fields(), run.network)},
          {"optimizer", fields_to_json(optimizer_fields(), run.optimizer)},
          {"schedule", fields_to_json(schedule_fields(), run.training.schedule)},
          {"training", training}};
}

Json to_json(const RunDescription& run) {
  Json description = settings_of(run);
  description["dataset"]["name"] = run.dataset.name;
  description["dataset"]["location"] = run.dataset.location;
  description["network"]["init"] = run.initial_weights.empty()
                                       ? name_of(initializations(), run.network.initialization)
                                       : run.initial_weights;
  description["training"]["epochs"] = run.training.epochs;
  description["threads"] = to_json(run.threads);
  description["threads"]["blas_library"] = blas_library();
  if (const std::string library = product_library_of(run); run.twins != Twins::autograd && !library.empty()) {
    description["threads"]["manual"]["product_library"] = library;
  }
  if (run.training.device.is_cuda()) {
    description["gpu"] = gpu::name();
  }
  return description;
}

Json summary_of(const RunDescription& run, const TrainingResult& result) {
  Json summary = {{"twingrad", version()},
                  {"libtorch", libtorch_version()},
                  {"status", result.interrupted ? "interrupted" : "finished"}};
  summary.update(to_json(run));
  summary["training"]["steps"] = result.steps;
  for (const EpochMetrics& metrics : result.last) {
    summary["twins"][metrics.twin] = to_json(metrics);
    summary["twins"][metrics.twin]["total_seconds"] = number_to_json(result.seconds.at(metrics.twin));
  }
  if (!result.agreements.empty()) {
    summary["agreement"] = {{"before_first_update", to_json(result.agreements.front())},
                            {"last", to_json(result.agreements.back())}};
  }
  return summary;
}

}  // namespace twingrad
