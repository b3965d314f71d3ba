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

/// Makes the parts of a layer, always with the same values.
struct PartMaker {
  at::ScalarType dtype;
  UsedLayer& used;

  /// The gradient starts as NaN, so that one that is not written is noticed.
  Parameter parameter(at::IntArrayRef shape) {
    const auto count = c10::multiply_integers(shape);
    const Tensor ramp = at::arange(count, at::kDouble) + static_cast<double>(used.gradients.size());
    const Tensor value = ramp.sin().view(shape).to(dtype);
    used.gradients.push_back(at::full_like(value, NAN));
    return {value, used.gradients.back()};
  }
  Parameter column(bool is_there = true) { return is_there ? parameter({kColumns}) : Parameter{}; }
  std::unique_ptr<Dropout> dropout(double p) {
    auto layer = std::make_unique<Dropout>(p);
    used.dropout = layer.get();
    return layer;
  }
  std::unique_ptr<BatchNorm1d> batch_norm(bool scale, bool shift, bool statistics,
                                          std::optional<double> momentum) {
    const RunningStatistics running =
        statistics ? RunningStatistics{at::zeros({kColumns}, dtype), at::ones({kColumns}, dtype)}
                   : RunningStatistics{};
    auto layer = std::make_unique<BatchNorm1d>(column(scale), column(shift), running,
                                               BatchNorm1dOptions{.momentum = momentum});
    used.tracked = statistics ? layer.get() : nullptr;
    return layer;
  }
};

struct LayerKind {
  std::string name;
  std::function<std::unique_ptr<Layer>(PartMaker&)> make_layer;
  bool has_parameters = true;  ///< which determine the columns and the dtype of x
  bool needs_several_rows = false;

  UsedLayer make(at::ScalarType dtype) const {
    UsedLayer used;
    PartMaker maker = {dtype, used};
    used.layer = make_layer(maker);
    return used;
  }
};

/// x + dropout(relu(batch_norm(x W)))
std::unique_ptr<Layer> residual_block(PartMaker& maker) {
  std::vector<std::unique_ptr<Layer>> branch;
  branch.push_back(std::make_unique<Matmul>(maker.parameter({kColumns, kColumns})));
  branch.push_back(maker.batch_norm(true, true, true, 0.1));
  branch.push_back(std::make_unique<ReLU>());
  branch.push_back(maker.dropout(0.3));
  return std::make_unique<Residual>(std::move(branch));
}

std::vector<LayerKind> kinds_without_parameters() {
  std::vector<LayerKind> kinds = {
      {"append_ones", [](PartMaker&) { return std::make_unique<AppendOnes>(); }},
      {"softmax", [](PartMaker&) { return std::make_unique<Softmax>(); }},
      {"unshifted_softmax", [](PartMaker&) { return std::make_unique<UnshiftedSoftmax>(1e-12); }},
      {"log_softmax", [](PartMaker&) { return std::make_unique<LogSoftmax>(); }},
      {"log", [](PartMaker&) { return std::make_unique<Log>(1e-12); }},
      {"dropout", [](PartMaker& maker) { return maker.dropout(0.3); }},
      {"dropout of everything", [](PartMaker& maker) { return maker.dropout(1); }}};
  for (const ActivationEntry& entry : activations()) {
    kinds.push_back({entry.name, [&entry](PartMaker&) { return entry.make(); }});
  }
  for (LayerKind& kind : kinds) {
    kind.has_parameters = false;
  }
  return kinds;
}

std::vector<LayerKind> layer_kinds() {
  std::vector<LayerKind> kinds = kinds_without_parameters();
  kinds.push_back({"bias", [](PartMaker& maker) { return std::make_unique<AddBias>(maker.column()); }});
  kinds.push_back({"residual", residual_block, true, /*needs_several_rows=*/true});
  for (const bool one : {false, true}) {
    kinds.push_back(
        {"rms_norm", [=](PartMaker& maker) { return std::make_unique<RMSNorm>(maker.column(one)); }});
    kinds.push_back({"matmul", [=](PartMaker& maker) {
                       return std::make_unique<Matmul>(maker.parameter({kColumns, 3}),
                                                       one ? InputGradient::compute : InputGradient::skip);
                     }});
    for (const bool two : {false, true}) {
      kinds.push_back({"linear", [=](PartMaker& maker) {
                         return std::make_unique<Linear>(maker.parameter({kColumns, kColumns}),
                                                         maker.column(one),
                                                         two ? InputGradient::compute : InputGradient::skip);
                       }});
      kinds.push_back({"layer_norm", [=](PartMaker& maker) {
                         return std::make_unique<LayerNorm>(maker.column(one), maker.column(two));
                       }});
      kinds.push_back({"scale_and_shift", [=](PartMaker& maker) {
                         return std::make_unique<ScaleAndShift>(maker.column(one), maker.column(two));
                       }});
      for (const std::optional<double> momentum : {std::optional(0.1), std::optional<double>()}) {
        for (const bool statistics : {false, true}) {
          kinds.push_back({"batch_norm",
                           [=](PartMaker& maker) { return maker.batch_norm(one, two, statistics, momentum); },
                           true, /*needs_several_rows=*/true});
        }
      }
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
