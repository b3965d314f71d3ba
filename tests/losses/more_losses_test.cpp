#include <gtest/gtest.h>
#include <torch/torch.h>

#include "../oracles.h"
#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/l1_loss.h"
#include "twingrad/losses/log_likelihood_loss.h"
#include "twingrad/losses/mse_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"

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

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class MoreLossesTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(23); }
};

std::int64_t in_libtorch(Reduction reduction) {
  return reduction == Reduction::mean  ? at::Reduction::Mean
         : reduction == Reduction::sum ? at::Reduction::Sum
                                       : at::Reduction::None;
}

/// LibTorch's loss of an input and a target.
using Reference = std::function<Tensor(const Tensor& input, const Tensor& target, Reduction reduction)>;
using Make = std::function<std::unique_ptr<Loss>(Reduction reduction)>;

/// Holds a loss against both oracles: all reductions, a random upstream gradient, and that of 1.
void expect_matches_oracles(const Make& make, const Reference& reference, const Tensor& input,
                            const Tensor& target) {
  for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
    SCOPED_TRACE(in_libtorch(reduction));
    const Function f = [&](const Tensors& in) { return reference(in[0], target, reduction); };
    const std::unique_ptr<Loss> loss = make(reduction);
    const Tensor expected = f({input});
    EXPECT_LE(relative_error(expected, loss->forward(input, target)), kAutogradBound);
    for (const Tensor& grad_loss : {torch::randn_like(expected), torch::ones_like(expected)}) {
      const Tensor grad = loss->backward(grad_loss);
      EXPECT_LE(relative_error(autograd_gradients(f, {input}, grad_loss)[0], grad), kAutogradBound);
      EXPECT_LE(relative_error(numeric_gradients(f, {input}, grad_loss)[0], grad), kNumericBound);
    }
    const Tensor of_ones = loss->backward(torch::ones_like(expected)).clone();
    EXPECT_TRUE(loss->backward().equal(of_ones)) << "left out, the upstream gradient is 1";
  }
}

/// The same where only LibTorch can be asked: NaN and ±∞ have to stand in the same places.
void expect_same_as_libtorch(const Make& make, const Reference& reference, const Tensor& input,
                             const Tensor& target) {
  for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
    SCOPED_TRACE(in_libtorch(reduction));
    const Function f = [&](const Tensors& in) { return reference(in[0], target, reduction); };
    const std::unique_ptr<Loss> loss = make(reduction);
    const Tensor expected = f({input});
    const Tensor value = loss->forward(input, target);
    ASSERT_EQ(value.sizes(), expected.sizes());
    // Some ten roundings of each entry; far out an entry can be 1e-16 of a term that cancels.
    EXPECT_TRUE(value.allclose(expected, 1e-14, 1e-15, /*equal_nan=*/true)) << value << expected;
    const Tensor grad_loss = torch::randn_like(expected);
    const Tensor grad = loss->backward(grad_loss);
    const Tensor theirs = autograd_gradients(f, {input}, grad_loss)[0];
    ASSERT_EQ(grad.sizes(), theirs.sizes());
    EXPECT_TRUE(grad.allclose(theirs, 1e-13, 1e-15, /*equal_nan=*/true)) << grad << theirs;
  }
}

/// The loss in float32 beside itself in float64.
void expect_float32_follows(const Make& make, const Tensor& input, const Tensor& target) {
  const std::unique_ptr<Loss> loss = make(Reduction::mean);
  const Tensor value = loss->forward(input, target);
  const Tensor grad = loss->backward().clone();
  const Tensor float_target = target.is_floating_point() ? target.to(torch::kFloat) : target;
  // Sums over ten columns and 16 rows, and some ten operations; differences of inputs lose a factor of two.
  const double bound = 64 * std::numeric_limits<float>::epsilon();
  EXPECT_LE(relative_error(value, loss->forward(input.to(torch::kFloat), float_target)), bound);
  EXPECT_LE(relative_error(grad, loss->backward()), bound);
}

