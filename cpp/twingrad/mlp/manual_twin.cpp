#include "twingrad/mlp/manual_twin.h"

#include <algorithm>

#include "twingrad/mlp/kinks.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/optim/clip_by_norm.h"
#include "twingrad/optim/make_optimizer.h"

namespace twingrad {

using at::Tensor;

namespace {

/// Minimum number of parameters per slice: updating fewer takes less time than waking a thread.
constexpr std::int64_t kMinSlice = 16384;
/// Minimum number of parameters for which waking threads only for the update saves time.
constexpr std::int64_t kMinParametersToWakeThreads = 500'000;

}  // namespace

ManualTwin::ManualTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const Tensor& initial,
                       const at::TensorOptions& options, std::shared_ptr<ThreadPool> pool,
                       const ThreadSettings& threads, const ManualParts& parts)
    : spec_(spec),
      pool_(std::move(pool)),
      threads_(threads),
      parameters_(spec, initial, options),
      counts_steps_(optimizer.kind != OptimizerOptions::Kind::sgd),
      clip_norm_(optimizer.clip_norm),
      clip_norm_type_(optimizer.clip_norm_type) {
  const bool is_on_cpu = parameters_.options().device().is_cpu();
  const int most_threads = is_on_cpu ? pool_->count() : 1;
  const int most_shards = can_be_sharded(spec) ? most_threads : 1;
  for (int i = 0; i < most_shards; ++i) {
    shards_.push_back(std::make_unique<ManualShard>(
        spec_, i == 0 ? parameters_ : parameters_.with_separate_gradients(), parts));
  }
  constexpr std::int64_t kBlock = 16;  // slices begin at cache lines
  const std::int64_t count = parameter_count(spec);
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
  const int slices = static_cast<int>(std::clamp<std::int64_t>(count / kMinSlice, 1, most_threads));
  for (int i = 0; i < slices; ++i) {
    const auto [first, size] = part_of(blocks, slices, i);
    const auto slice_of = [&](const Tensor& flat) {
      return flat.slice(0, first * kBlock, std::min(count, (first + size) * kBlock));
    };
    Slice slice{.values = slice_of(parameters_.values()),
                .optimizer = parts.optimizer ? parts.optimizer() : optim::make_optimizer(optimizer)};
    for (const auto& shard : shards_) {
      slice.gradients.push_back(slice_of(shard->parameters().gradients()));
    }
    slices_.push_back(std::move(slice));
  }
  if (!is_on_cpu && RecordedStep::is_possible(spec_) && !parts.layer && !parts.loss && !parts.optimizer) {
    recorded_ = std::make_unique<RecordedStep>(spec_, parameters_);
  }
}

int ManualTwin::shards_for(std::int64_t rows) const {
  const StepWork work{.rows = static_cast<double>(rows),
                      .parameters = static_cast<double>(parameters_.size())};
  return work.worthwhile_threads(static_cast<int>(shards_.size()));
}

double ManualTwin::forward(const Tensor& images, const Tensor& labels) {
  labels_ = labels;
  run_shards(images, [&](ManualShard& shard, Range rows) { shard.forward(images, labels, rows); });
  return loss_of_shards(labels);
}

double ManualTwin::compute_gradients(const Tensor& images, const Tensor& labels) {
  if (!images.is_cpu()) {
    return enqueue_gradients(images, labels).item<double>();
  }
  run_shards_in_blocks(images, labels);
  seconds_in_forward_ = 0;
  for (int i = 0; i < shards_in_use_; ++i) {  // the mean, because they run at the same time
    seconds_in_forward_ += shards_[static_cast<std::size_t>(i)]->seconds_in_forward() / shards_in_use_;
  }
  return loss_of_shards(labels);
}

Tensor ManualTwin::enqueue_gradients(const Tensor& images, const Tensor& labels) {
  if (images.is_cpu()) {
    return Twin::enqueue_gradients(images, labels);
  }
  if (!recorded_ || !recorded_->compute_gradients(images, labels)) {
    run_shards_in_blocks(images, labels);
    return mean_loss(spec_, shards_[0]->loss_on_device(), labels);
  }
  has_intermediates_ = false;
  shards_in_use_ = 1;
  gradient_parts_ = 1;
  shards_with_gradients_ = 0;
  logits_ = recorded_->logits();
  return mean_loss(spec_, recorded_->loss(), labels);
}

