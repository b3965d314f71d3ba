#include "twingrad/training/run_requirements.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "twingrad/runtime/control_groups.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"

namespace twingrad {
namespace {

/// Bytes for each parameter of the network: weights, gradients and optimizer state of each twin, and the
/// larger of a checkpoint, which copies them, and a comparison, which repeats the step in float64. Measured
/// as the growth of the memory in use between 3.4 and 8.2 million parameters, in float32 with Adam: 39 for
/// the autograd twin, 54 for the manual twin, 140 for both; in float64: 77, 97, 182.
double bytes_per_parameter(const RequestedRun& run) {
  const double entry = run.training.dtype == at::kDouble ? 8 : 4;
  const double copies = run.optimizer.kind == OptimizerOptions::Kind::sgd ? 2 : 4;
  constexpr double kComparison = 108, kInitialValue = 8;
  return run.twins == 2 ? 2 * entry * copies + kComparison : entry * (2 * copies - 1) + kInitialValue;
}

/// Refuses a network that does not fit into memory, before the system kills the program. The estimate is a
/// lower bound.
void refuse_too_large(const RequestedRun& run) {
  double parameters = 0;  // a double, because a product of widths may exceed 64 bits
  double activations = 0;
  for (const LayerSpec& layer : flat_layers_of(run.network)) {
    if (layer.kind == LayerSpec::Kind::linear || layer.kind == LayerSpec::Kind::matmul) {
      parameters += static_cast<double>(layer.inputs) * static_cast<double>(layer.outputs);
    }
    activations += 2 * static_cast<double>(layer.outputs);
  }
  const double entry = run.training.dtype == at::kDouble ? 8 : 4;
  const auto batch = static_cast<double>(run.training.rows_per_step(run.images.count));
  const double needed = memory_in_use() + bytes_per_parameter(run) * parameters +
                        entry * batch * (run.twins * activations + static_cast<double>(run.network.inputs));
  const double machine = memory_of_machine(), container = control_group_limits().memory;
  if (run.training.device.is_cpu() && needed > std::min(machine, container)) {
    throw UserError(
        "--hidden",
        fmt::format("expected a network that fits into {} {:.3g} GB of memory, found one that needs at least "
                    "{:.3g} GB",
                    container < machine ? "the container's" : "this machine's",
                    std::min(machine, container) / 1e9, needed / 1e9),
        "choose smaller layers, or a smaller --batch-size");
  }
}

/// Batch normalization divides by the standard deviation of a batch, which is 0 for one row.
void refuse_one_row_batches(const RequestedRun& run) {
  const std::int64_t batch_size = run.training.rows_per_step(run.images.count);
  if (run.network.normalization == Normalization::batch && !run.network.hidden.empty() &&
      (batch_size == 1 || run.images.count % batch_size == 1)) {
    throw UserError(
        "--batch-size",
        fmt::format("expected batches of at least two images with --normalization batch, found {} images in "
                    "batches of {}, which leave a last batch of one",
                    run.images.count, batch_size),
        "choose another --batch-size");
  }
}

void refuse_residual_without_a_block(const MlpSpec& network) {
  if (network.residual && !has_residual_block(network)) {
    throw UserError("--residual",
                    "expected a hidden layer as wide as its input, found " + describe_widths(network),
                    "choose --hidden with two consecutive equal widths, or leave --residual out");
  }
}

/// A run that ignores all images learns nothing.
void refuse_nothing_to_learn(const RequestedRun& run) {
  const auto is_ignored = [&](std::uint8_t label) { return label == run.network.ignore_index; };
  if (std::all_of(run.images.labels.begin(), run.images.labels.end(), is_ignored)) {
    throw UserError("--ignore-index", "expected images of other classes, found none", "leave the option out");
  }
}

/// Batch normalization would need the statistics of all processes, and Gloo sums tensors on the CPU.
void refuse_in_several_processes(const RequestedRun& run) {
  if (run.network.normalization == Normalization::batch && !run.network.hidden.empty()) {
    throw UserError(
        "--normalization batch",
        fmt::format("expected a single process, found {}, each with only a part of the batch", run.ranks),
        "choose --normalization layer or rms, or train in one process");
  }
  if (!run.training.device.is_cpu()) {
    throw UserError("--device",
                    fmt::format("expected cpu in several processes, found {}", run.training.device.str()),
                    "train on the GPU in one process");
  }
}

/// In a short run, a phase of the schedule may have no updates. learning_rate_at then throws for the first or
/// the last update.
void refuse_empty_phases(const RequestedRun& run) {
  const TrainingOptions& training = run.training;
  const std::int64_t batch_size = training.rows_per_step(run.images.count);
  const std::int64_t steps_per_epoch = (run.images.count + batch_size - 1) / batch_size;
  const std::int64_t steps = steps_per_epoch * training.epochs;
  try {
    for (const std::int64_t step : {std::int64_t{0}, steps - 1}) {
      learning_rate_at(training.schedule, training.lr, step, steps_per_epoch, steps);
    }
  } catch (const std::invalid_argument&) {
    throw UserError("--schedule one_cycle",
                    fmt::format("expected at least one update in each phase, found an empty phase in {} "
                                "updates with --pct-start {:g}",
                                steps, training.schedule.pct_start),
                    "train for more --epochs, or choose another --pct-start");
  }
}

}  // namespace

void require_possible(const RequestedRun& run) {
  refuse_too_large(run);
  refuse_one_row_batches(run);
  refuse_residual_without_a_block(run.network);
  refuse_nothing_to_learn(run);
  refuse_empty_phases(run);
  if (run.ranks > 1) {
    refuse_in_several_processes(run);
  }
}

}  // namespace twingrad
