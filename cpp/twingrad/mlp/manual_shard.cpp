#include "twingrad/mlp/manual_shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/bias.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/residual.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/mlp/visit_loss.h"
#include "twingrad/runtime/monotonic_clock.h"
#include "twingrad/runtime/signals.h"

namespace twingrad {

using at::Tensor;

namespace {

/// Maximum number of rows per block: large enough for efficient products, small enough for a core's cache.
constexpr std::int64_t kBlockRows = 256;

std::unique_ptr<nn::Loss> make_loss(const MlpSpec& spec, const at::TensorOptions& options) {
  const auto make = [](auto type, const auto& /*reference*/,
                       const auto&... arguments) -> std::unique_ptr<nn::Loss> {
    return std::make_unique<typename decltype(type)::type>(arguments...);
  };
  return visit_loss(spec, options, make);
}

/// A layer inside a residual block that records its result and the gradient of its result.
class RecordingLayer final : public nn::Layer {
 public:
  /// output and output_gradient must outlive the layer.
  RecordingLayer(std::unique_ptr<nn::Layer> layer, Tensor& output, Tensor& output_gradient)
      : layer_(std::move(layer)), output_(output), output_gradient_(output_gradient) {}

  Tensor forward(const Tensor& x) override { return output_ = layer_->forward(x); }

  Tensor backward(const Tensor& grad_y) override {
    output_gradient_ = grad_y;
    return layer_->backward(grad_y);
  }

  void train(bool on = true) override { layer_->train(on); }

 private:
  std::unique_ptr<nn::Layer> layer_;
  Tensor& output_;
  Tensor& output_gradient_;
};

/// The index of a layer inside a residual block, which has none in layers_of.
constexpr std::size_t kInsideBlock = std::numeric_limits<std::size_t>::max();

Tensor rows_of(const Tensor& batch, Range rows) {
  return rows.size == batch.size(0) ? batch : batch.narrow(0, rows.first, rows.size);
}

}  // namespace

ManualShard::ManualShard(const MlpSpec& spec, const FlatParameters& parameters, const ManualParts& parts)
    : spec_(spec),
      parts_(parts),
      first_learning_layer_(first_learning_layer(spec)),
      logits_index_(logits_index(spec)),
      can_be_split_(can_be_sharded(spec) && parameters.options().device().is_cpu()),
      parameters_(parameters),
      loss_(make_loss(spec, parameters.options())) {
  outputs_.resize(result_names(spec).size());  // before layers inside residual blocks refer to them
  output_gradients_.resize(outputs_.size());
  const std::vector<LayerSpec> layers = layers_of(spec);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers_.push_back(make_layer(i, layers[i]));
  }
  if (parts_.loss) {
    loss_ = parts_.loss(std::move(loss_));
  }
}

std::unique_ptr<nn::Layer> ManualShard::make_layer(std::size_t index, const LayerSpec& layer) {
  std::unique_ptr<nn::Layer> made = make_hand_written_layer(index, layer);
  if (!parts_.layer) {
    return made;
  }
  std::vector<nn::Parameter> parameters;
  for (const ParameterSpec& parameter : parameters_of(spec_)) {
    if (parameter.name == layer.name + ".weight" || parameter.name == layer.name + ".bias") {
      parameters.push_back(parameters_.at(parameter.name));
    }
  }
  return parts_.layer(std::move(made), layer, parameters);
}

std::unique_ptr<nn::Layer> ManualShard::make_hand_written_layer(std::size_t index, const LayerSpec& layer) {
  using Kind = LayerSpec::Kind;
  const auto parameter = [&](const char* name) {
    return parameters_.at(fmt::format("{}.{}", layer.name, name));
  };
  const auto scale_or_shift = [&](const char* name) {
    return spec_.normalization_affine ? parameter(name) : nn::Parameter{};
  };
  const nn::InputGradient input_gradient =
      index == first_learning_layer_ ? nn::InputGradient::skip : nn::InputGradient::compute;
  switch (layer.kind) {
    case Kind::linear:
      return std::make_unique<nn::Linear>(
          parameter("weight"), layer.has_bias ? parameter("bias") : nn::Parameter{}, input_gradient);
    case Kind::matmul:
      return std::make_unique<nn::Matmul>(parameter("weight"), input_gradient);
    case Kind::add_bias:
      return std::make_unique<nn::AddBias>(parameter("bias"));
    case Kind::append_ones:
      return std::make_unique<nn::AppendOnes>();
    case Kind::batch_norm:
      return make_batch_norm(layer, scale_or_shift("weight"), scale_or_shift("bias"));
    case Kind::layer_norm:
      return std::make_unique<nn::LayerNorm>(scale_or_shift("weight"), scale_or_shift("bias"));
    case Kind::rms_norm:
      return std::make_unique<nn::RMSNorm>(scale_or_shift("weight"));
    case Kind::dropout: {
      auto dropout = std::make_unique<nn::Dropout>(layer.dropped);
      dropouts_.push_back(dropout.get());
      return dropout;
    }
    case Kind::activation:
      return nn::find_activation(spec_.activation)->make();
    case Kind::softmax:
      return std::make_unique<nn::Softmax>();
    case Kind::exercise_softmax:
      return std::make_unique<nn::UnshiftedSoftmax>(kExerciseEpsilon);
    case Kind::log:
      return std::make_unique<nn::Log>(kExerciseEpsilon);
    case Kind::log_softmax:
      return std::make_unique<nn::LogSoftmax>();
    case Kind::residual: {
      std::vector<std::unique_ptr<nn::Layer>> branch;
      for (const LayerSpec& inner : layer.branch) {
        branch.push_back(std::make_unique<RecordingLayer>(
            make_layer(kInsideBlock, inner), outputs_[inner.result], output_gradients_[inner.result]));
      }
      return std::make_unique<nn::Residual>(std::move(branch));
    }
  }
  throw std::logic_error("unknown layer kind");
}

