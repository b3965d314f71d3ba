#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "../catalogue/expect_agreement.h"
#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/residual.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/mlp/torch_reference.h"

// The catalogue compares the layers with autograd, central differences and float32. These tests cover
// options, edge cases and misuse.

namespace twingrad::nn {
namespace {

using catalogue::autograd_error;
using catalogue::draw;
using catalogue::expect_agreement;
using catalogue::FunctionEntry;
using catalogue::matrix;
using catalogue::Tensors;

Parameter parameter_of(at::IntArrayRef shape) {
  const Tensor value = draw(shape);
  return {value, at::full_like(value, NAN)};
}

// ---- Linear, softmax ----

TEST(Linear, SkipsTheInputGradientOnRequest) {
  const Parameter weight = parameter_of({3, 4});
  const Parameter bias = parameter_of({3});
  Linear layer(weight, bias, InputGradient::skip);
  layer.forward(draw({2, 4}));
  EXPECT_FALSE(layer.backward(draw({2, 3})).defined());
  EXPECT_TRUE(weight.grad.isfinite().all().item<bool>());
}

TEST(UnshiftedSoftmax, OverflowsAtTheDocumentedLogit) {
  UnshiftedSoftmax layer(1e-12);
  const auto is_finite_at = [&](double x, at::ScalarType dtype) {
    return layer.forward(at::full({1, 2}, x, dtype)).isfinite().all().item<bool>();
  };
  EXPECT_TRUE(is_finite_at(88, at::kFloat));
  EXPECT_FALSE(is_finite_at(89, at::kFloat));
  EXPECT_TRUE(is_finite_at(709, at::kDouble));
  EXPECT_FALSE(is_finite_at(710, at::kDouble));
}

TEST(UnshiftedSoftmax, AgreesJustBelowTheOverflowOfFloat64) {
  const FunctionEntry entry = {
      .name = "unshifted_softmax",
      .make = catalogue::make_layer<UnshiftedSoftmax>(1e-12),
      .reference = [](const Tensors& in) { return torch_reference::unshifted_softmax(in[0], 1e-12); },
      .cases = {{"large exponentials", {matrix({300, 299, 0})}}}};
  EXPECT_LE(autograd_error(entry), 1e-13);
}

TEST(Epsilon, IsTheGivenOne) {
  const Tensor x = draw({5, 4}).abs();
  const Tensor grad_y = draw({5, 4});
  Log log(0.5);
  EXPECT_TRUE(log.forward(x).allclose((x + 0.5).log(), 1e-15, 1e-15));
  EXPECT_TRUE(log.backward(grad_y).allclose(grad_y / (x + 0.5), 1e-15, 0));
  const FunctionEntry entry = {
      .name = "unshifted_softmax",
      .make = catalogue::make_layer<UnshiftedSoftmax>(0.5),
      .reference = [](const Tensors& in) { return torch_reference::unshifted_softmax(in[0], 0.5); },
      .cases = {{"given", {x}}}};
  expect_agreement(entry);
}

// ---- Dropout ----

TEST(Dropout, AcceptsAMaskOfAnyDtypeAndAnyProbability) {
  for (const double p : {0.0, 0.2, 0.5}) {
    const Tensor x = draw({5, 4});
    const Tensor mask = at::rand({5, 4}) >= p;
    Dropout layer(p);
    layer.set_mask(mask);
    const Tensor y = layer.forward(x).clone();
    EXPECT_TRUE(y.allclose(x * mask / (1 - p), 1e-15, 0)) << p;
    layer.set_mask(mask.to(at::kFloat));
    EXPECT_TRUE(layer.forward(x).equal(y)) << p;
  }
}

TEST(Dropout, IsBitIdenticalToLibTorch) {
  // LibTorch's mask is true where its result is not 0.
  const Tensor x = at::rand({50, 40}) + 1;
  const Tensor y = at::dropout(x, 0.3, /*train=*/true);
  Dropout layer(0.3);
  layer.set_mask(y != 0);
  EXPECT_TRUE(layer.forward(x).equal(y));
}

TEST(Dropout, DoesNotWriteIntoTheInputOfAnEvaluation) {
  Dropout layer;
  layer.eval();
  const Tensor x = draw({5, 4});
  const Tensor before = x.clone();
  EXPECT_TRUE(layer.forward(x).equal(x));
  layer.train();
  layer.set_mask(at::ones({5, 4}));
  layer.forward(x);
  EXPECT_TRUE(x.equal(before));
}

TEST(Dropout, ProbabilityOneGivesZero) {
  Dropout layer(1);
  layer.set_mask(at::zeros({2, 3}));
  EXPECT_TRUE(layer.forward(draw({2, 3})).eq(0).all().item<bool>());
  EXPECT_TRUE(layer.backward(draw({2, 3})).eq(0).all().item<bool>());
}

TEST(Dropout, RejectsAMaskOfAnotherShape) {
  Dropout layer;
  EXPECT_THROW(layer.forward(draw({2, 3})), std::invalid_argument) << "no mask";
  for (const Tensor& mask : {at::ones({3, 3}), at::ones({1, 3}), at::ones({3, 2}), at::ones({6})}) {
    layer.set_mask(mask);
    EXPECT_THROW(layer.forward(draw({2, 3})), std::invalid_argument) << mask.sizes();
  }
}

// ---- Residual ----

template <typename... Layers>
std::unique_ptr<Residual> residual_of(std::unique_ptr<Layers>... layers) {
  std::vector<std::unique_ptr<Layer>> branch;
  (branch.push_back(std::move(layers)), ...);
  return std::make_unique<Residual>(std::move(branch));
}

/// x + W₂ relu(W₁ x + b₁) + b₂, 4 → 3 → 4; nested: inside another residual block.
FunctionEntry two_layer_block(bool nested) {
  const auto make = [=](const std::vector<Parameter>& p) {
    auto block = residual_of(std::make_unique<Linear>(p[0], p[1]), std::make_unique<ReLU>(),
                             std::make_unique<Linear>(p[2], p[3]));
    return nested ? residual_of(std::move(block)) : std::move(block);
  };
  return {.name = "two_layer_block",
          .make = [=] { return catalogue::of_layer(make); },
          .reference =
              [=](const Tensors& in) {
                const Tensor hidden = at::relu(at::linear(in[0], in[1], in[2]));
                return (nested ? 2 : 1) * in[0] + at::linear(hidden, in[3], in[4]);
              },
          .cases = catalogue::cases_of([](std::int64_t rows, std::int64_t /*columns*/) {
            return Tensors{draw({rows, 4}), draw({3, 4}), draw({3}), draw({4, 3}), draw({4})};
          })};
}

TEST(Residual, AgreesAroundTwoLayersAndWhenNested) {
  expect_agreement(two_layer_block(false));
  expect_agreement(two_layer_block(true));
}

TEST(Residual, AnEmptyBranchDoublesTheInput) {
  Residual layer({});
  const Tensor x = draw({5, 4});
  EXPECT_TRUE(layer.forward(x).equal(2 * x));
  EXPECT_TRUE(layer.backward(x).equal(2 * x));
}

TEST(Residual, SwitchesItsBranchToEvaluation) {
  const auto layer = residual_of(std::make_unique<Dropout>());
  const Tensor x = draw({2, 3});
  EXPECT_THROW(layer->forward(x), std::invalid_argument) << "training without a mask";
  layer->eval();
  EXPECT_TRUE(layer->forward(x).equal(2 * x));
}

TEST(Residual, RejectsABranchThatChangesTheShape) {
  EXPECT_THROW(residual_of(std::make_unique<AppendOnes>())->forward(draw({2, 3})), std::invalid_argument);
  const auto column = residual_of(std::make_unique<Matmul>(parameter_of({3, 1})));  // would be broadcast
  EXPECT_THROW(column->forward(draw({2, 3})), std::invalid_argument);
  EXPECT_THROW(column->forward(draw({0, 3})), std::invalid_argument);
}

// ---- Activations ----

TEST(Activations, AgreeEntryByEntryAtKinksAndLargeValues) {
  // In the catalogue, an error is relative to the largest entry of the batch.
  const Tensor x = matrix({-1e4, -50, -1, -0.0, 0, 1, 20, 20.5, 50, 1e4});
  for (const ActivationEntry& entry : activations()) {
    const FunctionEntry function = {
        .name = entry.name,
        .make = {},
        .reference = [f = torch_reference::activation(entry.name)](const Tensors& in) { return f(in[0]); },
        .cases = {}};
    const std::unique_ptr<Layer> layer = entry.make();
    const Tensor y = layer->forward(x);
    EXPECT_TRUE(y.allclose(function.reference({x}), 1e-12, 0)) << entry.name << y;
    const Tensor expected = catalogue::autograd_gradients(function, {x}, at::ones_like(x))[0];
    EXPECT_TRUE(layer->backward(at::ones_like(x)).allclose(expected, 0, 1e-13)) << entry.name;
  }
}

TEST(Activations, AreFoundByTheirExactName) {
  for (const ActivationEntry& entry : activations()) {
    EXPECT_EQ(find_activation(entry.name), &entry);
  }
  for (const char* unknown : {"", "soft", "gelu_", "gelu_tanh2", "ReLU"}) {
    EXPECT_EQ(find_activation(unknown), nullptr) << unknown;
  }
}

TEST(Activations, ListExactlyTheirKinks) {
  // Across a kink the slope jumps; elsewhere it changes by at most max|f″| times the distance.
  const double distance = 1e-6;
  for (const ActivationEntry& entry : activations()) {
    const std::unique_ptr<Layer> layer = entry.make();
    std::vector<double> found;
    for (double point = -3; point <= 3; point += 0.5) {
      layer->forward(matrix({point - distance, point + distance}));
      const Tensor slopes = layer->backward(at::ones({1, 2}, at::kDouble));
      if (std::abs((slopes[0][1] - slopes[0][0]).item<double>()) > 1e-3) {
        found.push_back(point);
      }
    }
    EXPECT_EQ(found, entry.kinks) << entry.name;
  }
}

// ---- Buffers ----

TEST(Buffers, AreReusedFromStepToStep) {
  Linear layer(parameter_of({3, 4}), parameter_of({3}));
  const void* first = layer.forward(draw({8, 4})).data_ptr();
  EXPECT_EQ(layer.forward(draw({8, 4})).data_ptr(), first);
  EXPECT_EQ(layer.forward(draw({3, 4})).data_ptr(), first) << "a smaller batch fits into the same memory";
}

}  // namespace
}  // namespace twingrad::nn