template <typename LossClass>
Make plain() {
  return [](Reduction reduction) { return std::make_unique<LossClass>(reduction); };
}

Tensor logits(std::int64_t rows, std::int64_t columns) {
  return torch::randn({rows, columns}, torch::kDouble) * 3;
}

Tensor classes(std::int64_t rows, std::int64_t count) {
  return torch::randint(0, count, {rows}, torch::kLong);
}

Tensor class_weights(std::int64_t count) { return torch::rand({count}, torch::kDouble) + 0.2; }

// ---- Losses of a class index
// ----------------------------------------------------------------------------------------

/// The options of torch::nn::CrossEntropyLoss and NLLLoss.
struct ClassCase {
  Tensor weights = {};
  std::int64_t ignore_index = -100;
  double smoothing = 0;

  ClassLossOptions options(Reduction reduction) const {
    return {.reduction = reduction, .class_weights = weights, .ignore_index = ignore_index};
  }
  Make cross_entropy() const {
    return [*this](Reduction reduction) {
      return std::make_unique<WeightedCrossEntropyLoss>(options(reduction), smoothing);
    };
  }
  Make nll() const {
    return [*this](Reduction reduction) { return std::make_unique<NLLLoss>(options(reduction)); };
  }
  Reference torch_cross_entropy() const {
    return [*this](const Tensor& input, const Tensor& target, Reduction reduction) {
      return torch::cross_entropy_loss(input, target, weights, in_libtorch(reduction), ignore_index,
                                       smoothing);
    };
  }
  Reference torch_nll() const {
    return [*this](const Tensor& input, const Tensor& target, Reduction reduction) {
      return torch::nll_loss(input, target, weights, in_libtorch(reduction), ignore_index);
    };
  }
};

TEST_F(MoreLossesTest, CrossEntropyMatchesForEveryReduction) {
  const Reference reference = ClassCase{}.torch_cross_entropy();
  expect_matches_oracles(plain<CrossEntropyLoss>(), reference, logits(6, 4), classes(6, 4));
  expect_matches_oracles(plain<CrossEntropyLoss>(), reference, logits(1, 1), classes(1, 1));
  expect_matches_oracles(plain<CrossEntropyLoss>(), reference, logits(4, 6).t(), classes(6, 4));
}

TEST_F(MoreLossesTest, WeightedCrossEntropyMatchesInEveryCombinationOfItsOptions) {
  for (const bool weighted : {false, true}) {
    for (const double smoothing : {0.0, 0.1, 1.0}) {
      for (const std::int64_t ignore_index : {-100, 2}) {
        SCOPED_TRACE(::testing::Message() << weighted << " " << smoothing << " " << ignore_index);
        const ClassCase options{weighted ? class_weights(4) : Tensor(), ignore_index, smoothing};
        Tensor target = classes(7, 4);
        target[3] = 0;             // at least one row counts
        target[5] = ignore_index;  // and at least one does not
        expect_matches_oracles(options.cross_entropy(), options.torch_cross_entropy(), logits(7, 4), target);
      }
    }
  }
}

TEST_F(MoreLossesTest, WeightedCrossEntropyWithoutOptionsIsCrossEntropy) {
  const Tensor input = logits(6, 4);
  const Tensor target = classes(6, 4);
  CrossEntropyLoss simple;
  WeightedCrossEntropyLoss general;
  EXPECT_LE(relative_error(simple.forward(input, target), general.forward(input, target)), 1e-15);
  EXPECT_LE(relative_error(simple.backward(), general.backward()), 1e-15);
}

TEST_F(MoreLossesTest, TheWeightedMeanDividesByTheSumOfTheWeights) {
  // Two rows of loss log 2, of weights 1 and 3: still log 2, where a division by N would give 2 log 2.
  WeightedCrossEntropyLoss loss({.class_weights = torch::tensor({1.0, 3.0}, torch::kDouble)});
  const Tensor input = torch::zeros({2, 2}, torch::kDouble);
  EXPECT_DOUBLE_EQ(loss.forward(input, torch::tensor({0, 1}, torch::kLong)).item<double>(), std::log(2.0));
}

