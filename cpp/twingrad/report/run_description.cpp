#include "twingrad/report/run_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "twingrad/mlp/training_loss.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/report/console.h"
#include "twingrad/runtime/version.h"
#include "twingrad/training/metrics_json.h"
#include "twingrad/training/run_record.h"

namespace twingrad {
namespace {

using Json = nlohmann::ordered_json;

const char* name_of(at::ScalarType dtype) { return dtype == at::kDouble ? "float64" : "float32"; }

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

const char* name_of(optim::OneCycleLR::Anneal anneal) {
  return anneal == optim::OneCycleLR::Anneal::linear ? "linear" : "cosine";
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

/// Adds " · <label> <value>" if the value is not what it is by default.
void add_if_changed(std::string& text, const char* label, double value, double usual) {
  if (value != usual) {
    text += fmt::format(" · {} {:g}", label, value);
  }
}

std::string describe(const OptimizerOptions& optimizer) {
  const OptimizerOptions usual = default_options(optimizer.kind);
  std::string text = fmt::format("{} · learning rate {:g}", name_of(optimizer.kind), optimizer.lr);
  if (optimizer.momentum != 0) {
    text += fmt::format(" · {}momentum {:g}", optimizer.nesterov ? "Nesterov " : "", optimizer.momentum);
  }
  add_if_changed(text, "dampening", optimizer.dampening, usual.dampening);
  add_if_changed(text, "β1", optimizer.beta1, usual.beta1);
  add_if_changed(text, "β2", optimizer.beta2, usual.beta2);
  add_if_changed(text, "alpha", optimizer.alpha, usual.alpha);
  add_if_changed(text, "eps", optimizer.eps, usual.eps);
  add_if_changed(text, "rate decay", optimizer.lr_decay, usual.lr_decay);
  add_if_changed(text, "initial accumulator", optimizer.initial_accumulator_value,
                 usual.initial_accumulator_value);
  add_if_changed(text, "weight decay", optimizer.weight_decay, 0);
  if (optimizer.amsgrad) {
    text += " · amsgrad";
  }
  if (optimizer.centered) {
    text += " · centered";
  }
  if (optimizer.clip_norm > 0) {
    text += fmt::format(" · clipped to norm {:g}", optimizer.clip_norm);
    add_if_changed(text, "p", optimizer.clip_norm_type, usual.clip_norm_type);
  }
  return text;
}

std::string describe(const ScheduleOptions& schedule) {
  const ScheduleOptions usual;
  std::string text;
  if (schedule.kind != ScheduleOptions::Kind::constant) {
    text += fmt::format(" · {}", name_of(schedule.kind));
  }
  if (schedule.kind == ScheduleOptions::Kind::step) {
    text += fmt::format(" · times {:g} every {} epochs", schedule.gamma, schedule.step_epochs);
  }
  add_if_changed(text, "down to", schedule.eta_min, usual.eta_min);
  add_if_changed(text, "climbing for", schedule.pct_start, usual.pct_start);
  add_if_changed(text, "div factor", schedule.div_factor, usual.div_factor);
  add_if_changed(text, "final div factor", schedule.final_div_factor, usual.final_div_factor);
  if (schedule.anneal != usual.anneal) {
    text += fmt::format(" · {}", name_of(schedule.anneal));
  }
  if (schedule.three_phase) {
    text += " · three phases";
  }
  if (schedule.warm_up > 0) {
    text += fmt::format(" · warm-up of {} updates", schedule.warm_up);
    add_if_changed(text, "from", schedule.warm_up_start, usual.warm_up_start);
    add_if_changed(text, "to", schedule.warm_up_end, usual.warm_up_end);
  }
  return text;
}

/// "1, 2.5"
std::string list(const std::vector<double>& numbers) { return fmt::format("{:g}", fmt::join(numbers, ", ")); }

std::string describe_loss(const MlpSpec& network) {
  const MlpSpec usual;
  std::string text = entry_of(network.loss).name;
  add_if_changed(text, "label smoothing", network.label_smoothing, usual.label_smoothing);
  if (!network.class_weights.empty()) {
    text += " · class weights " + list(network.class_weights);
  }
  if (network.ignore_index) {
    text += fmt::format(" · ignoring class {}", *network.ignore_index);
  }
  if (!network.positive_weights.empty()) {
    text += " · positive weights " + list(network.positive_weights);
  }
  add_if_changed(text, "beta", network.smooth_l1_beta, usual.smooth_l1_beta);
  add_if_changed(text, "delta", network.huber_delta, usual.huber_delta);
  if (network.batch_mean) {
    text += " · mean over images";
  }
  if (network.log_target) {
    text += " · logarithms of the labels";
  }
  if (network.reduction == nn::Reduction::sum) {
    text += " (gradient of the sum)";
  }
  return text;
}

std::string describe(const MlpSpec& network) {
  std::string text = describe_widths(network);
  if (network.input_dropout > 0) {
    text += fmt::format(" · input dropout {:g}", network.input_dropout);
  }
  if (!network.hidden.empty()) {
    text += " · " + network.activation;
    if (network.normalization != Normalization::none) {
      text += fmt::format(" · {} normalization{}{}", name_of(normalizations(), network.normalization),
                          network.normalization_affine ? "" : " without scale and shift",
                          network.normalization_statistics ? "" : " without running statistics");
    }
    if (network.dropout > 0) {
      text += fmt::format(" · dropout {:g}", network.dropout);
    }
    if (network.residual) {
      text += " · residual";
    }
  }
  text +=
      fmt::format(" · {} parameters · {}", with_separators(parameter_count(network)), describe_loss(network));
  if (network.bias == Bias::column_of_ones) {
    text += " · bias as a column of ones";
  }
  if (network.bias == Bias::layer_of_its_own) {
    text += " · bias as a layer of its own";
  }
  return text;
}

std::string describe_initial_weights(const RunDescription& run) {
  if (!run.initial_weights.empty()) {
    return " · weights from " + run.initial_weights;
  }
  return run.network.initialization == Initialization::normal ? " · weights from N(0, 1)" : "";
}

/// The options of the loss in hand, by the names that they have for `train`.
nlohmann::ordered_json summary_of_loss(const MlpSpec& network) {
  return {{"kind", entry_of(network.loss).name},
          {"reduction", network.reduction == nn::Reduction::sum ? "sum" : "mean"},
          {"label_smoothing", network.label_smoothing},
          {"class_weights", network.class_weights},
          {"ignore_index", network.ignore_index ? Json(*network.ignore_index) : Json()},
          {"positive_weights", network.positive_weights},
          {"smooth_l1_beta", network.smooth_l1_beta},
          {"huber_delta", network.huber_delta},
          {"batch_mean", network.batch_mean},
          {"log_target", network.log_target}};
}

nlohmann::ordered_json summary_of(const OptimizerOptions& optimizer) {
  const double p = optimizer.clip_norm_type;
  return {{"kind", name_of(optimizer.kind)},
          {"lr", optimizer.lr},
          {"momentum", optimizer.momentum},
          {"dampening", optimizer.dampening},
          {"nesterov", optimizer.nesterov},
          {"beta1", optimizer.beta1},
          {"beta2", optimizer.beta2},
          {"amsgrad", optimizer.amsgrad},
          {"alpha", optimizer.alpha},
          {"centered", optimizer.centered},
          {"eps", optimizer.eps},
          {"lr_decay", optimizer.lr_decay},
          {"initial_accumulator", optimizer.initial_accumulator_value},
          {"weight_decay", optimizer.weight_decay},
          {"clip_norm", optimizer.clip_norm},
          {"clip_norm_type", std::isinf(p) ? Json("inf") : Json(p)}};  // JSON has no infinity
}

nlohmann::ordered_json summary_of(const ScheduleOptions& schedule) {
  return {{"kind", name_of(schedule.kind)},
          {"step_epochs", schedule.step_epochs},
          {"gamma", schedule.gamma},
          {"eta_min", schedule.eta_min},
          {"pct_start", schedule.pct_start},
          {"div_factor", schedule.div_factor},
          {"final_div_factor", schedule.final_div_factor},
          {"anneal", name_of(schedule.anneal)},
          {"three_phase", schedule.three_phase},
          {"warm_up", schedule.warm_up},
          {"warm_up_start", schedule.warm_up_start},
          {"warm_up_end", schedule.warm_up_end}};
}

/// The library of the manual twin's products, "" if it is LibTorch's own.
std::string products_by_hand(const RunDescription& run) {
  return ops::product_library(at::TensorOptions(run.training.device).dtype(run.training.dtype));
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
      {"Network", describe(run.network) + describe_initial_weights(run)},
      {"Training",
       fmt::format("{} · {} · {} · seed {}", describe(run.optimizer) + describe(run.training.schedule), batch,
                   name_of(run.training.dtype), run.training.seed)},
      {"Machine", fmt::format("LibTorch {} · {} · {}", libtorch_version(), run.training.device.str(),
                              run.threads.describe(run.autograd, run.manual, products_by_hand(run)))},
  };
  if (!run.recipe.empty()) {
    lines.insert(lines.begin(), {"Recipe", run.recipe});
  }
  return lines;
}

nlohmann::ordered_json settings_of(const RunDescription& run) {
  const data::Dataset& dataset = run.dataset;
  const TrainingOptions& training = run.training;
  return {
      {"recipe", run.recipe},
      {"dataset",
       {{"sha256", dataset.sha256},
        {"train_images", dataset.train.count},
        {"test_images", dataset.test.count},
        {"height", dataset.train.height},
        {"width", dataset.train.width},
        {"classes", dataset.classes}}},
      {"network",
       {{"widths", describe_widths(run.network)},
        {"activation", run.network.activation},
        {"bias", name_of(biases(), run.network.bias)},
        {"normalization", name_of(normalizations(), run.network.normalization)},
        {"affine", run.network.normalization_affine},
        {"running_statistics", run.network.normalization_statistics},
        {"input_dropout", run.network.input_dropout},
        {"dropout", run.network.dropout},
        {"residual", run.network.residual},
        {"parameters", parameter_count(run.network)}}},
      {"loss", summary_of_loss(run.network)},
      {"optimizer", summary_of(run.optimizer)},
      {"schedule", summary_of(training.schedule)},
      {"training",
       {{"twins", run.autograd && run.manual ? "both"
                  : run.manual               ? "manual"
                                             : "autograd"},
        {"batch_size", training.batch_size == 0 ? Json("full") : Json(training.batch_size)},
        {"seed", training.seed},
        {"dtype", name_of(training.dtype)},
        {"device", training.device.str()},
        {"evaluate_every", training.evaluate_every},
        {"checkpoint_every", training.checkpoint_every},
        {"threads", run.threads_asked_for}}},
  };
}

nlohmann::ordered_json summary_of(const RunDescription& run, const TrainingResult& result) {
  nlohmann::ordered_json summary = {{"twingrad", version()},
                                    {"libtorch", libtorch_version()},
                                    {"status", result.interrupted ? "interrupted" : "finished"}};
  summary.update(settings_of(run));
  summary["dataset"]["name"] = run.dataset.name;
  summary["network"]["init"] = !run.initial_weights.empty()                           ? run.initial_weights
                               : run.network.initialization == Initialization::normal ? "normal"
                                                                                      : "uniform";
  summary["dataset"]["location"] = run.dataset.location;
  summary["training"]["epochs"] = run.training.epochs;
  summary["training"]["steps"] = result.steps;
  summary["threads"] = to_json(run.threads);
  summary["threads"]["blas_library"] = blas_library();
  if (const std::string library = products_by_hand(run); run.manual && !library.empty()) {
    summary["threads"]["manual"]["product_library"] = library;
  }
  for (const EpochMetrics& metrics : result.last) {
    nlohmann::ordered_json twin = to_json(metrics);
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
