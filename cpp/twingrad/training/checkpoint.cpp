#include "twingrad/training/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/io/whole_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t kVersion = 1;
constexpr const char* kEnding = ".safetensors";
const std::string kNoDigest(64, '0');

/// JSON has no number that is not finite.
Json to_json(double number) { return std::isfinite(number) ? Json(number) : Json(fmt::format("{}", number)); }

double number_of(const Json& json) {
  if (json.is_string()) {
    const auto& text = json.get_ref<const std::string&>();
    const double sign = text.rfind('-', 0) == 0 ? -1 : 1;
    return text.find("inf") != std::string::npos ? sign * std::numeric_limits<double>::infinity()
                                                 : std::numeric_limits<double>::quiet_NaN();
  }
  return json.get<double>();
}

Json to_json(const EpochMetrics& metrics) {
  return {{"epoch", metrics.epoch},
          {"twin", metrics.twin},
          {"train_loss", to_json(metrics.train_loss)},
          {"train_accuracy", to_json(metrics.train_accuracy)},
          {"test_loss", to_json(metrics.test_loss)},
          {"test_accuracy", to_json(metrics.test_accuracy)},
          {"seconds", to_json(metrics.seconds)},
          {"samples_per_second", to_json(metrics.samples_per_second)}};
}

EpochMetrics metrics_of(const Json& json) {
  return {.epoch = json.at("epoch"),
          .twin = json.at("twin"),
          .train_loss = number_of(json.at("train_loss")),
          .train_accuracy = number_of(json.at("train_accuracy")),
          .test_loss = number_of(json.at("test_loss")),
          .test_accuracy = number_of(json.at("test_accuracy")),
          .seconds = number_of(json.at("seconds")),
          .samples_per_second = number_of(json.at("samples_per_second"))};
}

Json to_json(const Agreement& agreement) {
  return {{"epoch", agreement.epoch},
          {"step", agreement.step},
          {"max_abs_gradient_difference", to_json(agreement.max_abs_gradient_difference)},
          {"max_rel_gradient_difference", to_json(agreement.max_rel_gradient_difference)},
          {"max_abs_weight_difference", to_json(agreement.max_abs_weight_difference)},
          {"worst", agreement.worst},
          {"autograd_loss", to_json(agreement.autograd_loss)},
          {"manual_loss", to_json(agreement.manual_loss)},
          {"loss_difference", to_json(agreement.loss_difference)},
          {"flips", agreement.flips}};
}

Agreement agreement_of(const Json& json) {
  return {.epoch = json.at("epoch"),
          .step = json.at("step"),
          .max_abs_gradient_difference = number_of(json.at("max_abs_gradient_difference")),
          .max_rel_gradient_difference = number_of(json.at("max_rel_gradient_difference")),
          .max_abs_weight_difference = number_of(json.at("max_abs_weight_difference")),
          .worst = json.at("worst"),
          .autograd_loss = number_of(json.at("autograd_loss")),
          .manual_loss = number_of(json.at("manual_loss")),
          .loss_difference = number_of(json.at("loss_difference")),
          .flips = json.at("flips").get<std::map<std::string, std::int64_t>>()};
}

Json to_json(const TrainingProgress& progress) {
  Json json = {{"epoch", progress.epoch},
               {"samples_done", progress.samples_done},
               {"steps", progress.result.steps},
               {"tallies", Json::array()},
               {"agreement", to_json(progress.agreement)},
               {"last", Json::array()},
               {"seconds", progress.result.seconds},
               {"agreements", Json::array()}};
  for (const Tally& tally : progress.tallies) {
    json["tallies"].push_back({{"loss_sum", to_json(tally.loss_sum)},
                               {"correct", tally.correct},
                               {"samples", tally.samples},
                               {"seconds", tally.seconds}});
  }
  for (const EpochMetrics& metrics : progress.result.last) {
    json["last"].push_back(to_json(metrics));
  }
  for (const Agreement& agreement : progress.result.agreements) {
    json["agreements"].push_back(to_json(agreement));
  }
  return json;
}

TrainingProgress progress_of(const Json& json) {
  TrainingProgress progress;
  progress.epoch = json.at("epoch");
  progress.samples_done = json.at("samples_done");
  progress.result.steps = json.at("steps");
  progress.agreement = agreement_of(json.at("agreement"));
  progress.result.seconds = json.at("seconds").get<std::map<std::string, double>>();
  for (const Json& tally : json.at("tallies")) {
    progress.tallies.push_back({.loss_sum = number_of(tally.at("loss_sum")),
                                .correct = tally.at("correct"),
                                .samples = tally.at("samples"),
                                .seconds = tally.at("seconds")});
  }
  for (const Json& metrics : json.at("last")) {
    progress.result.last.push_back(metrics_of(metrics));
  }
  for (const Json& agreement : json.at("agreements")) {
    progress.result.agreements.push_back(agreement_of(agreement));
  }
  return progress;
}