TEST_F(MoreLossesTest, NLLMatchesWithWeightsAndAnIgnoredIndex) {
  for (const bool weighted : {false, true}) {
    for (const std::int64_t ignore_index : {-100, 2}) {
      const ClassCase options{weighted ? class_weights(4) : Tensor(), ignore_index};
      Tensor target = classes(7, 4);
      target[3] = 0;
      target[5] = ignore_index;
      expect_matches_oracles(options.nll(), options.torch_nll(), torch::log_softmax(logits(7, 4), 1), target);
      expect_matches_oracles(options.nll(), options.torch_nll(), logits(4, 7).t(), target);
    }
  }
  expect_matches_oracles(ClassCase{}.nll(), ClassCase{}.torch_nll(), logits(1, 1), classes(1, 1));
}

TEST_F(MoreLossesTest, AllRowsIgnoredGiveAMeanOfNaNAndGradientZero) {
  const Tensor target = torch::full({3}, -100, torch::kLong);
  for (const bool weighted : {false, true}) {
    for (const double smoothing : {0.0, 0.1}) {
      const ClassCase options{weighted ? class_weights(4) : Tensor(), -100, smoothing};
      expect_same_as_libtorch(options.cross_entropy(), options.torch_cross_entropy(), logits(3, 4), target);
      WeightedCrossEntropyLoss loss(options.options(Reduction::mean), smoothing);
      EXPECT_TRUE(loss.forward(logits(3, 4), target).isnan().item<bool>());
      EXPECT_TRUE(loss.backward().eq(0).all().item<bool>());
    }
    const ClassCase options{weighted ? class_weights(4) : Tensor()};
    expect_same_as_libtorch(options.nll(), options.torch_nll(), logits(3, 4), target);
  }
}

TEST_F(MoreLossesTest, WeightsThatSumToZeroGiveNaNAsInLibTorch) {
  const ClassCase options{torch::tensor({0.0, 0.0, 1.0}, torch::kDouble)};
  const Tensor target = torch::tensor({0, 1, -100}, torch::kLong);
  expect_same_as_libtorch(options.cross_entropy(), options.torch_cross_entropy(), logits(3, 3), target);
  // NLL multiplies the zeros beside the target by 1/0 too, LibTorch leaves them alone.
  NLLLoss loss(options.options(Reduction::mean));
  EXPECT_TRUE(loss.forward(logits(3, 3), target).isnan().item<bool>());
  EXPECT_TRUE(loss.backward()[0][0].isnan().item<bool>());
  EXPECT_TRUE(loss.backward()[2].eq(0).all().item<bool>()) << "the ignored row";
}

TEST_F(MoreLossesTest, ClassLossesOfExtremeLogitsAreWhatLibTorchGives) {
  const Tensor input = torch::tensor({{1e4, -1e4, 0.0},
                                      {1e4, -1e4, 0.0},
                                      {-1e4, -1e4, -1e4},
                                      {-kInfinity, 1.0, 2.0},
                                      {-kInfinity, 1.0, 2.0},
                                      {kInfinity, 1.0, 2.0},
                                      {kNaN, 1.0, 2.0}},
                                     torch::kDouble);
  const Tensor target = torch::tensor({0, 1, 2, 1, 0, 1, -100}, torch::kLong);
  for (std::int64_t row = 0; row < input.size(0); ++row) {
    SCOPED_TRACE(row);
    const Tensor x = input.narrow(0, row, 1);
    const Tensor t = target.narrow(0, row, 1);
    for (const double smoothing : {0.0, 0.1}) {
      const ClassCase options{{}, -100, smoothing};
      expect_same_as_libtorch(options.cross_entropy(), options.torch_cross_entropy(), x, t);
    }
    expect_same_as_libtorch(ClassCase{}.nll(), ClassCase{}.torch_nll(), x, t);
    if (row < 6) {  // the simple class has no index to ignore
      expect_same_as_libtorch(plain<CrossEntropyLoss>(), ClassCase{}.torch_cross_entropy(), x, t);
    }
  }
}

