#include <gtest/gtest.h>
#include <torch/torch.h>

#include "layer_oracles.h"
#include "twingrad/layers/activations.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/bias.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/residual.h"
#include "twingrad/layers/softmax.h"

namespace twingrad {
namespace {

using namespace nn;

using testing::autograd_gradients;
using testing::expect_matches_oracles;
using testing::Function;
using testing::kAutogradBound;
using testing::kNumericBound;
using testing::numeric_gradients;
using testing::parameter;
using testing::random_input;
using testing::relative_error;
using testing::Tensors;

class LayerTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(7); }
};

TEST_F(LayerTest, LinearMatchesTorchNnLinear) {
  for (const std::int64_t rows : {1, 5}) {
    const Parameter weight = parameter({3, 4});
    const Parameter bias = parameter({3});
    Linear layer(weight, bias);
    expect_matches_oracles(layer, [](const Tensors& in) { return torch::linear(in[0], in[1], in[2]); },
                           random_input(rows, 4), {weight, bias});
  }
}

TEST_F(LayerTest, ReLUInOnePassIsBitForBitThatByTensorOperations) {
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    Tensor x = torch::randn({5, 21}, dtype);
    Tensor grad_y = torch::randn({5, 21}, dtype);
    x[0][0] = NAN;
    x[0][1] = 0;
    x[0][2] = -0.0;
    x[0][3] = INFINITY;
    x[0][4] = -INFINITY;
    grad_y[1][0] = NAN;
    grad_y[1][1] = INFINITY;
    // A transposed gradient is not contiguous: that takes the general path.
    ReLU one_pass, general;
    one_pass.forward(x);
    general.forward(x);
    const Tensor expected = general.backward(grad_y.t().contiguous().t());
    const Tensor ours = one_pass.backward(grad_y);
    EXPECT_TRUE(ours.allclose(expected, 0, 0, /*equal_nan=*/true)) << ours << expected;
    EXPECT_TRUE(ours.nan_to_num().signbit().equal(expected.nan_to_num().signbit()));
  }
}

TEST_F(LayerTest, LinearTakesInputsThatAreNotContiguous) {
  const Parameter weight = parameter({3, 4});
  const Parameter bias = parameter({3});
  Linear layer(weight, bias);
  expect_matches_oracles(layer, [](const Tensors& in) { return torch::linear(in[0], in[1], in[2]); },
                         random_input(4, 6).t().slice(0, 1, 6), {weight, bias});
}

TEST_F(LayerTest, LinearWorksWithoutABias) {
  const Parameter weight = parameter({3, 4});
  Linear layer(weight, {});
  expect_matches_oracles(layer, [](const Tensors& in) { return torch::linear(in[0], in[1]); },
                         random_input(5, 4), {weight});
}

