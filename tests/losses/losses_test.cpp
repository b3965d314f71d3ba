#include <gtest/gtest.h>
#include <torch/torch.h>

#include "../oracles.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/log_likelihood_loss.h"
#include "twingrad/mlp/spec.h"

namespace twingrad {
namespace {

using namespace nn;

using testing::autograd_gradients;
using testing::Function;
using testing::kAutogradBound;
using testing::kNumericBound;
using testing::numeric_gradients;
using testing::relative_error;
using testing::Tensors;

class LossTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(3); }
};

Function torch_cross_entropy(const Tensor& target, Reduction reduction) {
  return [=](const Tensors& in) {
    return torch::cross_entropy_loss(in[0], target, {},
                                     reduction == Reduction::mean ? at::Reduction::Mean : at::Reduction::Sum);
  };
}

TEST_F(LossTest, CrossEntropyMatchesBothOracles) {
  for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
    const Tensor logits = torch::randn({6, 4}, torch::kDouble) * 3;
    const Tensor target = torch::randint(0, 4, {6}, torch::kLong);
    const Function f = torch_cross_entropy(target, reduction);
    const Tensor one = torch::ones({}, torch::kDouble);
    CrossEntropyLoss loss(reduction);
    EXPECT_LE(relative_error(f({logits}), loss.forward(logits, target)), kAutogradBound);
    EXPECT_LE(relative_error(autograd_gradients(f, {logits}, one)[0], loss.backward()), kAutogradBound);
    EXPECT_LE(relative_error(numeric_gradients(f, {logits}, one)[0], loss.backward()), kNumericBound);
  }
}

TEST_F(LossTest, CrossEntropyIsExactForLogitsOfTenThousand) {
  const Tensor logits =
      torch::tensor({{1e4, -1e4, 0.0}, {1e4, -1e4, 0.0}, {-1e4, -1e4, -1e4}}, torch::kDouble);
  const Tensor target = torch::tensor({0, 1, 2}, torch::kLong);
  CrossEntropyLoss loss(Reduction::sum);
  EXPECT_DOUBLE_EQ(loss.forward(logits, target).item<double>(), 0 + 2e4 + std::log(3.0));
  const Tensor third = torch::full({3}, 1.0 / 3, torch::kDouble);
  EXPECT_TRUE(loss.backward()[0].equal(torch::zeros({3}, torch::kDouble)));
  EXPECT_TRUE(loss.backward()[1].equal(torch::tensor({1.0, -1.0, 0.0}, torch::kDouble)));
  EXPECT_LE(relative_error(third - torch::tensor({0.0, 0.0, 1.0}, torch::kDouble), loss.backward()[2]),
            1e-15);
}

/// One entry of two is another tensor's: the same numbers, but not contiguous, so that each row is not read by itself.
Tensor spread_out(const Tensor& tensor) {
  return torch::stack({tensor, torch::zeros_like(tensor)}, -1).select(-1, 0);
}

TEST_F(LossTest, CrossEntropyByRowsIsThatByTensorOperations) {
  for (const auto& [dtype, rows] : std::vector<std::pair<at::ScalarType, std::int64_t>>{
           {torch::kFloat, 6}, {torch::kFloat, 200}, {torch::kDouble, 6}, {torch::kDouble, 200}}) {
    Tensor logits = torch::randn({rows, 4}, dtype) * 3;
    logits[3][1] = NAN;
    logits[4][2] = INFINITY;
    logits[5].fill_(-INFINITY);
    const Tensor target = torch::randint(0, 4, {rows}, torch::kLong);
    const Tensor upstream = torch::rand({rows}, dtype);
    CrossEntropyLoss by_rows(Reduction::none), by_operations(Reduction::none);
    const Tensor losses = by_rows.forward(logits, target);
    // A few roundings apart; where one is not finite, the other is not.
    const double few = dtype == torch::kFloat ? 1e-6 : 1e-15;
    EXPECT_TRUE(losses.allclose(by_operations.forward(spread_out(logits), target), few, few, true));
    for (int again = 0; again < 2; ++again) {
      EXPECT_TRUE(by_rows.backward(upstream).allclose(by_operations.backward(upstream), few, few, true));
    }
  }
}