TEST_F(MoreLossesTest, ClassLossesInFloat32FollowFloat64) {
  const Tensor input = logits(16, 10);
  const Tensor target = classes(16, 10);
  expect_float32_follows(plain<CrossEntropyLoss>(), input, target);
  expect_float32_follows(ClassCase{{}, 2, 0.1}.cross_entropy(), input, target);
  expect_float32_follows(ClassCase{}.nll(), input, target);
}

// ---- Cross-entropy from class probabilities
// -------------------------------------------------------------------------

struct SoftCase {
  Tensor weights = {};
  double smoothing = 0;

  Make make() const {
    return [*this](Reduction reduction) {
      return std::make_unique<SoftCrossEntropyLoss>(SoftCrossEntropyLossOptions{
          .reduction = reduction, .class_weights = weights, .label_smoothing = smoothing});
    };
  }
  Reference reference() const {
    return [*this](const Tensor& input, const Tensor& target, Reduction reduction) {
      return torch::cross_entropy_loss(input, target, weights, in_libtorch(reduction), -100, smoothing);
    };
  }
};

TEST_F(MoreLossesTest, SoftCrossEntropyMatchesInEveryCombinationOfItsOptions) {
  const Tensor target = torch::softmax(logits(6, 4), 1);
  for (const double smoothing : {0.0, 0.1, 1.0}) {
    for (const bool weighted : {false, true}) {
      const SoftCase options{weighted ? class_weights(4) : Tensor(), smoothing};
      expect_matches_oracles(options.make(), options.reference(), logits(6, 4), target);
      expect_matches_oracles(options.make(), options.reference(), logits(4, 6).t(), target);
    }
  }
  // The targets need not be probabilities.
  expect_matches_oracles(SoftCase{}.make(), SoftCase{}.reference(), logits(6, 4), logits(6, 4));
  // One class: log p = 0 and no gradient.
  expect_matches_oracles(SoftCase{}.make(), SoftCase{}.reference(), logits(1, 1),
                         torch::rand({1, 1}, torch::kDouble));
}

TEST_F(MoreLossesTest, SoftCrossEntropyOfExtremeLogitsIsWhatLibTorchGives) {
  const Tensor input =
      torch::tensor({{1e4, -1e4, 0.0}, {-kInfinity, 1.0, 2.0}, {-kInfinity, 1.0, 2.0}, {kInfinity, 1.0, 2.0}},
                    torch::kDouble);
  const Tensor target =
      torch::tensor({{0.2, 0.3, 0.5}, {0.2, 0.3, 0.5}, {0.0, 0.5, 0.5}, {0.0, 0.5, 0.5}}, torch::kDouble);
  for (std::int64_t row = 0; row < input.size(0); ++row) {
    expect_same_as_libtorch(SoftCase{}.make(), SoftCase{}.reference(), input.narrow(0, row, 1),
                            target.narrow(0, row, 1));
  }
  expect_float32_follows(SoftCase{}.make(), logits(16, 10), torch::softmax(logits(16, 10), 1));
}

// ---- Losses of a difference
// -----------------------------------------------------------------------------------------

/// A loss of input − target with LibTorch's own and the |d| at which its slope has a kink or a seam.
struct DifferenceCase {
  Make make;
  Reference reference;
  double seam;
};