std::unique_ptr<nn::Layer> ManualShard::make_batch_norm(const LayerSpec& layer, nn::Parameter weight,
                                                        nn::Parameter bias) {
  if (!spec_.normalization_statistics) {
    return std::make_unique<nn::BatchNorm1d>(std::move(weight), std::move(bias), nn::RunningStatistics());
  }
  const at::TensorOptions options = parameters_.options();
  nn::RunningStatistics statistics{at::zeros({layer.outputs}, options), at::ones({layer.outputs}, options)};
  auto batch_norm =
      std::make_unique<nn::BatchNorm1d>(std::move(weight), std::move(bias), std::move(statistics));
  batch_norms_.emplace_back(layer.name, batch_norm.get());
  return batch_norm;
}

void ManualShard::forward(const Tensor& images, Range rows) {
  const AutogradDispatchGuard guard;
  for (std::size_t i = 0; training_ && i < dropouts_.size(); ++i) {
    dropouts_[i]->set_mask(rows_of(masks_.at(i), rows));
  }
  Tensor x = rows_of(images, rows);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    x = outputs_[i] = layers_[i]->forward(x);
  }
}

void ManualShard::forward(const Tensor& images, const Tensor& labels, Range rows) {
  forward(images, rows);
  const AutogradDispatchGuard guard;
  const Tensor& x = outputs_[layers_.size() - 1];
  const Tensor loss = loss_->forward(x, target_of(spec_, rows_of(labels, rows), x));
  const auto share = static_cast<double>(rows.size) / static_cast<double>(images.size(0));
  weight_ = spec_.reduction == nn::Reduction::sum ? 1 : share;
  if (loss.is_cpu()) {
    loss_value_ = loss.item<double>() * weight_;
  } else {
    loss_on_device_ = loss * weight_;
  }
}

void ManualShard::backward() {
  const AutogradDispatchGuard guard;
  Tensor grad = loss_->backward(nn::sized(grad_loss_, {}, outputs_.back()).fill_(weight_));
  for (std::size_t i = layers_.size(); i-- > first_learning_layer_;) {
    output_gradients_[i] = grad;
    grad = layers_[i]->backward(grad);
  }
}

int ManualShard::blocks_of(std::int64_t rows) const {
  return can_be_split_ ? static_cast<int>(std::max<std::int64_t>(1, (rows + kBlockRows - 1) / kBlockRows))
                       : 1;
}

void ManualShard::compute_gradients(const Tensor& images, const Tensor& labels, Range rows,
                                    const Tensor& logits) {
  const AutogradDispatchGuard guard;
  const int blocks = blocks_of(rows.size);
  double loss = 0;
  seconds_in_forward_ = 0;
  for (int i = 0; i < blocks; ++i) {
    const auto [first, size] = part_of(rows.size, blocks, i);
    const Range block{rows.first + first, size};
    std::optional<SignalBlockGuard> no_signals;
    if (can_be_split_) {
      no_signals.emplace();  // for the entire block: a guard per product would cost more
    }
    const double start = monotonic_seconds();
    forward(images, labels, block);
    seconds_in_forward_ += monotonic_seconds() - start;
    loss += loss_value_;
    rows_of(logits, block).copy_(outputs_[logits_index_]);
    backward();
    Tensor& gradients = parameters_.gradients();
    if (i + 1 == blocks && i > 0) {
      gradients.add_(sum_);
    } else if (i == 0 && blocks > 1) {
      nn::sized(sum_, gradients.sizes(), gradients).copy_(gradients);
    } else if (i > 0) {
      sum_.add_(gradients);
    }
  }
  loss_value_ = loss;
}

std::vector<NamedTensor> ManualShard::buffers() const {
  std::vector<NamedTensor> buffers;
  for (const auto& [name, batch_norm] : batch_norms_) {
    nn::RunningStatistics& statistics = batch_norm->statistics();
    buffers.push_back({name + ".running_mean", statistics.mean});
    buffers.push_back({name + ".running_var", statistics.variance});
    buffers.push_back({name + ".num_batches_tracked", at::from_blob(&statistics.batches, {}, at::kLong)});
  }
  return buffers;
}

void ManualShard::train(bool training) {
  training_ = training;
  for (const auto& layer : layers_) {
    layer->train(training);
  }
}

}  // namespace twingrad