void ManualTwin::run_shards_in_blocks(const Tensor& images, const Tensor& labels) {
  logits_ = nn::sized(logits_buffer_, {images.size(0), spec_.classes}, images);
  run_shards(images,
             [&](ManualShard& shard, Range rows) { shard.compute_gradients(images, labels, rows, logits_); });
  has_intermediates_ = false;
  gradient_parts_ = static_cast<std::size_t>(shards_in_use_);
  shards_with_gradients_ = 0;
}

void ManualTwin::run_shards(const Tensor& images, const std::function<void(ManualShard&, Range)>& run) {
  use_threads(threads_);
  const std::int64_t rows = images.size(0);
  shards_in_use_ = shards_for(rows);
  pool_->run(shards_in_use_,
             [&](int i) { run(*shards_[static_cast<std::size_t>(i)], part_of(rows, shards_in_use_, i)); });
  has_intermediates_ = true;
}

double ManualTwin::loss_of_shards(const Tensor& labels) const {
  double loss = 0;
  for (int i = 0; i < shards_in_use_; ++i) {
    loss += shards_[static_cast<std::size_t>(i)]->loss();
  }
  return mean_loss(spec_, loss, labels);
}

at::Tensor ManualTwin::predict(const Tensor& images) {
  run_shards(images, [&](ManualShard& shard, Range rows) { shard.forward(images, rows); });
  return logits();
}

void ManualTwin::backward() {
  use_threads(threads_);
  pool_->run(shards_in_use_, [&](int i) { shards_[static_cast<std::size_t>(i)]->backward(); });
  gradient_parts_ = static_cast<std::size_t>(shards_in_use_);
  shards_with_gradients_ = shards_in_use_;
}

void ManualTwin::update() {
  use_threads(threads_);
  if (clip_norm_ > 0) {
    Tensor gradient = gradient_vectors().front();
    optim::enqueue_clip_by_norm(gradient, clip_norm_, clip_norm_type_);
  }
  if (recorded_) {
    const AutogradDispatchGuard guard;
    Slice& all = slices_[0];
    recorded_->update(*all.optimizer, all.values, at::TensorList(all.gradients));
    return;
  }
  const auto move = [&](int i) {
    const AutogradDispatchGuard guard;
    Slice& slice = slices_[static_cast<std::size_t>(i)];
    slice.optimizer->step(slice.values, at::TensorList(slice.gradients).slice(0, gradient_parts_));
  };
  const int slices = static_cast<int>(slices_.size());
  if (shards_in_use_ > 1 || parameters_.size() >= kMinParametersToWakeThreads) {
    pool_->run(slices, move);
  } else {  // waking the other threads would take as long as the update
    for (int i = 0; i < slices; ++i) {
      move(i);
    }
  }
}

std::vector<Tensor> ManualTwin::gradient_vectors() {
  for (; gradient_parts_ > 1; --gradient_parts_) {
    parameters_.gradients().add_(shards_[gradient_parts_ - 1]->parameters().gradients());
  }
  return {parameters_.gradients()};
}

void ManualTwin::set_lr(double learning_rate) {
  for (const Slice& slice : slices_) {
    slice.optimizer->set_lr(learning_rate);
  }
}

void ManualTwin::train(bool training) {
  for (const auto& shard : shards_) {
    shard->train(training);
  }
}

void ManualTwin::set_dropout_masks(const std::vector<Tensor>& masks) {
  for (const auto& shard : shards_) {
    shard->set_dropout_masks(masks);
  }
}

Tensor ManualTwin::joined(int shards, const std::function<Tensor(const ManualShard&)>& part) const {
  if (shards == 1) {
    return part(*shards_[0]);
  }
  std::vector<Tensor> parts;
  for (int i = 0; i < shards; ++i) {
    parts.push_back(part(*shards_[static_cast<std::size_t>(i)]));
  }
  return at::cat(parts);
}