std::vector<DifferenceCase> difference_cases() {
  std::vector<DifferenceCase> cases = {
      {plain<MSELoss>(),
       [](const Tensor& x, const Tensor& t, Reduction r) { return torch::mse_loss(x, t, in_libtorch(r)); },
       0},
      {plain<L1Loss>(),
       [](const Tensor& x, const Tensor& t, Reduction r) { return torch::l1_loss(x, t, in_libtorch(r)); },
       0}};
  for (const double seam : {1.0, 0.3}) {
    cases.push_back({[=](Reduction r) { return std::make_unique<HuberLoss>(r, seam); },
                     [=](const Tensor& x, const Tensor& t, Reduction r) {
                       return torch::huber_loss(x, t, in_libtorch(r), seam);
                     },
                     seam});
  }
  for (const double seam : {1.0, 0.3, 0.0}) {
    cases.push_back({[=](Reduction r) { return std::make_unique<SmoothL1Loss>(r, seam); },
                     [=](const Tensor& x, const Tensor& t, Reduction r) {
                       return torch::smooth_l1_loss(x, t, in_libtorch(r), seam);
                     },
                     seam});
  }
  return cases;
}

TEST_F(MoreLossesTest, LossesOfADifferenceMatchBothOracles) {
  for (const DifferenceCase& loss : difference_cases()) {
    SCOPED_TRACE(loss.seam);
    expect_matches_oracles(loss.make, loss.reference, logits(6, 4), logits(6, 4));
    expect_matches_oracles(loss.make, loss.reference, logits(1, 1), logits(1, 1));
    expect_matches_oracles(loss.make, loss.reference, logits(4, 6).t(), logits(6, 8).slice(1, 0, 8, 2));
  }
}

TEST_F(MoreLossesTest, LossesOfADifferenceTakeTheSlopeOfLibTorchAtSeamsAndFarOut) {
  for (const DifferenceCase& loss : difference_cases()) {
    SCOPED_TRACE(loss.seam);
    const Tensor d = torch::tensor(
        {{0.0, -0.0, loss.seam, -loss.seam, 1e4, -1e4, kInfinity, -kInfinity, kNaN}}, torch::kDouble);
    for (std::int64_t i = 0; i < d.size(1); ++i) {
      SCOPED_TRACE(d[0][i].item<double>());
      const Tensor x = d.slice(1, i, i + 1);
      expect_same_as_libtorch(loss.make, loss.reference, x, torch::zeros_like(x));
    }
  }
}

TEST_F(MoreLossesTest, LossesOfADifferenceInFloat32FollowFloat64) {
  for (const DifferenceCase& loss : difference_cases()) {
    expect_float32_follows(loss.make, logits(16, 10), logits(16, 10));
  }
}

TEST_F(MoreLossesTest, DefaultsAreThoseOfTorchNn) {
  const Tensor x = logits(6, 4);
  const Tensor t = logits(6, 4);
  const auto distance = [&](Loss&& ours, auto theirs) {
    return relative_error(theirs(x, t), ours.forward(x, t));
  };
  EXPECT_LE(distance(MSELoss(), torch::nn::MSELoss()), kAutogradBound);
  EXPECT_LE(distance(L1Loss(), torch::nn::L1Loss()), kAutogradBound);
  EXPECT_LE(distance(HuberLoss(), torch::nn::HuberLoss()), kAutogradBound);
  EXPECT_LE(distance(SmoothL1Loss(), torch::nn::SmoothL1Loss()), kAutogradBound);
  EXPECT_LE(distance(BCEWithLogitsLoss(), torch::nn::BCEWithLogitsLoss()), kAutogradBound);
  EXPECT_LE(distance(SoftCrossEntropyLoss(), torch::nn::CrossEntropyLoss()), kAutogradBound);
  const Tensor p = torch::softmax(t, 1);
  KLDivLoss divergence;
  EXPECT_LE(relative_error(torch::nn::KLDivLoss()(x, p), divergence.forward(x, p)), kAutogradBound);
  const Tensor target = torch::tensor({0, 1, -100, 3, 2, 1}, torch::kLong);
  WeightedCrossEntropyLoss cross_entropy;
  EXPECT_LE(relative_error(torch::nn::CrossEntropyLoss()(x, target), cross_entropy.forward(x, target)),
            kAutogradBound);
  NLLLoss nll;
  EXPECT_LE(relative_error(torch::nn::NLLLoss()(x, target), nll.forward(x, target)), kAutogradBound);
}

