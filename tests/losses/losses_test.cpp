#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "../catalogue/expect_agreement.h"
#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/l1_loss.h"
#include "twingrad/losses/mse_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"
#include "twingrad/mlp/torch_reference.h"

// The catalogue checks every loss with typical options. These tests cover combinations of options, extreme
// values and misuse.

namespace twingrad::nn {
namespace {

using catalogue::Case;
using catalogue::draw;
using catalogue::FunctionEntry;
using catalogue::loss_entry;
using catalogue::matrix;
using catalogue::relative;
using catalogue::Tensors;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

constexpr Reduction kReductions[] = {Reduction::mean, Reduction::sum, Reduction::none};

Tensor indices(std::initializer_list<std::int64_t> values) { return at::tensor(values, at::kLong); }

/// Weights [C].
Tensor some_weights(std::int64_t count) { return at::rand({count}, at::kDouble) + 0.2; }

/// Makes the entry of a loss for a reduction. It has one case with these inputs.
using MakeEntry = std::function<FunctionEntry(Reduction reduction, const Tensors& inputs)>;

/// options_of(reduction, input) returns the first argument of the loss; the others follow.
template <typename LossType, typename... Others>
MakeEntry make_entry(auto reference, auto options_of, Others... others) {
  return [=, options_of = std::move(options_of)](Reduction reduction, const Tensors& inputs) {
    const auto options = [=](const Tensors& in) {
      return std::tuple(options_of(reduction, in[0]), others...);
    };
    return loss_entry<LossType>("loss", {{"given", inputs}}, options, reference);
  };
}

/// Weights in the dtype of the input.
Tensor weights_like(const Tensor& input, const Tensor& weights) {
  return weights.defined() ? weights.to(input.scalar_type()) : weights;
}

Reduction only_reduction(Reduction reduction, const Tensor& /*input*/) { return reduction; }

MakeEntry plain_cross_entropy() {
  return make_entry<CrossEntropyLoss>(torch_reference::plain_cross_entropy, only_reduction);
}

MakeEntry cross_entropy(const Tensor& weights, std::int64_t ignore_index, double smoothing) {
  const auto options = [=](Reduction r, const Tensor& input) {
    return ClassLossOptions{r, weights_like(input, weights), ignore_index};
  };
  return make_entry<WeightedCrossEntropyLoss>(torch_reference::cross_entropy, options, smoothing);
}

MakeEntry nll(const Tensor& weights, std::int64_t ignore_index) {
  return make_entry<NLLLoss>(torch_reference::nll, [=](Reduction r, const Tensor& input) {
    return ClassLossOptions{r, weights_like(input, weights), ignore_index};
  });
}

MakeEntry soft_cross_entropy(const Tensor& weights, double smoothing) {
  return make_entry<SoftCrossEntropyLoss>(
      torch_reference::soft_cross_entropy, [=](Reduction r, const Tensor& input) {
        return SoftCrossEntropyLossOptions{r, weights_like(input, weights), smoothing};
      });
}

MakeEntry bce(const Tensor& weight, const Tensor& pos_weight) {
  return make_entry<BCEWithLogitsLoss>(
      torch_reference::bce_with_logits, [=](Reduction r, const Tensor& input) {
        return BCEWithLogitsLossOptions{r, weights_like(input, weight), weights_like(input, pos_weight)};
      });
}

MakeEntry kl_div(bool log_target, bool batch_mean) {
  return make_entry<KLDivLoss>(torch_reference::kl_div, [=](Reduction r, const Tensor& /*input*/) {
    return KLDivLossOptions{r, log_target, batch_mean};
  });
}

MakeEntry huber(double delta) { return make_entry<HuberLoss>(torch_reference::huber, only_reduction, delta); }

MakeEntry smooth_l1(double beta) {
  return make_entry<SmoothL1Loss>(torch_reference::smooth_l1, only_reduction, beta);
}

void expect_agreement(const MakeEntry& make, const Tensors& inputs) {
  for (const Reduction reduction : kReductions) {
    SCOPED_TRACE(static_cast<int>(reduction));
    catalogue::expect_agreement(make(reduction, inputs));
  }
}

/// Compares entry by entry with LibTorch, NaN and ±∞ included, where differences do not apply.
void expect_same_as_libtorch(const MakeEntry& make, const Tensor& input, const Tensor& target) {
  for (const Reduction reduction : kReductions) {
    SCOPED_TRACE(::testing::Message() << static_cast<int>(reduction) << input);
    const FunctionEntry entry = make(reduction, {input, target});
    const catalogue::HandWritten loss = entry.make();
    const Tensor expected = entry.reference({input, target});
    const Tensor value = loss.forward({input, target});
    ASSERT_EQ(value.sizes(), expected.sizes());
    // About ten roundings per entry; for extreme inputs an entry can be 1e-16 of a term that cancels.
    EXPECT_TRUE(value.allclose(expected, 1e-14, 1e-15, /*equal_nan=*/true)) << value << expected;
    const Tensor grad_loss = draw(expected.sizes());
    const Tensor grad = loss.backward(grad_loss)[0];
    const Tensor theirs = catalogue::autograd_gradients(entry, {input, target}, grad_loss)[0];
    ASSERT_EQ(grad.sizes(), theirs.sizes());
    EXPECT_TRUE(grad.allclose(theirs, 1e-13, 1e-15, /*equal_nan=*/true)) << grad << theirs;
  }
}

/// The same for each row as a separate batch.
void expect_same_row_by_row(const MakeEntry& make, const Tensor& input, const Tensor& target) {
  for (std::int64_t row = 0; row < input.size(0); ++row) {
    expect_same_as_libtorch(make, input.narrow(0, row, 1), target.narrow(0, row, 1));
  }
}

// ---- Class losses ----

TEST(ClassLosses, AgreeInEveryCombinationOfTheirOptions) {
  for (const bool weighted : {false, true}) {
    const Tensor weights = weighted ? some_weights(4) : Tensor();
    for (const std::int64_t ignore_index : {-100, 2}) {
      // With index 2 one row is ignored, and others are not.
      const Tensor target = indices({3, 1, 2, 0, 1, ignore_index, 3});
      expect_agreement(nll(weights, ignore_index), {draw({7, 4}), target});
      for (const double smoothing : {0.0, 0.1, 1.0}) {
        SCOPED_TRACE(::testing::Message() << weighted << " " << smoothing << " " << ignore_index);
        expect_agreement(cross_entropy(weights, ignore_index, smoothing), {draw({7, 4}, 3), target});
      }
    }
    for (const double smoothing : {0.0, 0.1, 1.0}) {
      expect_agreement(soft_cross_entropy(weights, smoothing), {draw({6, 4}, 3), draw({6, 4}).softmax(1)});
    }
  }
  expect_agreement(soft_cross_entropy({}, 0), {draw({6, 4}, 3), draw({6, 4})});  // not probabilities
}

TEST(ClassLosses, WeightedCrossEntropyWithoutOptionsIsCrossEntropy) {
  const Tensor input = draw({6, 4}, 3);
  const Tensor target = indices({0, 3, 1, 2, 2, 0});
  CrossEntropyLoss simple;
  WeightedCrossEntropyLoss general;
  EXPECT_LE(relative(simple.forward(input, target), general.forward(input, target)), 1e-15);
  EXPECT_LE(relative(simple.backward(), general.backward()), 1e-15);
}

TEST(ClassLosses, TheWeightedMeanDividesByTheSumOfTheWeights) {
  // Two rows of loss log 2 with weights 1 and 3: still log 2, where a division by N would give 2 log 2.
  WeightedCrossEntropyLoss loss({.class_weights = at::tensor({1.0, 3.0}, at::kDouble)});
  EXPECT_DOUBLE_EQ(loss.forward(at::zeros({2, 2}, at::kDouble), indices({0, 1})).item<double>(), std::log(2));
}

TEST(ClassLosses, AllRowsIgnoredGiveAMeanOfNaNAndGradientZero) {
  const Tensor target = at::full({3}, -100, at::kLong);
  for (const Tensor& weights : {Tensor(), some_weights(4)}) {
    for (const double smoothing : {0.0, 0.1}) {
      const auto entry = cross_entropy(weights, -100, smoothing);
      expect_same_as_libtorch(entry, draw({3, 4}), target);
      const catalogue::HandWritten loss = entry(Reduction::mean, {draw({3, 4}), target}).make();
      EXPECT_TRUE(loss.forward({draw({3, 4}), target}).isnan().item<bool>());
      EXPECT_TRUE(loss.backward({})[0].eq(0).all().item<bool>());
    }
    expect_same_as_libtorch(nll(weights, -100), draw({3, 4}), target);
  }
}

TEST(ClassLosses, WeightsThatSumToZeroGiveNaNAsInLibTorch) {
  const Tensor weights = at::tensor({0.0, 0.0, 1.0}, at::kDouble);
  const Tensor target = indices({0, 1, -100});
  expect_same_as_libtorch(cross_entropy(weights, -100, 0), draw({3, 3}), target);
  // NLLLoss multiplies all zeros of a row by 1/0, LibTorch only the entry of the target.
  NLLLoss loss({.class_weights = weights});
  EXPECT_TRUE(loss.forward(draw({3, 3}), target).isnan().item<bool>());
  EXPECT_TRUE(loss.backward()[0][0].isnan().item<bool>());
  EXPECT_TRUE(loss.backward()[2].eq(0).all().item<bool>()) << "the ignored row";
}

TEST(ClassLosses, EqualLibTorchForExtremeLogits) {
  const Tensor input = matrix({1e4, -1e4,       0, 1e4, -1e4,      0, -1e4, -1e4, -1e4, -kInfinity, 1,
                               2,   -kInfinity, 1, 2,   kInfinity, 1, 2,    kNaN, 1,    2},
                              7);
  const Tensor target = indices({0, 1, 2, 1, 0, 1, -100});
  for (const double smoothing : {0.0, 0.1}) {
    expect_same_row_by_row(cross_entropy({}, -100, smoothing), input, target);
  }
  expect_same_row_by_row(nll({}, -100), input, target);
  expect_same_row_by_row(plain_cross_entropy(), input.narrow(0, 0, 6), target.narrow(0, 0, 6));
  expect_same_row_by_row(soft_cross_entropy({}, 0),
                         matrix({1e4, -1e4, 0, -kInfinity, 1, 2, -kInfinity, 1, 2, kInfinity, 1, 2}, 4),
                         matrix({0.2, 0.3, 0.5, 0.2, 0.3, 0.5, 0, 0.5, 0.5, 0, 0.5, 0.5}, 4));
}

TEST(CrossEntropy, IsExactForLogitsOfTenThousand) {
  CrossEntropyLoss loss(Reduction::sum);
  const Tensor logits = matrix({1e4, -1e4, 0, 1e4, -1e4, 0, -1e4, -1e4, -1e4}, 3);
  EXPECT_DOUBLE_EQ(loss.forward(logits, indices({0, 1, 2})).item<double>(), 0 + 2e4 + std::log(3.0));
  EXPECT_TRUE(loss.backward().narrow(0, 0, 2).equal(matrix({0, 0, 0, 1, -1, 0}, 2)));
  EXPECT_LE(relative(matrix({1, 1, -2}) / 3, loss.backward().narrow(0, 2, 1)), 1e-15);
}

// ---- Differences, binary labels, divergence ----

TEST(DifferenceLosses, AgreeForOtherThresholdsAndEqualLibTorchAtExtremes) {
  std::vector<std::pair<MakeEntry, double>> losses = {
      {make_entry<MSELoss>(torch_reference::mse, only_reduction), 0},
      {make_entry<L1Loss>(torch_reference::l1, only_reduction), 0}};
  for (const double seam : {1.0, 0.3}) {
    losses.emplace_back(huber(seam), seam);
  }
  for (const double seam : {1.0, 0.3, 0.0}) {
    losses.emplace_back(smooth_l1(seam), seam);
  }
  for (const auto& [make, seam] : losses) {
    SCOPED_TRACE(seam);
    expect_agreement(make, {draw({6, 4}), draw({6, 4})});
    const Tensor d = matrix({0.0, -0.0, seam, -seam, 1e4, -1e4, kInfinity, -kInfinity, kNaN}, 9);
    expect_same_row_by_row(make, d, at::zeros_like(d));
  }
}

TEST(BCEWithLogits, AgreesInEveryCombinationOfItsWeights) {
  const Tensor target = at::rand({6, 4}, at::kDouble);
  for (const Tensor& weight : {Tensor(), some_weights(4), at::rand({6, 1}, at::kDouble)}) {
    for (const Tensor& pos_weight : {Tensor(), some_weights(4)}) {
      expect_agreement(bce(weight, pos_weight), {draw({6, 4}, 3), target});
    }
  }
}

TEST(BCEWithLogits, EqualsLibTorchForExtremeLogits) {
  const Tensor logits = matrix({-1e4, -50, 0, 50, 1e4, kInfinity, -kInfinity, kNaN}, 8);
  for (const double label : {0.0, 1.0, 0.3}) {
    expect_same_row_by_row(bce({}, {}), logits, at::full_like(logits, label));
  }
}

TEST(KLDiv, AgreesWithBothTargetsAndMeans) {
  const Tensor log_t = draw({6, 4}).log_softmax(1);
  for (const bool log_target : {false, true}) {
    for (const bool batch_mean : {false, true}) {
      const Tensor target = log_target ? log_t : log_t.exp();
      expect_agreement(kl_div(log_target, batch_mean), {draw({6, 4}).log_softmax(1), target});
      expect_agreement(kl_div(log_target, batch_mean), {draw({6, 4}), target});  // not log-probabilities
    }
  }
}

TEST(KLDiv, IsZeroWhereTheTargetIsZero) {
  const Tensor input = matrix({-1, -1e4, -50});
  const Tensor target = matrix({1, 0, 0});
  expect_same_as_libtorch(kl_div(false, false), input, target);
  expect_same_as_libtorch(kl_div(false, false), input, matrix({1e-3, 1e-9, 1e-300}));  // small is not 0
  KLDivLoss loss({.reduction = Reduction::sum});
  EXPECT_DOUBLE_EQ(loss.forward(input, target).item<double>(), 1);
  // With log t = −∞ both are 0 · (−∞ − x) = NaN.
  expect_same_as_libtorch(kl_div(true, false), input, matrix({0, -kInfinity, -kInfinity}));
}

TEST(EntrywiseLosses, AcceptAnyShape) {
  const std::vector<MakeEntry> losses = {make_entry<MSELoss>(torch_reference::mse, only_reduction),
                                         make_entry<L1Loss>(torch_reference::l1, only_reduction),
                                         huber(0.5),
                                         smooth_l1(0.5),
                                         bce({}, {}),
                                         bce(some_weights(4), some_weights(4)),
                                         kl_div(false, false),
                                         kl_div(true, true)};
  for (const MakeEntry& make : losses) {
    for (const std::vector<std::int64_t>& shape :
         std::vector<std::vector<std::int64_t>>{{4}, {4, 4}, {2, 3, 4}}) {
      SCOPED_TRACE(::testing::Message() << shape.size());
      // All differences have the same sign, so that no sum cancels in float32.
      expect_agreement(make, {draw(shape).abs() + 2, draw(shape).sigmoid()});
    }
  }
}

// ---- Precision ----

/// Expects each entry of `found` within 128 roundings: of exp(z) for |z| ≤ 80, a rounding of z is 80 ε.
void expect_accurate_entries(const Tensor& found, std::initializer_list<double> expected) {
  const double epsilon = found.scalar_type() == at::kFloat ? std::numeric_limits<float>::epsilon()
                                                           : std::numeric_limits<double>::epsilon();
  std::int64_t i = 0;
  for (const double value : expected) {
    EXPECT_LE(std::abs(found.reshape(-1)[i].item<double>() - value), 128 * epsilon * std::abs(value)) << i;
    ++i;
  }
}

TEST(Precision, SmallGradientsOfTheCrossEntropiesAreAccurate) {
  // The largest logit is that of the label: p of the others is small, and so is their gradient p_k.
  const double sum = 1 + std::exp(-10.0) + std::exp(-40.0) + std::exp(-80.0);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Tensor logits = matrix({0, -10, -40, -80}).to(dtype);
    const auto expect_accurate = [&](Loss&& loss, const Tensor& target) {
      loss.forward(logits, target);
      expect_accurate_entries(loss.backward().narrow(1, 1, 3),
                              {std::exp(-10.0) / sum, std::exp(-40.0) / sum, std::exp(-80.0) / sum});
    };
    expect_accurate(CrossEntropyLoss(), indices({0}));
    expect_accurate(WeightedCrossEntropyLoss(), indices({0}));
    expect_accurate(SoftCrossEntropyLoss(), matrix({1, 0, 0, 0}).to(dtype));
  }
}

TEST(Precision, SmallBinaryCrossEntropiesAreAccurate) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    BCEWithLogitsLoss loss({.reduction = Reduction::none});
    const Tensor z = matrix({10, 20, 40, 80}).to(dtype);
    expect_accurate_entries(
        loss.forward(z, at::ones_like(z)),
        {std::log1p(std::exp(-10.0)), std::log1p(std::exp(-20.0)), std::exp(-40.0), std::exp(-80.0)});
    loss.forward(-z, at::zeros_like(z));
    expect_accurate_entries(
        loss.backward(at::ones_like(z)),
        {1 / (1 + std::exp(10.0)), 1 / (1 + std::exp(20.0)), std::exp(-40.0), std::exp(-80.0)});
  }
}

// ---- All losses ----

TEST(Losses, RejectATargetOfAnotherShape) {
  // Some of these LibTorch broadcasts, with a warning. (The catalogue has the bounds of the options.)
  const Tensor x = draw({2, 3});
  for (const Tensor& target : {draw({2, 1}), draw({1, 3}), draw({3, 2}), draw({6}), draw({3, 3})}) {
    SCOPED_TRACE(::testing::Message() << target.sizes());
    EXPECT_THROW(MSELoss().forward(x, target), std::invalid_argument);
    EXPECT_THROW(L1Loss().forward(x, target), std::invalid_argument);
    EXPECT_THROW(HuberLoss().forward(x, target), std::invalid_argument);
    EXPECT_THROW(SmoothL1Loss().forward(x, target), std::invalid_argument);
    EXPECT_THROW(SoftCrossEntropyLoss().forward(x, target), std::invalid_argument);
    EXPECT_THROW(BCEWithLogitsLoss().forward(x, target), std::invalid_argument);
    EXPECT_THROW(KLDivLoss().forward(x, target), std::invalid_argument);
  }
}

}  // namespace
}  // namespace twingrad::nn
