#include <optional>

#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/conventions.h"
#include "twingrad/layers/batch_norm.h"

namespace twingrad::catalogue {
namespace {

/// A batch, and whether it is a training step or an evaluation, which must not change the statistics.
struct TrackedBatch {
  Tensor x;
  bool training;
};

std::vector<TrackedBatch> tracked_batches() {
  std::vector<TrackedBatch> batches;
  for (const std::int64_t rows : {8, 2, 6, 5, 8}) {
    // A mean far from 0 and a variance far from 1, where the statistics start; exact in float32.
    const Tensor x = draw({rows, 4}, 2).add_(3).to(at::kFloat).to(at::kDouble);
    batches.push_back({x, rows != 6});
  }
  return batches;
}

/// Updates mean and variance [D] by a training batch; factor: 0.1, or 1/(batches so far, this one included).
using UpdateRule = std::function<void(Tensor& mean, Tensor& variance, const Tensor& x, double factor)>;

/// How a wrong version deviates from the right one.
struct WrongStatistics {
  UpdateRule rule;
  bool updates_in_evaluation = false;
  std::int64_t batches_before = 0;  ///< 1: the first batch is counted as the second
};

/// Mean and variance after each batch.
Tensors statistics_by(const std::vector<TrackedBatch>& batches, const at::TensorOptions& options,
                      std::optional<double> momentum, const WrongStatistics& version) {
  Tensor mean = at::zeros({4}, options);
  Tensor variance = at::ones({4}, options);
  std::int64_t count = version.batches_before;
  Tensors results;
  for (const auto& [x, training] : batches) {
    if (training || version.updates_in_evaluation) {
      ++count;
      version.rule(mean, variance, x.to(options), momentum.value_or(1.0 / static_cast<double>(count)));
    }
    results.push_back(mean.clone());
    results.push_back(variance.clone());
  }
  results.push_back(at::full({}, static_cast<double>(count), options));
  return results;
}

/// The same, computed by the layer.
Tensors statistics_of_layer(const std::vector<TrackedBatch>& batches, const at::TensorOptions& options,
                            std::optional<double> momentum) {
  nn::BatchNorm1d layer({}, {}, {at::zeros({4}, options), at::ones({4}, options)}, {.momentum = momentum});
  Tensors results;
  for (const auto& [x, training] : batches) {
    layer.train(training);
    layer.forward(x.to(options));
    results.push_back(layer.statistics().mean.clone());
    results.push_back(layer.statistics().variance.clone());
  }
  results.push_back(at::full({}, static_cast<double>(layer.statistics().batches), options));
  return results;
}

void update_by_libtorch(Tensor& mean, Tensor& variance, const Tensor& x, double factor) {
  at::batch_norm(x, {}, {}, mean, variance, /*training=*/true, factor, 1e-5, /*cudnn_enabled=*/false);
}

UpdateRule moving_average(bool unbiased, bool swapped) {
  return [=](Tensor& mean, Tensor& variance, const Tensor& x, double factor) {
    const double a = swapped ? 1 - factor : factor;
    mean.mul_(1 - a).add_(x.mean(0), a);
    variance.mul_(1 - a).add_(x.var(0, unbiased), a);
  };
}

ValuesEntry running_statistics(const std::string& name, std::optional<double> momentum) {
  const std::vector<TrackedBatch> batches = tracked_batches();
  const auto by = [=](const WrongStatistics& version) {
    return
        [=](const at::TensorOptions& options) { return statistics_by(batches, options, momentum, version); };
  };
  const WrongStatistics right = {update_by_libtorch};
  ValuesEntry entry = {
      .name = name,
      .oracle = "LibTorch",
      .values =
          [=](const at::TensorOptions& options) { return statistics_of_layer(batches, options, momentum); },
      .reference = [=] { return by(right)(at::kDouble); },
      .has_float32 = true,
      .bugs = {{name + ".biased_variance", "the running variance is unbiased: N/(N − 1) is missing",
                by({moving_average(false, false)})},
               {name + ".updated_in_evaluation", "the test data must not change the network",
                by({update_by_libtorch, true})}}};
  if (momentum) {
    entry.bugs.push_back({name + ".momentum_of_the_old_value",
                          "in other libraries the momentum is the weight of the old value",
                          by({moving_average(true, true)})});
  } else {
    entry.bugs.push_back({name + ".counted_too_late",
                          "the batch itself counts: the first one has weight 1, not 1/2",
                          by({update_by_libtorch, false, 1})});
  }
  return entry;
}

}  // namespace

std::vector<ValuesEntry> running_statistics_entries() {
  restart_draws();
  return {running_statistics("batch_norm.running_statistics", 0.1),
          running_statistics("batch_norm.cumulative_average", std::nullopt)};
}

}  // namespace twingrad::catalogue