TEST_F(LossTest, CrossEntropyRefusesAClassThatIsNone) {
  for (const std::int64_t target : {-1, 4}) {
    CrossEntropyLoss loss;
    EXPECT_THROW(loss.forward(torch::randn({1, 4}), torch::full({1}, target, torch::kLong)), c10::Error)
        << target;
  }
}

// ---- The chain softmax → log → −Σ label · log p
// ----------------------------------------------------------------------

/// The chain by hand: value and ∂L/∂logits.
std::pair<Tensor, Tensor> chain_by_hand(Layer& softmax, const Tensor& logits, const Tensor& labels,
                                        Reduction reduction) {
  Log log(kExerciseEpsilon);
  LogLikelihoodLoss likelihood(reduction);
  const Tensor value = likelihood.forward(log.forward(softmax.forward(logits)), labels);
  return {value, softmax.backward(log.backward(likelihood.backward()))};
}

Function chain_expression(const Tensor& labels, bool shifted, Reduction reduction) {
  return [=](const Tensors& in) {
    const Tensor e = in[0].exp();
    const Tensor p = shifted ? torch::softmax(in[0], 1) : e / (e.sum(1, true) + kExerciseEpsilon);
    const Tensor losses = -(labels * torch::log(p + kExerciseEpsilon)).sum(1);
    return reduction == Reduction::mean ? losses.mean() : losses.sum();
  };
}

Tensor one_hot_rows(const Tensor& classes, std::int64_t count) {
  return torch::one_hot(classes, count).to(torch::kDouble);
}

TEST_F(LossTest, TheChainMatchesAutogradOfTheSameExpression) {
  const Tensor logits = torch::randn({6, 4}, torch::kDouble) * 3;
  const Tensor labels = one_hot_rows(torch::randint(0, 4, {6}, torch::kLong), 4);
  const Tensor one = torch::ones({}, torch::kDouble);
  for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
    for (const bool shifted : {true, false}) {
      Softmax shifted_softmax;
      UnshiftedSoftmax unshifted_softmax(kExerciseEpsilon);
      Layer& softmax = shifted ? static_cast<Layer&>(shifted_softmax) : unshifted_softmax;
      const auto [value, grad] = chain_by_hand(softmax, logits, labels, reduction);
      const Function f = chain_expression(labels, shifted, reduction);
      EXPECT_LE(relative_error(f({logits}), value), kAutogradBound);
      EXPECT_LE(relative_error(autograd_gradients(f, {logits}, one)[0], grad), kAutogradBound);
      EXPECT_LE(relative_error(numeric_gradients(f, {logits}, one)[0], grad), kNumericBound);
    }
  }
}

TEST_F(LossTest, TheChainTakesRowsWithSeveralLabels) {
  const Tensor logits = torch::randn({3, 4}, torch::kDouble);
  const Tensor labels =
      torch::tensor({{1.0, 1.0, 0.0, 0.0}, {0.5, 0.0, 0.25, 0.25}, {0.0, 0.0, 0.0, 0.0}}, torch::kDouble);
  UnshiftedSoftmax softmax(kExerciseEpsilon);
  const auto [value, grad] = chain_by_hand(softmax, logits, labels, Reduction::sum);
  const Function f = chain_expression(labels, false, Reduction::sum);
  EXPECT_LE(relative_error(f({logits}), value), kAutogradBound);
  EXPECT_LE(relative_error(autograd_gradients(f, {logits}, torch::ones({}, torch::kDouble))[0], grad),
            kAutogradBound);
}

TEST_F(LossTest, TheShiftedChainStaysFiniteForLogitsOfTenThousand) {
  const Tensor logits = torch::tensor({{1e4, -1e4, 0.0}, {-1e4, 1e4, 1e4}}, torch::kDouble);
  const Tensor labels = one_hot_rows(torch::tensor({1, 0}, torch::kLong), 3);
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    Softmax softmax;
    const auto [value, grad] = chain_by_hand(softmax, logits.to(dtype), labels.to(dtype), Reduction::mean);
    EXPECT_NEAR(value.item<double>(), -std::log(kExerciseEpsilon), 1e-5);
    EXPECT_TRUE(grad.isfinite().all().item<bool>());
    // The price of the epsilon: the wrong answer is certain, and the gradient that should mend it is gone.
    EXPECT_EQ(grad.abs().max().item<double>(), 0);
  }
}

