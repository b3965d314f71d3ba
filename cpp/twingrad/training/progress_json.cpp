#include "twingrad/training/progress_json.h"

#include <cmath>
#include <concepts>
#include <limits>
#include <stdexcept>

#include "twingrad/runtime/fields.h"

namespace twingrad {
namespace {

template <typename Part, typename Of>
concept Is = std::same_as<std::remove_const_t<Part>, Of>;
template <typename Value>
concept is_map = requires {
  typename Value::mapped_type;
};
template <typename Value>
concept is_vector = requires(Value value) {
  value.emplace_back();
};

// ---- The members of each part, for writing and for reading ------------------------------------------------

void visit_members(auto& visitor, Is<Tally> auto& tally) {
  visitor("loss_sum", tally.loss_sum);
  visitor("correct", tally.correct);
  visitor("samples", tally.samples);
  visitor("seconds", tally.seconds);
}

void visit_members(auto& visitor, Is<StepSeconds> auto& seconds) {
  visitor("gather", seconds.gather);
  visitor("forward", seconds.forward);
  visitor("backward", seconds.backward);
  visitor("optimizer", seconds.optimizer);
}

void visit_members(auto& visitor, Is<EpochMetrics> auto& metrics) {
  visitor("epoch", metrics.epoch);
  visitor("twin", metrics.twin);
  visitor("train_loss", metrics.train_loss);
  visitor("train_accuracy", metrics.train_accuracy);
  visitor("test_loss", metrics.test_loss);
  visitor("test_accuracy", metrics.test_accuracy);
  visitor("seconds", metrics.seconds);
  visitor("samples_per_second", metrics.samples_per_second);
}

void visit_members(auto& visitor, Is<Agreement> auto& agreement) {
  visitor("epoch", agreement.epoch);
  visitor("step", agreement.step);
  visitor("max_abs_gradient_difference", agreement.max_abs_gradient_difference);
  visitor("max_rel_gradient_difference", agreement.max_rel_gradient_difference);
  visitor("max_abs_weight_difference", agreement.max_abs_weight_difference);
  visitor("max_abs_optimizer_state_difference", agreement.max_abs_optimizer_state_difference);
  visitor("worst", agreement.worst);
  visitor("bound", agreement.bound);
  visitor("tensors", agreement.tensors);
  visitor("rows", agreement.rows);
  visitor("rows_set_aside", agreement.rows_set_aside);
  visitor("verdict", agreement.verdict);
  visitor("autograd_loss", agreement.autograd_loss);
  visitor("manual_loss", agreement.manual_loss);
}

void visit_members(auto& visitor, Is<TrainingProgress> auto& progress) {
  visitor("epoch", progress.epoch);
  visitor("samples_done", progress.samples_done);
  visitor("steps", progress.result.steps);
  visitor("tallies", progress.tallies);
  visitor("last", progress.result.last);
  visitor("seconds", progress.result.seconds);
  visitor("seconds_by_part", progress.result.seconds_by_part);
  visitor("agreements", progress.result.agreements);
}

// ---- Writing ----------------------------------------------------------------------------------------------

using OrderedJson = nlohmann::ordered_json;

template <typename Value>
OrderedJson write_json(const Value& value) {
  OrderedJson json;
  if constexpr (std::same_as<Value, double>) {
    json = number_to_json(value);
  } else if constexpr (std::same_as<Value, std::int64_t> || std::same_as<Value, std::string>) {
    json = value;
  } else if constexpr (is_map<Value>) {
    json = OrderedJson::object();
    for (const auto& [name, member] : value) {
      json[name] = write_json(member);
    }
  } else if constexpr (is_vector<Value>) {
    json = OrderedJson::array();
    for (const auto& element : value) {
      json.push_back(write_json(element));
    }
  } else {
    const auto visitor = [&](const char* name, const auto& member) { json[name] = write_json(member); };
    visit_members(visitor, value);
  }
  return json;
}

// ---- Reading ----------------------------------------------------------------------------------------------

using UntrustedJson = nlohmann::json;

void require_json(bool condition, const char* what) {
  if (!condition) {
    throw std::invalid_argument(what);
  }
}

void read_json(const UntrustedJson& json, std::int64_t& count) {
  require_json(json.is_number_unsigned() && json.get<std::uint64_t>() <= kMaxCount, "count");
  count = json.get<std::int64_t>();
}

void read_json(const UntrustedJson& json, double& number) {
  if (json.is_number()) {
    number = json.get<double>();
    return;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {kInfinity, -kInfinity, kNaN, std::copysign(kNaN, -1.0)}) {
    if (json.is_string() && json.get<std::string>() == number_to_json(value).get<std::string>()) {
      number = value;
      return;
    }
  }
  throw std::invalid_argument("number");
}

template <typename Value>
void read_json(const UntrustedJson& json, Value& value) {
  if constexpr (std::same_as<Value, std::string>) {
    value = json.get<std::string>();
  } else if constexpr (is_map<Value>) {
    require_json(json.is_object(), "object");
    for (const auto& [name, member] : json.items()) {
      read_json(member, value[name]);
    }
  } else if constexpr (is_vector<Value>) {
    require_json(json.is_array(), "array");
    for (const UntrustedJson& element : json) {
      read_json(element, value.emplace_back());
    }
  } else {
    const auto visitor = [&](const char* name, auto& member) { read_json(json.at(name), member); };
    visit_members(visitor, value);
  }
}

}  // namespace

OrderedJson to_json(const EpochMetrics& metrics) { return write_json(metrics); }
OrderedJson to_json(const StepSeconds& seconds) { return write_json(seconds); }
OrderedJson to_json(const Agreement& agreement) { return write_json(agreement); }
OrderedJson to_json(const TrainingProgress& progress) { return write_json(progress); }

EpochMetrics epoch_metrics_from_json(const nlohmann::json& json) {
  EpochMetrics metrics;
  read_json(json, metrics);
  return metrics;
}

Agreement agreement_from_json(const nlohmann::json& json) {
  Agreement agreement;
  read_json(json, agreement);
  if (const auto found = json.find("gradients"); found != json.end()) {
    read_json(*found, agreement.gradients);
  }
  return agreement;
}

TrainingProgress progress_from_json(const nlohmann::json& json) {
  TrainingProgress progress;
  read_json(json, progress);
  const TrainingResult& result = progress.result;
  for (const EpochMetrics& metrics : result.last) {
    require_json(result.seconds.contains(metrics.twin), "seconds");
  }
  const bool has_both = result.seconds.contains("autograd") && result.seconds.contains("manual");
  require_json(result.agreements.size() <= 1 || has_both, "seconds");
  return progress;
}

}  // namespace twingrad