// ---- Binary cross-entropy
// -------------------------------------------------------------------------------------------

struct BinaryCase {
  Tensor weight = {};
  Tensor pos_weight = {};

  Make make() const {
    return [*this](Reduction reduction) {
      return std::make_unique<BCEWithLogitsLoss>(
          BCEWithLogitsLossOptions{.reduction = reduction, .weight = weight, .pos_weight = pos_weight});
    };
  }
  Reference reference() const {
    return [*this](const Tensor& input, const Tensor& target, Reduction reduction) {
      return torch::binary_cross_entropy_with_logits(input, target, weight, pos_weight,
                                                     in_libtorch(reduction));
    };
  }
};

TEST_F(MoreLossesTest, BCEWithLogitsMatchesInEveryCombinationOfItsWeights) {
  const Tensor target = torch::rand({6, 4}, torch::kDouble);
  const Tensor hard_target = (target > 0.5).to(torch::kDouble);
  for (const Tensor& weight : {Tensor(), class_weights(4), torch::rand({6, 1}, torch::kDouble)}) {
    for (const Tensor& pos_weight : {Tensor(), class_weights(4)}) {
      const BinaryCase options{weight, pos_weight};
      expect_matches_oracles(options.make(), options.reference(), logits(6, 4), target);
      expect_matches_oracles(options.make(), options.reference(), logits(4, 6).t(), hard_target);
    }
  }
  expect_matches_oracles(BinaryCase{}.make(), BinaryCase{}.reference(), logits(1, 1),
                         torch::ones({1, 1}, torch::kDouble));
}

TEST_F(MoreLossesTest, BCEWithLogitsOfExtremeLogitsIsWhatLibTorchGives) {
  for (const double label : {0.0, 1.0, 0.3}) {
    for (const double z : {-1e4, -50.0, 0.0, 50.0, 1e4, kInfinity, -kInfinity, kNaN}) {
      SCOPED_TRACE(::testing::Message() << "label " << label << ", logit " << z);
      const Tensor target = torch::full({1, 1}, label, torch::kDouble);
      const Tensor input = torch::full({1, 1}, z, torch::kDouble);
      expect_same_as_libtorch(BinaryCase{}.make(), BinaryCase{}.reference(), input, target);
    }
  }
  expect_float32_follows(BinaryCase{}.make(), logits(16, 10), torch::rand({16, 10}, torch::kDouble));
}

// ---- Kullback-Leibler divergence
// ------------------------------------------------------------------------------------

Make kl_divergence(bool log_target, bool batch_mean) {
  return [=](Reduction reduction) {
    return std::make_unique<KLDivLoss>(
        KLDivLossOptions{.reduction = reduction, .log_target = log_target, .batch_mean = batch_mean});
  };
}

Reference torch_kl_divergence(bool log_target, bool batch_mean) {
  return [=](const Tensor& input, const Tensor& target, Reduction reduction) {
    if (batch_mean && reduction == Reduction::mean) {
      namespace F = torch::nn::functional;
      return F::kl_div(input, target, F::KLDivFuncOptions(torch::kBatchMean).log_target(log_target));
    }
    return torch::kl_div(input, target, in_libtorch(reduction), log_target);
  };
}

TEST_F(MoreLossesTest, KLDivergenceMatchesWithBothTargetsAndMeans) {
  const Tensor log_t = torch::log_softmax(logits(6, 4), 1);
  for (const bool log_target : {false, true}) {
    const Tensor target = log_target ? log_t : log_t.exp();
    for (const bool batch_mean : {false, true}) {
      const Make make = kl_divergence(log_target, batch_mean);
      const Reference reference = torch_kl_divergence(log_target, batch_mean);
      expect_matches_oracles(make, reference, torch::log_softmax(logits(6, 4), 1), target);
      expect_matches_oracles(make, reference, logits(4, 6).t(), target);
      expect_matches_oracles(make, reference, logits(1, 1), target.slice(0, 0, 1).slice(1, 0, 1));
      expect_float32_follows(make, torch::log_softmax(logits(16, 10), 1),
                             torch::rand({16, 10}, torch::kDouble));
    }
  }
}

