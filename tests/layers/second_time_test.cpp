#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../support/random_cases.h"
#include "../support/same_bits.h"
#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/bias.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/residual.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/layers/softmax.h"

// A layer keeps buffers and state from step to step. A layer that has been used, in any mode and with batches
// of other shapes, must compute the same bits as a new one.

namespace twingrad::nn {
namespace {

using testing::for_random_cases;
using testing::kExactFactor;
using testing::RandomCase;
using testing::same_bits;
using testing::same_values;

constexpr std::int64_t kColumns = 4;  ///< of a layer with parameters

/// A layer, with what the test needs to set or to compare besides y and ∂L/∂x.
struct UsedLayer {
  std::unique_ptr<Layer> layer = nullptr;
  std::vector<Tensor> gradients = {};  ///< of the parameters
  Dropout* dropout = nullptr;
  BatchNorm1d* tracked = nullptr;  ///< a layer with running statistics
};

struct LayerKind {
  std::string name;
  std::function<UsedLayer(at::ScalarType dtype)> make;  ///< always with the same values
  bool has_parameters = true;                           ///< which determine the columns and the dtype of x
  bool needs_several_rows = false;
};

/// Different values for each seed. The gradient starts as NaN, so that one that is not written is noticed.
Parameter fixed_parameter(at::IntArrayRef shape, at::ScalarType dtype, double seed, UsedLayer& used) {
  const std::int64_t count = c10::multiply_integers(shape);
  const Tensor value = (at::arange(count, at::kDouble) + seed).sin().view(shape).to(dtype);
  used.gradients.push_back(at::full_like(value, NAN));
  return {value, used.gradients.back()};
}

Parameter optional_parameter(bool is_there, at::ScalarType dtype, double seed, UsedLayer& used) {
  return is_there ? fixed_parameter({kColumns}, dtype, seed, used) : Parameter{};
}

template <typename LayerType, typename... Arguments>
LayerKind without_parameters(const std::string& name, Arguments... arguments) {
  const auto make = [=](at::ScalarType) {
    return UsedLayer{.layer = std::make_unique<LayerType>(arguments...)};
  };
  return {.name = name, .make = make, .has_parameters = false};
}

LayerKind linear(bool has_bias, InputGradient input_gradient) {
  return {.name = "linear", .make = [=](at::ScalarType dtype) {
            UsedLayer used;
            const Parameter weight = fixed_parameter({3, kColumns}, dtype, 1, used);
            const Parameter bias = has_bias ? fixed_parameter({3}, dtype, 2, used) : Parameter{};
            used.layer = std::make_unique<Linear>(weight, bias, input_gradient);
            return used;
          }};
}

LayerKind matmul(InputGradient input_gradient) {
  return {
      .name = "matmul", .make = [=](at::ScalarType dtype) {
        UsedLayer used;
        used.layer = std::make_unique<Matmul>(fixed_parameter({kColumns, 3}, dtype, 1, used), input_gradient);
        return used;
      }};
}

LayerKind bias() {
  return {.name = "bias", .make = [](at::ScalarType dtype) {
            UsedLayer used;
            used.layer = std::make_unique<AddBias>(fixed_parameter({kColumns}, dtype, 1, used));
            return used;
          }};
}

LayerKind dropout(double p) {
  const auto make = [=](at::ScalarType) {
    auto layer = std::make_unique<Dropout>(p);
    Dropout* pointer = layer.get();
    return UsedLayer{.layer = std::move(layer), .dropout = pointer};
  };
  return {.name = "dropout", .make = make, .has_parameters = false};
}

std::unique_ptr<BatchNorm1d> make_batch_norm(bool scale, bool shift, bool statistics,
                                             std::optional<double> momentum, at::ScalarType dtype,
                                             UsedLayer& used) {
  const Parameter weight = optional_parameter(scale, dtype, 3, used);
  const Parameter offset = optional_parameter(shift, dtype, 4, used);
  RunningStatistics running;
  if (statistics) {
    running = {at::zeros({kColumns}, dtype), at::ones({kColumns}, dtype)};
  }
  auto layer =
      std::make_unique<BatchNorm1d>(weight, offset, running, BatchNorm1dOptions{.momentum = momentum});
  used.tracked = statistics ? layer.get() : nullptr;
  return layer;
}

LayerKind batch_norm(bool scale, bool shift, bool statistics, std::optional<double> momentum) {
  const auto make = [=](at::ScalarType dtype) {
    UsedLayer used;
    used.layer = make_batch_norm(scale, shift, statistics, momentum, dtype, used);
    return used;
  };
  return {.name = "batch_norm", .make = make, .needs_several_rows = true};
}

/// Normalizations of the rows, and an affine map of the columns alone.
LayerKind layer_norm(bool scale, bool shift) {
  return {.name = "layer_norm", .make = [=](at::ScalarType dtype) {
            UsedLayer used;
            const Parameter weight = optional_parameter(scale, dtype, 3, used);
            used.layer = std::make_unique<LayerNorm>(weight, optional_parameter(shift, dtype, 4, used));
            return used;
          }};
}

LayerKind scale_and_shift(bool scale, bool shift) {
  return {.name = "scale_and_shift", .make = [=](at::ScalarType dtype) {
            UsedLayer used;
            const Parameter weight = optional_parameter(scale, dtype, 3, used);
            used.layer = std::make_unique<ScaleAndShift>(weight, optional_parameter(shift, dtype, 4, used));
            return used;
          }};
}

LayerKind rms_norm(bool scale) {
  return {.name = "rms_norm", .make = [=](at::ScalarType dtype) {
            UsedLayer used;
            used.layer = std::make_unique<RMSNorm>(optional_parameter(scale, dtype, 3, used));
            return used;
          }};
}

/// x + dropout(relu(batch_norm(x W)))
LayerKind residual() {
  const auto make = [](at::ScalarType dtype) {
    UsedLayer used;
    std::vector<std::unique_ptr<Layer>> branch;
    branch.push_back(std::make_unique<Matmul>(fixed_parameter({kColumns, kColumns}, dtype, 1, used)));
    branch.push_back(make_batch_norm(true, true, true, 0.1, dtype, used));
    branch.push_back(std::make_unique<ReLU>());
    auto dropout = std::make_unique<Dropout>(0.3);
    used.dropout = dropout.get();
    branch.push_back(std::move(dropout));
    used.layer = std::make_unique<Residual>(std::move(branch));
    return used;
  };
  return {.name = "residual", .make = make, .needs_several_rows = true};
}

std::vector<LayerKind> layer_kinds() {
  std::vector<LayerKind> kinds = {without_parameters<AppendOnes>("append_ones"),
                                  without_parameters<Softmax>("softmax"),
                                  without_parameters<UnshiftedSoftmax>("unshifted_softmax", 1e-12),
                                  without_parameters<LogSoftmax>("log_softmax"),
                                  without_parameters<Log>("log", 1e-12),
                                  bias(),
                                  dropout(0.3),
                                  dropout(1),
                                  residual()};
  for (const ActivationEntry& entry : activations()) {
    kinds.push_back({.name = entry.name,
                     .make = [&entry](at::ScalarType) { return UsedLayer{.layer = entry.make()}; },
                     .has_parameters = false});
  }
  for (const InputGradient input_gradient : {InputGradient::compute, InputGradient::skip}) {
    kinds.push_back(matmul(input_gradient));
    kinds.push_back(linear(true, input_gradient));
    kinds.push_back(linear(false, input_gradient));
  }
  for (const bool scale : {false, true}) {
    kinds.push_back(rms_norm(scale));
    for (const bool shift : {false, true}) {
      kinds.push_back(layer_norm(scale, shift));
      kinds.push_back(scale_and_shift(scale, shift));
      kinds.push_back(batch_norm(scale, shift, false, 0.1));
      kinds.push_back(batch_norm(scale, shift, true, 0.1));
      kinds.push_back(batch_norm(scale, shift, true, std::nullopt));
    }
  }
  return kinds;
}

/// In memory that is contiguous or not.
Tensor random_matrix(RandomCase& random, std::int64_t rows, std::int64_t columns, at::ScalarType dtype) {
  const Tensor values = at::randn({rows, columns}, dtype);
  return random.chance(0.3) ? values.t().contiguous().t() : values;
}

/// Most shapes have 12 entries, so that buffers are reused at the same size in another shape.
Tensor random_input(RandomCase& random, const LayerKind& kind, at::ScalarType dtype) {
  const std::int64_t columns = kind.has_parameters ? kColumns : random.one_of({1, 2, 3, 4, 6});
  const std::int64_t few = random.integer(kind.needs_several_rows ? 2 : 1, 6);
  const std::int64_t rows = random.chance(0.1) ? 0 : random.chance(0.4) ? few : 12 / columns;
  const Tensor x = random_matrix(random, rows, columns, dtype);
  return kind.name == "log" ? x.abs() : x;
}

/// The running statistics are the state that a layer is meant to keep.
void copy_statistics(const UsedLayer& from, UsedLayer& to) {
  if (from.tracked != nullptr) {
    const RunningStatistics& source = from.tracked->statistics();
    RunningStatistics& target = to.tracked->statistics();
    target.mean.copy_(source.mean);
    target.variance.copy_(source.variance);
    target.batches = source.batches;
  }
}

void expect_same_state(const UsedLayer& fresh, const UsedLayer& used) {
  for (std::size_t i = 0; i < fresh.gradients.size(); ++i) {
    EXPECT_TRUE(same_bits(fresh.gradients[i], used.gradients[i])) << "parameter " << i;
    EXPECT_TRUE(used.gradients[i].isfinite().all().item<bool>()) << "parameter " << i << " is not written";
  }
  if (fresh.tracked != nullptr) {
    EXPECT_TRUE(same_bits(fresh.tracked->statistics().mean, used.tracked->statistics().mean));
    EXPECT_TRUE(same_bits(fresh.tracked->statistics().variance, used.tracked->statistics().variance));
    EXPECT_EQ(fresh.tracked->statistics().batches, used.tracked->statistics().batches);
  }
}

/// One step of the used layer and of a new one. Only the used one switches its mode between forward and
/// backward, which must not matter: backward belongs to the last forward.
void compare_one_step(RandomCase& random, const LayerKind& kind, UsedLayer& used, at::ScalarType dtype) {
  const bool training = random.chance(0.6);
  const Tensor x = random_input(random, kind, dtype);
  const Tensor x_before = x.clone();
  const Tensor mask = at::rand(x.sizes()) > 0.3;
  UsedLayer fresh = kind.make(dtype);
  copy_statistics(used, fresh);
  Tensor y[2];
  for (UsedLayer* each : {&fresh, &used}) {
    each->layer->train(training);
    if (each->dropout != nullptr) {
      each->dropout->set_mask(mask);
    }
    y[each == &used ? 1 : 0] = each->layer->forward(x);
  }
  ASSERT_TRUE(same_bits(y[0], y[1])) << "forward";
  if (random.chance(0.2)) {
    return;  // as in an evaluation
  }
  const Tensor grad_y = random_matrix(random, y[0].size(0), y[0].size(1), dtype);
  const Tensor grad_before = grad_y.clone();
  used.layer->train(random.chance());
  const Tensor grad_x = used.layer->backward(grad_y);
  ASSERT_TRUE(same_bits(fresh.layer->backward(grad_y), grad_x)) << "backward";
  expect_same_state(fresh, used);
  const Tensor scaled = fresh.layer->backward(kExactFactor * grad_y);
  EXPECT_TRUE(same_values(grad_x.defined() ? kExactFactor * grad_x : grad_x, scaled)) << "linear";
  EXPECT_TRUE(same_bits(x_before, x)) << "the input was changed";
  EXPECT_TRUE(same_bits(grad_before, grad_y)) << "the upstream gradient was changed";
}

TEST(SecondTime, AUsedLayerComputesTheSameAsANewOne) {
  for (const LayerKind& kind : layer_kinds()) {
    SCOPED_TRACE(kind.name);
    for_random_cases(4, [&](RandomCase& random) {
      at::manual_seed(random.seed());
      at::ScalarType dtype = random.one_of({at::kFloat, at::kDouble});
      UsedLayer used = kind.make(dtype);
      for (int step = 0; step < 8 && !::testing::Test::HasFailure(); ++step) {
        SCOPED_TRACE(::testing::Message() << "step " << step);
        dtype = kind.has_parameters ? dtype : random.one_of({at::kFloat, at::kDouble});
        compare_one_step(random, kind, used, dtype);
      }
    });
  }
}

}  // namespace
}  // namespace twingrad::nn