std::string digest_of(const std::string& content) {
  Sha256 sha256;
  sha256.update({reinterpret_cast<const std::uint8_t*>(content.data()), content.size()});
  return sha256.hex_digest();
}

}  // namespace

std::vector<NamedTensor> tensors_of(const Twin& twin) {
  std::vector<NamedTensor> named;
  const auto add = [&](const std::string& prefix, const std::vector<NamedTensor>& tensors) {
    for (const auto& [name, tensor] : tensors) {
      named.push_back({prefix + name, tensor});
    }
  };
  add(twin.name() + ".", twin.parameters());
  add(twin.name() + ".", twin.buffers());
  add(twin.name() + ".optimizer.", twin.optimizer_state());
  return named;
}

void load(Twin& twin, const Checkpoint& checkpoint) {
  const std::string prefix = twin.name() + ".";
  const std::string optimizer_prefix = prefix + "optimizer.";
  std::vector<NamedTensor> network, optimizer;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.rfind(optimizer_prefix, 0) == 0) {
      optimizer.push_back({name.substr(optimizer_prefix.size()), tensor});
    } else if (name.rfind(prefix, 0) == 0) {
      network.push_back({name.substr(prefix.size()), tensor});
    }
  }
  load_network(twin, network);
  twin.load_optimizer_state(optimizer);
}

std::string content_of(const Checkpoint& checkpoint) {
  TensorFile file;
  file.tensors = checkpoint.tensors;
  file.metadata = {{"twingrad.checkpoint", std::to_string(kVersion)},
                   {"twingrad.metrics_size", std::to_string(checkpoint.metrics_size)},
                   {"twingrad.progress", to_json(checkpoint.progress).dump()},
                   {"twingrad.run", checkpoint.run.dump()},
                   {"twingrad.sha256", kNoDigest}};
  std::string content = safetensors_of(file);
  content.replace(content.find(kNoDigest), kNoDigest.size(), digest_of(content));
  return content;
}

Checkpoint parse_checkpoint(const std::string& content, const std::string& where) {
  TensorFile file = parse_safetensors(content, where);
  const auto text = [&](const char* name) -> const std::string& {
    const auto found = file.metadata.find(std::string("twingrad.") + name);
    if (found == file.metadata.end()) {
      throw UserError(where, fmt::format("expected a checkpoint of twingrad, found no '{}' in it", name),
                      "name the folder of a run");
    }
    return found->second;
  };
  if (text("checkpoint") != std::to_string(kVersion)) {
    throw UserError(where, fmt::format("expected a checkpoint of version {}, found another", kVersion),
                    "continue with the release of twingrad that began the run");
  }
  const std::string& digest = text("sha256");
  std::string without = content;
  const std::size_t place = without.find(digest);
  if (digest.size() != kNoDigest.size() || place == std::string::npos ||
      digest_of(without.replace(place, digest.size(), kNoDigest)) != digest) {
    throw UserError(where, "expected a whole checkpoint, found one whose checksum is wrong",
                    "continue from the one before it");
  }
  try {
    return {.progress = progress_of(Json::parse(text("progress"))),
            .metrics_size = std::stoll(text("metrics_size")),
            .run = Json::parse(text("run")),
            .tensors = std::move(file.tensors)};
  } catch (const std::exception&) {  // of JSON, or a text that is no number
    throw UserError(where, "expected the progress of a run, found something else",
                    "continue from the one before it");
  }
}

void CheckpointFolder::write(const Checkpoint& checkpoint) const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) {
    throw UserError(path_.string(), "expected a folder that can be made, found: " + error.message(),
                    "free some space or choose another --out");
  }
  write_atomically(path_ / fmt::format("step-{:012}{}", checkpoint.progress.result.steps, kEnding),
                   content_of(checkpoint));
  const std::vector<fs::path> all = files();
  for (std::size_t i = 0; i + 2 < all.size(); ++i) {
    fs::remove(all[i], error);
  }
}

CheckpointFolder::Newest CheckpointFolder::read_newest() const {
  Newest newest;
  std::vector<fs::path> all = files();
  for (; !all.empty(); all.pop_back()) {
    try {
      newest.checkpoint = parse_checkpoint(read_whole_file(all.back()), all.back().string());
      return newest;
    } catch (const UserError& error) {
      newest.damages.emplace_back(error.what());
    }
  }
  if (!newest.damages.empty()) {
    throw UserError(
        path_.string(),
        fmt::format("expected a whole checkpoint, found {} that {} not ({})", newest.damages.size(),
                    newest.damages.size() == 1 ? "is" : "are", newest.damages.front()),
        "begin the run anew");
  }
  throw UserError(path_.string(), "expected the checkpoints of a run, found none",
                  "name the folder of a run with --resume");
}

std::vector<fs::path> CheckpointFolder::files() const {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("step-", 0) == 0 && entry.path().extension() == kEnding) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace twingrad