TEST_F(MoreLossesTest, KLDivergenceIsZeroWhereTheTargetIsZero) {
  const Tensor input = torch::tensor({{-1.0, -1e4, -50.0}}, torch::kDouble);
  const Tensor target = torch::tensor({{1.0, 0.0, 0.0}}, torch::kDouble);
  expect_same_as_libtorch(kl_divergence(false, false), torch_kl_divergence(false, false), input, target);
  KLDivLoss loss({.reduction = Reduction::sum});
  EXPECT_DOUBLE_EQ(loss.forward(input, target).item<double>(), 1.0);
  // t = 0 given as log t = −∞: LibTorch has 0 · (−∞ − x) = NaN there, and so have we.
  const Tensor log_target = torch::tensor({{0.0, -kInfinity, -kInfinity}}, torch::kDouble);
  expect_same_as_libtorch(kl_divergence(true, false), torch_kl_divergence(true, false), input, log_target);
}

// ---- What all losses have in common
// ---------------------------------------------------------------------------------

/// Every loss with a target of N rows of C.
struct NamedLoss {
  std::string name;
  Make make;
  Reference reference;
  std::function<Tensor(std::int64_t rows, std::int64_t columns)> target;
};

std::vector<NamedLoss> all_losses() {
  const auto matrix = [](std::int64_t rows, std::int64_t columns) {
    return torch::rand({rows, columns}, torch::kDouble);
  };
  const std::vector<DifferenceCase> differences = difference_cases();
  return {{"cross_entropy", plain<CrossEntropyLoss>(), ClassCase{}.torch_cross_entropy(), classes},
          {"weighted_cross_entropy", ClassCase{}.cross_entropy(), ClassCase{}.torch_cross_entropy(), classes},
          {"cross_entropy.label_smoothing", ClassCase{{}, -100, 0.1}.cross_entropy(),
           ClassCase{{}, -100, 0.1}.torch_cross_entropy(), classes},
          {"nll", ClassCase{}.nll(), ClassCase{}.torch_nll(), classes},
          {"soft_cross_entropy", SoftCase{}.make(), SoftCase{}.reference(), matrix},
          {"mse", differences[0].make, differences[0].reference, matrix},
          {"l1", differences[1].make, differences[1].reference, matrix},
          {"huber", differences[2].make, differences[2].reference, matrix},
          {"smooth_l1", differences[4].make, differences[4].reference, matrix},
          {"bce_with_logits", BinaryCase{}.make(), BinaryCase{}.reference(), matrix},
          {"kl_divergence", kl_divergence(false, false), torch_kl_divergence(false, false), matrix},
          {"kl_divergence.log_target", kl_divergence(true, false), torch_kl_divergence(true, false), matrix}};
}

TEST_F(MoreLossesTest, NoRowsGiveAMeanOfNaNASumOfZeroAndAnEmptyGradient) {
  for (const NamedLoss& loss : all_losses()) {
    SCOPED_TRACE(loss.name);
    const Tensor input = torch::zeros({0, 3}, torch::kDouble);
    const Tensor target = loss.target(0, 3);
    const std::unique_ptr<Loss> mean = loss.make(Reduction::mean);
    const Tensor theirs = loss.reference(input, target, Reduction::mean);
    EXPECT_TRUE(mean->forward(input, target).isnan().item<bool>());
    EXPECT_TRUE(theirs.isnan().item<bool>()) << "LibTorch says NaN too";
    EXPECT_EQ(mean->backward().sizes(), input.sizes());
    const std::unique_ptr<Loss> sum = loss.make(Reduction::sum);
    EXPECT_EQ(sum->forward(input, target).item<double>(), 0);
    EXPECT_EQ(sum->backward().sizes(), input.sizes());
    const std::unique_ptr<Loss> none = loss.make(Reduction::none);
    EXPECT_EQ(none->forward(input, target).sizes(), loss.reference(input, target, Reduction::none).sizes());
    EXPECT_EQ(none->backward().sizes(), input.sizes());
  }
}

