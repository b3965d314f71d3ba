#include "twingrad/report/run_description.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "twingrad/report/console.h"
#include "twingrad/runtime/version.h"
#include "twingrad/training/metrics_json.h"

namespace twingrad {
namespace {

const char* name_of(at::ScalarType dtype) { return dtype == at::kDouble ? "float64" : "float32"; }

const char* name_of(LossKind loss) {
  switch (loss) {
    case LossKind::cross_entropy:
      return "cross_entropy";
    case LossKind::softmax_log:
      return "softmax_log";
    case LossKind::exercise_softmax_log:
      return "exercise";
  }
  return "";
}

const char* name_of(OptimizerOptions::Kind kind) {
  switch (kind) {
    case OptimizerOptions::Kind::sgd:
      return "sgd";
    case OptimizerOptions::Kind::adam:
      return "adam";
    case OptimizerOptions::Kind::adamw:
      return "adamw";
    case OptimizerOptions::Kind::rmsprop:
      return "rmsprop";
    case OptimizerOptions::Kind::adagrad:
      return "adagrad";
  }
  return "";
}

const char* name_of(Normalization normalization) {
  switch (normalization) {
    case Normalization::none:
      return "none";
    case Normalization::batch:
      return "batch";
    case Normalization::layer:
      return "layer";
    case Normalization::rms:
      return "rms";
  }
  return "";
}

const char* name_of(ScheduleOptions::Kind kind) {
  switch (kind) {
    case ScheduleOptions::Kind::constant:
      return "constant";
    case ScheduleOptions::Kind::step:
      return "step";
    case ScheduleOptions::Kind::cosine:
      return "cosine";
    case ScheduleOptions::Kind::one_cycle:
      return "one_cycle";
  }
  return "";
}

std::string describe(const OptimizerOptions& optimizer) {
  std::string text = fmt::format("{} · learning rate {:g}", name_of(optimizer.kind), optimizer.learning_rate);
  if (optimizer.momentum != 0) {
    text += fmt::format(" · {}momentum {:g}", optimizer.nesterov ? "Nesterov " : "", optimizer.momentum);
  }
  if (optimizer.weight_decay != 0) {
    text += fmt::format(" · weight decay {:g}", optimizer.weight_decay);
  }
  if (optimizer.amsgrad) {
    text += " · amsgrad";
  }
  if (optimizer.centered) {
    text += " · centered";
  }
  if (optimizer.clip_norm > 0) {
    text += fmt::format(" · clipped to norm {:g}", optimizer.clip_norm);
  }
  return text;
}

std::string describe(const ScheduleOptions& schedule) {
  std::string text =
      schedule.kind == ScheduleOptions::Kind::constant ? "" : fmt::format(" {}", name_of(schedule.kind));
  if (schedule.warm_up > 0) {
    text += fmt::format(" after a warm-up of {} updates", schedule.warm_up);
  }
  return text;
}

std::string describe(const MlpSpec& network) {
  std::string text = describe_widths(network);
  if (!network.hidden.empty()) {
    text += " · " + network.activation;
    if (network.normalization != Normalization::none) {
      text += fmt::format(" · {} normalization", name_of(network.normalization));
    }
    if (network.dropout > 0) {
      text += fmt::format(" · dropout {:g}", network.dropout);
    }
  }
  text +=
      fmt::format(" · {} parameters · {}", with_separators(parameter_count(network)), name_of(network.loss));
  if (network.label_smoothing > 0) {
    text += fmt::format(" with label smoothing {:g}", network.label_smoothing);
  }
  if (network.reduction == Reduction::sum) {
    text += " (gradient of the sum)";
  }
  if (network.bias == Bias::column_of_ones) {
    text += " · bias as a column of ones";
  }
  if (network.initialization == Initialization::normal) {
    text += " · weights from N(0, 1)";
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> heading_of(const RunDescription& run) {
  const data::Dataset& dataset = run.dataset;
  const std::string batch =
      run.training.batch_size == 0 ? "all images a step" : fmt::format("batch {}", run.training.batch_size);
  std::vector<std::pair<std::string, std::string>> lines = {
      {"Data",
       fmt::format("{} · {} train · {} test · {}×{} · {} classes · sha256 {}…", dataset.title,
                   with_separators(dataset.train.count), with_separators(dataset.test.count),
                   dataset.train.height, dataset.train.width, dataset.classes, dataset.sha256.substr(0, 8))},
      {"Network", describe(run.network)},
      {"Training",
       fmt::format("{} · {} · {} · seed {}", describe(run.optimizer) + describe(run.training.schedule), batch,
                   name_of(run.training.dtype), run.training.seed)},
      {"Machine", fmt::format("LibTorch {} · {} · {}", libtorch_version(), run.training.device.str(),
                              run.threads.describe())},
  };
  if (!run.recipe.empty()) {
    lines.insert(lines.begin(), {"Recipe", run.recipe});
  }
  return lines;
}

nlohmann::ordered_json summary_of(const RunDescription& run, const TrainingResult& result) {
  using Json = nlohmann::ordered_json;
  const data::Dataset& dataset = run.dataset;
  Json summary = {
      {"twingrad", version()},
      {"libtorch", libtorch_version()},
      {"status", result.interrupted ? "interrupted" : "finished"},
      {"recipe", run.recipe},
      {"dataset",
       {{"name", dataset.name},
        {"location", dataset.location},
        {"sha256", dataset.sha256},
        {"train_images", dataset.train.count},
        {"test_images", dataset.test.count},
        {"height", dataset.train.height},
        {"width", dataset.train.width},
        {"classes", dataset.classes}}},
      {"network",
       {{"widths", describe_widths(run.network)},
        {"activation", run.network.activation},
        {"loss", name_of(run.network.loss)},
        {"reduction", run.network.reduction == Reduction::sum ? "sum" : "mean"},
        {"bias", run.network.bias == Bias::column_of_ones ? "ones" : "layers"},
        {"init", run.network.initialization == Initialization::normal ? "normal" : "uniform"},
        {"normalization", name_of(run.network.normalization)},
        {"dropout", run.network.dropout},
        {"label_smoothing", run.network.label_smoothing},
        {"parameters", parameter_count(run.network)}}},
      {"optimizer",
       {{"kind", name_of(run.optimizer.kind)},
        {"lr", run.optimizer.learning_rate},
        {"momentum", run.optimizer.momentum},
        {"dampening", run.optimizer.dampening},
        {"nesterov", run.optimizer.nesterov},
        {"amsgrad", run.optimizer.amsgrad},
        {"centered", run.optimizer.centered},
        {"clip_norm", run.optimizer.clip_norm},
        {"weight_decay", run.optimizer.weight_decay}}},
      {"schedule",
       {{"kind", name_of(run.training.schedule.kind)},
        {"step_epochs", run.training.schedule.step_epochs},
        {"gamma", run.training.schedule.gamma},
        {"warm_up", run.training.schedule.warm_up}}},
      {"training",
       {{"epochs", run.training.epochs},
        {"batch_size", run.training.batch_size == 0 ? Json("full") : Json(run.training.batch_size)},
        {"steps", result.steps},
        {"seed", run.training.seed},
        {"dtype", name_of(run.training.dtype)},
        {"device", run.training.device.str()}}},
      {"threads",
       {{"blas_library", run.threads.blas_library}, {"blas", run.threads.blas}, {"aten", run.threads.aten}}},
  };
  for (const EpochMetrics& metrics : result.last) {
    Json twin = to_json(metrics);
    twin.erase("event");
    twin["total_seconds"] = result.seconds.at(metrics.twin);
    summary["twins"][metrics.twin] = twin;
  }
  if (!result.agreements.empty()) {
    summary["agreement"] = {{"before_first_update", to_json(result.agreements.front())},
                            {"last", to_json(result.agreements.back())}};
  }
  return summary;
}

}  // namespace twingrad
