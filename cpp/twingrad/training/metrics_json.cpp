#include "twingrad/training/metrics_json.h"

#include <nlohmann/json.hpp>

namespace twingrad {

nlohmann::ordered_json to_json(const EpochMetrics& metrics) {
  return {{"event", "epoch"},
          {"epoch", metrics.epoch},
          {"twin", metrics.twin},
          {"train_loss", metrics.train_loss},
          {"train_accuracy", metrics.train_accuracy},
          {"test_loss", metrics.test_loss},
          {"test_accuracy", metrics.test_accuracy},
          {"seconds", metrics.seconds},
          {"samples_per_second", metrics.samples_per_second}};
}

nlohmann::ordered_json to_json(const Agreement& agreement) {
  return {{"event", "agreement"},
          {"epoch", agreement.epoch},
          {"step", agreement.step},
          {"max_abs_gradient_difference", agreement.max_abs_gradient_difference},
          {"max_rel_gradient_difference", agreement.max_rel_gradient_difference},
          {"max_abs_weight_difference", agreement.max_abs_weight_difference},
          {"worst", agreement.worst},
          {"loss_difference", agreement.loss_difference},
          {"flips", agreement.flips}};
}

}  // namespace twingrad