TEST_F(LossTest, SaturatedRowsOfTheExerciseMatchAutograd) {
  const Tensor logits =
      torch::tensor({{300.0, -300.0, 0.0}, {25.0, -5.0, 0.0}, {-40.0, -40.0, -40.0}}, torch::kDouble);
  const Tensor labels = one_hot_rows(torch::tensor({0, 1, 2}, torch::kLong), 3);
  UnshiftedSoftmax softmax(kExerciseEpsilon);
  const auto [value, grad] = chain_by_hand(softmax, logits, labels, Reduction::sum);
  const Function f = chain_expression(labels, false, Reduction::sum);
  EXPECT_LE(relative_error(f({logits}), value), kAutogradBound);
  EXPECT_LE(relative_error(autograd_gradients(f, {logits}, torch::ones({}, torch::kDouble))[0], grad),
            kAutogradBound);
}

TEST_F(LossTest, TheUnshiftedChainOverflowsToNaNInFloat32) {
  const Tensor logits = torch::tensor({{100.0, 0.0}}, torch::kFloat);
  UnshiftedSoftmax softmax(kExerciseEpsilon);
  const auto [value, grad] =
      chain_by_hand(softmax, logits, torch::tensor({{1.0, 0.0}}, torch::kFloat), Reduction::sum);
  EXPECT_TRUE(std::isnan(value.item<double>()));
}

TEST_F(LossTest, TheGradientCellOfTheExerciseMatchesAutograd) {
  // x [5, 6], W1 [6, 5], W2 [5, 6], L = Σ label · log softmax(relu(x W1) W2), without a minus sign.
  const Tensor x = torch::randn({5, 6}, torch::kDouble);
  const Tensor value1 = torch::randn({6, 5}, torch::kDouble);
  const Tensor value2 = torch::randn({5, 6}, torch::kDouble);
  Tensor labels = torch::zeros({5, 6}, torch::kDouble);
  for (const auto& [row, column] : std::vector<std::pair<int, int>>{{0, 1}, {1, 0}, {2, 3}, {3, 5}, {4, 0}}) {
    labels[row][column] = 1;
  }
  const Parameter w1{value1, torch::zeros_like(value1)};
  const Parameter w2{value2, torch::zeros_like(value2)};
  Matmul product1(w1);
  ReLU relu;
  Matmul product2(w2);
  UnshiftedSoftmax softmax(kExerciseEpsilon);
  Log log(kExerciseEpsilon);
  const Tensor log_p = log.forward(softmax.forward(product2.forward(relu.forward(product1.forward(x)))));
  const Tensor grad_x =
      product1.backward(relu.backward(product2.backward(softmax.backward(log.backward(labels)))));

  const Function f = [&](const Tensors& in) {
    const Tensor e = torch::relu(in[0].matmul(in[1])).matmul(in[2]).exp();
    return (labels * torch::log(e / (e.sum(1, true) + kExerciseEpsilon) + kExerciseEpsilon)).sum();
  };
  const Tensor one = torch::ones({}, torch::kDouble);
  const Tensors expected = autograd_gradients(f, {x, value1, value2}, one);
  const Tensors numeric = numeric_gradients(f, {x, value1, value2}, one);
  EXPECT_LE(relative_error(f({x, value1, value2}), (labels * log_p).sum()), kAutogradBound);
  const Tensors ours = {grad_x, w1.grad, w2.grad};
  for (std::size_t i = 0; i < ours.size(); ++i) {
    EXPECT_LE(relative_error(expected[i], ours[i]), kAutogradBound) << i;
    EXPECT_LE(relative_error(numeric[i], ours[i]), kNumericBound) << i;
  }
}

TEST_F(LossTest, TheOraclesRejectAMissingOneOverN) {
  const Tensor logits = torch::randn({6, 4}, torch::kDouble);
  const Tensor target = torch::randint(0, 4, {6}, torch::kLong);
  const Function mean = torch_cross_entropy(target, Reduction::mean);
  CrossEntropyLoss sum(Reduction::sum);
  sum.forward(logits, target);
  EXPECT_GT(
      relative_error(autograd_gradients(mean, {logits}, torch::ones({}, torch::kDouble))[0], sum.backward()),
      1);
}

}  // namespace
}  // namespace twingrad