Tensor ManualTwin::logits() const {
  if (!has_intermediates_) {
    return logits_;
  }
  return joined(shards_in_use_, [&](const ManualShard& shard) { return shard.output(logits_index(spec_)); });
}

std::vector<NamedTensor> ManualTwin::intermediates() const {
  std::vector<NamedTensor> named;
  const std::vector<std::string> names = result_names(spec_);
  for (std::size_t i = 0; has_intermediates_ && i < names.size(); ++i) {
    named.push_back(
        {names[i], joined(shards_in_use_, [&](const ManualShard& shard) { return shard.output(i); })});
  }
  return named;
}

std::vector<NamedTensor> ManualTwin::kink_distances() const {
  std::vector<Tensor> results;
  for (const NamedTensor& result : intermediates()) {
    results.push_back(result.tensor);
  }
  return twingrad::kink_distances(spec_, results, labels_);
}

std::vector<NamedTensor> ManualTwin::optimizer_state() const {
  optim::Optimizer& first = *slices_[0].optimizer;
  std::vector<NamedTensor> named;
  const auto add = [&](const std::string& state, const Tensor& flat) {
    for (const auto& [parameter, view] : parameters_.named_views(flat)) {
      named.push_back({parameter + "." + state, view});
    }
  };
  for (std::size_t i = 0; i < first.state().size(); ++i) {
    std::vector<Tensor> parts;
    for (const Slice& slice : slices_) {
      parts.push_back(*slice.optimizer->state()[i].value);
    }
    if (parts[0].defined()) {
      add(first.state()[i].name, at::cat(parts));
    }
  }
  for (const auto& [parameter, view] : parameters_.named_values()) {
    if (first.steps() > 0) {
      named.push_back({parameter + ".step", at::scalar_tensor(first.steps(), at::kLong)});
    }
  }
  return named;
}

void ManualTwin::load_optimizer_state(const std::vector<NamedTensor>& state) {
  if (state.empty()) {
    return;
  }
  const std::vector<optim::Optimizer::StateVector> vectors = slices_[0].optimizer->state();
  std::vector<Tensor> loaded;
  for (const auto& vector : vectors) {
    loaded.push_back(at::empty_like(parameters_.values()));
    for (const auto& [parameter, view] : parameters_.named_views(loaded.back())) {
      view.copy_(find_tensor(state, parameter + "." + vector.name, view.sizes()));
    }
  }
  std::int64_t steps = 0;
  for (const auto& [parameter, view] : parameters_.named_values()) {
    if (counts_steps_) {  // each parameter's count, although all are equal
      steps = find_tensor(state, parameter + ".step", {}).item<std::int64_t>();
    }
  }
  if (recorded_) {
    recorded_->forget_update();
  }
  std::int64_t first = 0;
  for (const Slice& slice : slices_) {
    for (std::size_t i = 0; i < vectors.size(); ++i) {
      *slice.optimizer->state()[i].value = loaded[i].narrow(0, first, slice.values.numel()).clone();
    }
    slice.optimizer->set_steps(steps);
    first += slice.values.numel();
  }
}

std::vector<NamedTensor> ManualTwin::gradients() const {
  std::vector<NamedTensor> named = parameters_.named_gradients();
  for (std::size_t part = 1; part < gradient_parts_; ++part) {
    const std::vector<NamedTensor> others = shards_[part]->parameters().named_gradients();
    for (std::size_t i = 0; i < named.size(); ++i) {
      named[i].tensor = named[i].tensor + others[i].tensor;
    }
  }
  const std::vector<std::string> names = result_names(spec_);
  for (std::size_t i = first_learning_layer(spec_); shards_with_gradients_ > 0 && i < names.size(); ++i) {
    named.push_back({names[i], joined(shards_with_gradients_,
                                      [&](const ManualShard& shard) { return shard.output_gradient(i); })});
  }
  return named;
}

}  // namespace twingrad