TEST_F(MoreLossesTest, BackwardCanBeAskedAgainAndLeavesItsInputsAlone) {
  for (const NamedLoss& loss : all_losses()) {
    SCOPED_TRACE(loss.name);
    const Tensor input = torch::log_softmax(logits(5, 3), 1);
    const Tensor target = loss.target(5, 3);
    const Tensor input_before = input.clone();
    const Tensor target_before = target.clone();
    const std::unique_ptr<Loss> ours = loss.make(Reduction::mean);
    ours->forward(input, target);
    const Tensor once = ours->backward().clone();
    EXPECT_TRUE(ours->backward().equal(once));
    EXPECT_TRUE(input.equal(input_before));
    EXPECT_TRUE(target.equal(target_before));
  }
}

TEST_F(MoreLossesTest, LabelsOfAMatrixMatchForEveryReduction) {
  expect_matches_oracles(
      plain<LogLikelihoodLoss>(),
      [](const Tensor& input, const Tensor& target, Reduction reduction) {
        const Tensor losses = -(target * input).sum(1);
        return reduction == Reduction::mean  ? losses.mean()
               : reduction == Reduction::sum ? losses.sum()
                                             : losses;
      },
      logits(6, 4), torch::rand({6, 4}, torch::kDouble));
}

TEST_F(MoreLossesTest, WrongOptionsAndShapesAreRefused) {
  using Wrong = std::invalid_argument;
  EXPECT_THROW(WeightedCrossEntropyLoss({}, -0.1), Wrong);
  EXPECT_THROW(WeightedCrossEntropyLoss({}, 1.1), Wrong);
  EXPECT_THROW(SoftCrossEntropyLoss({.label_smoothing = 1.1}), Wrong);
  EXPECT_THROW(HuberLoss(Reduction::mean, 0), Wrong);
  EXPECT_THROW(SmoothL1Loss(Reduction::mean, -1), Wrong);
  const Tensor x = logits(2, 3);
  EXPECT_THROW(MSELoss().forward(x, logits(2, 1)), Wrong)
      << "LibTorch broadcasts with a warning; nobody means it";
  EXPECT_THROW(SoftCrossEntropyLoss().forward(x, logits(3, 3)), Wrong);
  EXPECT_THROW(BCEWithLogitsLoss().forward(x, logits(3, 3)), Wrong);
  EXPECT_THROW(KLDivLoss().forward(x, logits(3, 3)), Wrong);
  EXPECT_ANY_THROW(NLLLoss().forward(x, torch::tensor({0, 3}, torch::kLong))) << "there are classes 0, 1, 2";
}

TEST_F(MoreLossesTest, TheOraclesTellTheVariantsApart) {
  // The same check with the wrong reference has to see a difference.
  const Tensor input = logits(6, 4);
  const Tensor target = classes(6, 4);
  const auto gradient = [&](Loss&& loss, const Tensor& t) {
    loss.forward(input, t);
    return loss.backward().clone();
  };
  const Tensor plain_gradient = gradient(CrossEntropyLoss(), target);
  EXPECT_GT(relative_error(plain_gradient, gradient(WeightedCrossEntropyLoss({}, 0.1), target)), 1e-2);
  EXPECT_GT(relative_error(plain_gradient,
                           gradient(WeightedCrossEntropyLoss({.class_weights = class_weights(4)}), target)),
            1e-2);
  EXPECT_GT(relative_error(gradient(KLDivLoss(), input), gradient(KLDivLoss({.batch_mean = true}), input)),
            1);
  EXPECT_GT(relative_error(gradient(HuberLoss(), input * 2),
                           gradient(SmoothL1Loss(Reduction::mean, 0.5), input * 2)),
            1e-2);
}

}  // namespace
}  // namespace twingrad