TEST_F(LayerTest, LinearOfNoRowsHasGradientZero) {
  const Parameter weight = parameter({3, 4});
  const Parameter bias = parameter({3});
  Linear layer(weight, bias);
  EXPECT_EQ(layer.forward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(layer.backward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_TRUE(weight.grad.eq(0).all().item<bool>());
  EXPECT_TRUE(bias.grad.eq(0).all().item<bool>());
}

TEST_F(LayerTest, FirstLinearSkipsTheGradientOfTheImages) {
  const Parameter weight = parameter({3, 4});
  const Parameter bias = parameter({3});
  Linear layer(weight, bias, InputGradient::skip);
  layer.forward(random_input(2, 4));
  EXPECT_FALSE(layer.backward(random_input(2, 3)).defined());
  EXPECT_TRUE(weight.grad.isfinite().all().item<bool>());
}

TEST_F(LayerTest, BackwardWritesGradientsAndDoesNotAddThem) {
  const Parameter weight = parameter({3, 4});
  const Parameter bias = parameter({3});
  Linear layer(weight, bias);
  const Tensor x = random_input(2, 4);
  const Tensor grad_y = random_input(2, 3);
  layer.forward(x);
  layer.backward(grad_y);
  const Tensor once = weight.grad.clone();
  layer.forward(x);
  layer.backward(grad_y);
  EXPECT_TRUE(weight.grad.equal(once));
}

TEST_F(LayerTest, MatmulMatchesTorchMatmul) {
  const Parameter weight = parameter({4, 3});
  Matmul layer(weight);
  expect_matches_oracles(layer, [](const Tensors& in) { return torch::matmul(in[0], in[1]); },
                         random_input(5, 4), {weight});
}

TEST_F(LayerTest, AppendOnesPassesTheGradientOfTheInputOn) {
  AppendOnes layer;
  expect_matches_oracles(
      layer,
      [](const Tensors& in) {
        return torch::cat({in[0], torch::ones({in[0].size(0), 1}, torch::kDouble)}, 1);
      },
      random_input(5, 4));
}

TEST_F(LayerTest, SoftmaxMatchesTorchSoftmax) {
  Softmax layer;
  expect_matches_oracles(
      layer, [](const Tensors& in) { return torch::softmax(in[0], 1); }, random_input(5, 6));
}

TEST_F(LayerTest, SoftmaxOfSaturatedRowsIsFiniteAndMatches) {
  Softmax layer;
  const Tensor x = torch::tensor({{1e4, -1e4, 0.0}, {0.0, 0.0, 0.0}, {-1e4, -1e4, -1e4}}, torch::kDouble);
  expect_matches_oracles(
      layer, [](const Tensors& in) { return torch::softmax(in[0], 1); }, x);
}

Tensor unshifted(const Tensors& in) {
  const Tensor e = in[0].exp();
  return e / (e.sum(1, true) + 1e-12);
}

TEST_F(LayerTest, UnshiftedSoftmaxMatchesItsOwnExpression) {
  UnshiftedSoftmax layer(1e-12);
  expect_matches_oracles(layer, unshifted, random_input(5, 6));
  expect_matches_oracles(layer, unshifted, torch::tensor({{300.0, 299.0, 0.0}}, torch::kDouble));
  // The epsilon outweighs these exponentials. (A row apart: a difference resolves 1e-10 of the largest value
  // in the batch, and these are 4e-6.)
  expect_matches_oracles(layer, unshifted, torch::tensor({{-40.0, -40.0, -40.0}}, torch::kDouble));
}

TEST_F(LayerTest, UnshiftedSoftmaxOverflowsWhereItsTextSays) {
  UnshiftedSoftmax layer(1e-12);
  const auto is_finite_at = [&](double x, at::ScalarType dtype) {
    return layer.forward(torch::full({1, 2}, x, dtype)).isfinite().all().item<bool>();
  };
  EXPECT_TRUE(is_finite_at(88, torch::kFloat));
  EXPECT_FALSE(is_finite_at(89, torch::kFloat));
  EXPECT_TRUE(is_finite_at(709, torch::kDouble));
  EXPECT_FALSE(is_finite_at(710, torch::kDouble));
}

TEST_F(LayerTest, LogMatchesItsOwnExpressionDownToZero) {
  Log layer(1e-12);
  const auto f = [](const Tensors& in) { return torch::log(in[0] + 1e-12); };
  expect_matches_oracles(layer, f, torch::rand({5, 6}, torch::kDouble) + 0.1);
  // At 0 the slope is 1e12, no step of a central difference is small enough: autograd is the oracle there.
  const Tensor x = torch::zeros({2, 3}, torch::kDouble);
  const Tensor grad_y = torch::randn({2, 3}, torch::kDouble);
  EXPECT_LE(relative_error(f({x}), layer.forward(x)), kAutogradBound);
  EXPECT_LE(relative_error(autograd_gradients(f, {x}, grad_y)[0], layer.backward(grad_y)), kAutogradBound);
}

TEST_F(LayerTest, AddBiasMatchesAddition) {
  const Parameter bias = parameter({4});
  AddBias layer(bias);
  const auto f = [](const Tensors& in) { return in[0] + in[1]; };
  expect_matches_oracles(layer, f, random_input(5, 4), {bias});
  expect_matches_oracles(layer, f, random_input(1, 4), {bias});
  expect_matches_oracles(layer, f, random_input(4, 5).t(), {bias});
  EXPECT_EQ(layer.forward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  layer.backward(random_input(0, 4));
  EXPECT_TRUE(bias.grad.eq(0).all().item<bool>());
}

Tensor log_softmax(const Tensors& in) { return torch::log_softmax(in[0], 1); }

TEST_F(LayerTest, LogSoftmaxMatchesTorchLogSoftmax) {
  LogSoftmax layer;
  expect_matches_oracles(layer, log_softmax, random_input(5, 6));
  expect_matches_oracles(layer, log_softmax, random_input(1, 1));
  expect_matches_oracles(layer, log_softmax, random_input(6, 5).t());
  EXPECT_EQ(layer.forward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(layer.backward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 3}));
}

TEST_F(LayerTest, LogSoftmaxIsExactForLogitsOfTenThousand) {
  LogSoftmax layer;
  const Tensor x = torch::tensor({{1e4, -1e4, 0.0}, {0.0, 0.0, 0.0}, {-1e4, -1e4, -1e4}}, torch::kDouble);
  // A difference of 2e4 · 1e-16 / 1e-6 is too coarse: autograd is the oracle.
  const Tensor grad_y = torch::randn_like(x);
  EXPECT_LE(relative_error(log_softmax({x}), layer.forward(x)), 1e-15);
  EXPECT_LE(relative_error(autograd_gradients(log_softmax, {x}, grad_y)[0], layer.backward(grad_y)),
            kAutogradBound);
}

TEST_F(LayerTest, LogSoftmaxIsWhatLibTorchMakesOfInfinity) {
  const double infinity = std::numeric_limits<double>::infinity();
  LogSoftmax layer;
  const Tensor x = torch::tensor(
      {{-infinity, 1.0, 2.0}, {infinity, 1.0, 2.0}, {-infinity, -infinity, -infinity}}, torch::kDouble);
  const Tensor grad_y = torch::randn_like(x);
  const Tensor y = layer.forward(x);
  EXPECT_TRUE(y.allclose(log_softmax({x}), 1e-15, 0, /*equal_nan=*/true));
  EXPECT_EQ(y[0][0].item<double>(), -infinity);
  EXPECT_TRUE(y[1].isnan().all().item<bool>()) << "∞ − ∞";
  EXPECT_TRUE(layer.backward(grad_y).allclose(autograd_gradients(log_softmax, {x}, grad_y)[0], 1e-13, 0,
                                              /*equal_nan=*/true));
}

TEST_F(LayerTest, LogSoftmaxInFloat32FollowsFloat64) {
  LogSoftmax layer;
  const Tensor x = random_input(16, 10);
  const Tensor grad_y = random_input(16, 10);
  const Tensor y = layer.forward(x).clone();
  const Tensor grad_x = layer.backward(grad_y).clone();
  // Two sums over ten columns and some five operations.
  const double bound = 32 * std::numeric_limits<float>::epsilon();
  EXPECT_LE(relative_error(y, layer.forward(x.to(torch::kFloat))), bound);
  EXPECT_LE(relative_error(grad_x, layer.backward(grad_y.to(torch::kFloat))), bound);
}

// ---- Dropout
// --------------------------------------------------------------------------------------------------------

TEST_F(LayerTest, DropoutScalesWhatTheMaskKeeps) {
  for (const double p : {0.0, 0.2, 0.5}) {
    const Tensor mask = torch::rand({5, 4}) >= p;
    Dropout layer(p);
    layer.set_mask(mask);
    const auto f = [&](const Tensors& in) { return in[0] * mask / (1 - p); };
    expect_matches_oracles(layer, f, random_input(5, 4));
    expect_matches_oracles(layer, f, random_input(4, 5).t());
    layer.set_mask(mask.to(torch::kFloat));
    expect_matches_oracles(layer, f, random_input(5, 4));
  }
}

TEST_F(LayerTest, DropoutMultipliesAsTorchNnDropoutDoes) {
  // LibTorch's mask shows where its result is not 0. Then the digits have to be the same.
  const Tensor x = torch::rand({50, 40}) + 1;
  const Tensor y = torch::dropout(x, 0.3, /*train=*/true);
  Dropout layer(0.3);
  layer.set_mask(y != 0);
  EXPECT_TRUE(layer.forward(x).equal(y));
}

TEST_F(LayerTest, DropoutPassesEverythingInEvaluation) {
  Dropout layer;
  layer.eval();
  const Tensor x = random_input(5, 4);
  const Tensor kept = x.clone();
  expect_matches_oracles(
      layer, [](const Tensors& in) { return in[0]; }, x);
  layer.train();
  layer.set_mask(torch::ones({5, 4}));
  layer.forward(x);
  EXPECT_TRUE(x.equal(kept)) << "the input of an evaluation is not a buffer for the next training step";
}

TEST_F(LayerTest, DropoutOfEverythingGivesZero) {
  Dropout layer(1);
  layer.set_mask(torch::zeros({2, 3}));
  EXPECT_TRUE(layer.forward(random_input(2, 3)).eq(0).all().item<bool>());
  EXPECT_TRUE(layer.backward(random_input(2, 3)).eq(0).all().item<bool>());
}

TEST_F(LayerTest, DropoutTakesAnEmptyBatch) {
  Dropout layer;
  layer.set_mask(torch::ones({0, 3}));
  EXPECT_EQ(layer.forward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(layer.backward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 3}));
}

TEST_F(LayerTest, DropoutRefusesWhatItCannotDo) {
  EXPECT_THROW(Dropout(-0.1), std::invalid_argument);
  EXPECT_THROW(Dropout(1.1), std::invalid_argument);
  Dropout layer;
  EXPECT_THROW(layer.forward(random_input(2, 3)), std::invalid_argument) << "no mask";
  layer.set_mask(torch::ones({3, 3}));
  EXPECT_THROW(layer.forward(random_input(2, 3)), std::invalid_argument) << "the mask of another batch";
}

// ---- Residual
// -------------------------------------------------------------------------------------------------------

/// x + W₂ relu(W₁ x + b₁) + b₂, 4 → 3 → 4
struct Block {
  Block() {
    std::vector<std::unique_ptr<Layer>> branch;
    branch.push_back(std::make_unique<Linear>(parameters[0], parameters[1]));
    branch.push_back(std::make_unique<ReLU>());
    branch.push_back(std::make_unique<Linear>(parameters[2], parameters[3]));
    layer = std::make_unique<Residual>(std::move(branch));
  }
  static Tensor f(const Tensors& in) {
    return in[0] + torch::linear(torch::relu(torch::linear(in[0], in[1], in[2])), in[3], in[4]);
  }
  std::vector<Parameter> parameters = {parameter({3, 4}), parameter({3}), parameter({4, 3}), parameter({4})};
  std::unique_ptr<Residual> layer;
};

TEST_F(LayerTest, ResidualAddsTheWayAround) {
  const Block block;
  for (const std::int64_t rows : {1, 5}) {
    expect_matches_oracles(*block.layer, Block::f, random_input(rows, 4), block.parameters);
  }
  expect_matches_oracles(*block.layer, Block::f, random_input(4, 5).t(), block.parameters);
}

TEST_F(LayerTest, ResidualStandsInAnotherResidual) {
  Block block;
  std::vector<std::unique_ptr<Layer>> branch;
  branch.push_back(std::move(block.layer));
  Residual outer(std::move(branch));
  expect_matches_oracles(
      outer, [](const Tensors& in) { return in[0] + Block::f(in); }, random_input(5, 4), block.parameters);
}

TEST_F(LayerTest, ResidualWithoutABranchDoubles) {
  Residual layer({});
  expect_matches_oracles(
      layer, [](const Tensors& in) { return 2 * in[0]; }, random_input(5, 4));
}

TEST_F(LayerTest, ResidualTakesAnEmptyBatch) {
  const Block block;
  EXPECT_EQ(block.layer->forward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(block.layer->backward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
}

TEST_F(LayerTest, ResidualTellsItsBranchOfEvaluation) {
  std::vector<std::unique_ptr<Layer>> branch;
  branch.push_back(std::make_unique<Dropout>());
  Residual layer(std::move(branch));
  EXPECT_THROW(layer.forward(random_input(2, 3)), std::invalid_argument) << "in training without a mask";
  layer.eval();
  const Tensor x = random_input(2, 3);
  EXPECT_TRUE(layer.forward(x).equal(2 * x));
}

TEST_F(LayerTest, ResidualRefusesABranchThatChangesTheShape) {
  std::vector<std::unique_ptr<Layer>> branch;
  branch.push_back(std::make_unique<AppendOnes>());
  Residual layer(std::move(branch));
  EXPECT_THROW(layer.forward(random_input(2, 3)), std::invalid_argument);
}

// ---- Activations
// ---------------------------------------------------------------------------------------------------

Function reference(const std::string& name) {
  namespace F = torch::nn::functional;
  const std::map<std::string, std::function<Tensor(const Tensor&)>> functions = {
      {"relu", [](const Tensor& x) { return torch::relu(x); }},
      {"leaky_relu", [](const Tensor& x) { return F::leaky_relu(x); }},
      {"elu", [](const Tensor& x) { return F::elu(x); }},
      {"selu", [](const Tensor& x) { return torch::selu(x); }},
      {"gelu", [](const Tensor& x) { return F::gelu(x); }},
      {"gelu_tanh", [](const Tensor& x) { return F::gelu(x, F::GELUFuncOptions().approximate("tanh")); }},
      {"silu", [](const Tensor& x) { return F::silu(x); }},
      {"softplus", [](const Tensor& x) { return F::softplus(x); }},
      {"sigmoid", [](const Tensor& x) { return torch::sigmoid(x); }},
      {"tanh", [](const Tensor& x) { return torch::tanh(x); }},
      {"hardtanh", [](const Tensor& x) { return F::hardtanh(x); }},
      {"softsign", [](const Tensor& x) { return F::softsign(x); }},
  };
  const auto function = functions.at(name);
  return [function](const Tensors& in) { return function(in[0]); };
}

class ActivationTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { torch::manual_seed(11); }
  std::unique_ptr<Layer> layer = find_activation(GetParam())->make();
  Function f = reference(GetParam());
};

TEST_P(ActivationTest, MatchesBothOracles) {
  expect_matches_oracles(*layer, f, random_input(5, 7));
  expect_matches_oracles(*layer, f, random_input(1, 1));
}

TEST_P(ActivationTest, TakesInputsThatAreNotContiguous) {
  expect_matches_oracles(*layer, f, random_input(7, 5).t());
}

TEST_P(ActivationTest, TakesAnEmptyBatch) {
  EXPECT_EQ(layer->forward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(layer->backward(random_input(0, 3)).sizes(), at::IntArrayRef({0, 3}));
}

TEST_P(ActivationTest, TakesTheSlopeOfLibTorchAtKinksAndFarOut) {
  // Only autograd can be asked at a kink; the far points catch overflow in f and f′.
  const Tensor x =
      torch::tensor({{-1e4, -50.0, -1.0, -0.0, 0.0, 1.0, 20.0, 20.5, 50.0, 1e4}}, torch::kDouble);
  const Tensor grad_y = torch::ones_like(x);
  const Tensor y = layer->forward(x);
  const Tensor grad_x = layer->backward(grad_y);
  const Tensor expected = autograd_gradients(f, {x}, grad_y)[0];
  for (std::int64_t i = 0; i < x.size(1); ++i) {
    SCOPED_TRACE(x[0][i].item<double>());
    EXPECT_LE(relative_error(f({x})[0][i], y[0][i]), 1e-12);
    EXPECT_NEAR(expected[0][i].item<double>(), grad_x[0][i].item<double>(), 1e-13);
  }
}

TEST_P(ActivationTest, Float32FollowsFloat64) {
  const Tensor x = random_input(16, 16);
  const Tensor grad_y = random_input(16, 16);
  const Tensor y = layer->forward(x).clone();
  const Tensor grad_x = layer->backward(grad_y).clone();
  // 64 roundings of float32: the functions amplify an input's rounding by |x f′/f|, a few units here.
  const double bound = 64 * std::numeric_limits<float>::epsilon();
  EXPECT_LE(relative_error(y, layer->forward(x.to(torch::kFloat))), bound);
  EXPECT_LE(relative_error(grad_x, layer->backward(grad_y.to(torch::kFloat))), bound);
}

TEST_P(ActivationTest, NamesEveryKinkAndNoOther) {
  // Across a kink the slope jumps, elsewhere it moves by less than |f″| times the distance.
  const double distance = 1e-6;
  std::vector<double> found;
  for (double point = -3; point <= 3; point += 0.5) {
    layer->forward(torch::tensor({{point - distance, point + distance}}, torch::kDouble));
    const Tensor slopes = layer->backward(torch::ones({1, 2}, torch::kDouble));
    if (std::abs((slopes[0][1] - slopes[0][0]).item<double>()) > 1e-3) {
      found.push_back(point);
    }
  }
  EXPECT_EQ(found, find_activation(GetParam())->kinks);
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const ActivationEntry& entry : activations()) {
    all.push_back(entry.name);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, ActivationTest, ::testing::ValuesIn(names()),
                         [](const auto& entry) { return entry.param; });

// ---- Buffers
// -------------------------------------------------------------------------------------------------------

TEST_F(LayerTest, BuffersAreReusedFromStepToStep) {
  const Parameter weight = parameter({3, 4});
  const Parameter bias = parameter({3});
  Linear layer(weight, bias);
  const void* first = layer.forward(random_input(8, 4)).data_ptr();
  EXPECT_EQ(layer.forward(random_input(8, 4)).data_ptr(), first);
  EXPECT_EQ(layer.forward(random_input(3, 4)).data_ptr(), first)
      << "a smaller batch fits into the same memory";
}

TEST_F(LayerTest, AChangeOfDtypeTakesANewBuffer) {
  Softmax layer;
  layer.forward(random_input(2, 3));
  EXPECT_EQ(layer.forward(random_input(2, 3).to(torch::kFloat)).scalar_type(), torch::kFloat);
}

// ---- The checks can fail
// -------------------------------------------------------------------------------------------

/// ReLU with the mask taken from the upstream gradient.
class WrongMask final : public Layer {
 public:
  Tensor forward(const Tensor& x) override { return y_ = x.clamp_min(0); }
  Tensor backward(const Tensor& grad_y) override { return grad_x_ = grad_y * (grad_y > 0); }

 private:
  Tensor y_, grad_x_;
};

/// Softmax with the diagonal of its Jacobian alone.
class DiagonalOnly final : public Layer {
 public:
  Tensor forward(const Tensor& x) override { return y_ = torch::softmax(x, 1); }
  Tensor backward(const Tensor& grad_y) override { return grad_x_ = grad_y * y_ * (1 - y_); }

 private:
  Tensor y_, grad_x_;
};

bool passes(Layer& layer, const Function& f) {
  const Tensor x = random_input(4, 5);
  const Tensor grad_y = random_input(4, 5);
  layer.forward(x);
  return relative_error(autograd_gradients(f, {x}, grad_y)[0], layer.backward(grad_y)) <= kAutogradBound &&
         relative_error(numeric_gradients(f, {x}, grad_y)[0], layer.backward(grad_y)) <= kNumericBound;
}

TEST_F(LayerTest, TheOraclesRejectWrongGradients) {
  WrongMask wrong_mask;
  EXPECT_FALSE(passes(wrong_mask, reference("relu")));
  DiagonalOnly diagonal_only;
  EXPECT_FALSE(passes(diagonal_only, [](const Tensors& in) { return torch::softmax(in[0], 1); }));
  Softmax right;
  EXPECT_TRUE(passes(right, [](const Tensors& in) { return torch::softmax(in[0], 1); }));
}

}  // namespace
}  // namespace twingrad
