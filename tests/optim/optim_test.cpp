#include <gtest/gtest.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <limits>

#include "../catalogue/expect_agreement.h"
#include "twingrad/compare/difference.h"
#include "twingrad/mlp/torch_reference_optimizer.h"
#include "twingrad/optim/adagrad.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/clip_by_norm.h"
#include "twingrad/optim/make_optimizer.h"
#include "twingrad/optim/rmsprop.h"
#include "twingrad/optim/sgd.h"

// The catalogue compares each optimizer with torch::optim for typical options, walk_test.cpp for all
// combinations. These tests cover defaults, edge cases and misuse.

namespace twingrad::optim {
namespace {

using Kind = OptimizerOptions::Kind;

TEST(Optimizers, HaveTheDefaultsOfTorchOptim) {
  const torch::optim::SGDOptions sgd(0.01);  // LibTorch requires a learning rate
  const auto of_sgd = [](const auto& o) {
    return std::tuple(o.momentum, o.dampening, o.weight_decay, o.nesterov);
  };
  EXPECT_EQ(of_sgd(SGDOptions()),
            std::tuple(sgd.momentum(), sgd.dampening(), sgd.weight_decay(), sgd.nesterov()));
  EXPECT_EQ(of_sgd(default_options(Kind::sgd)), of_sgd(SGDOptions()));
  const torch::optim::AdamOptions adam;
  const auto of_adam = [](const auto& o) { return std::tuple(o.lr, o.eps, o.weight_decay, o.amsgrad); };
  const OptimizerOptions adam_options = default_options(Kind::adam);
  EXPECT_EQ(of_adam(AdamOptions()), std::tuple(adam.lr(), adam.eps(), adam.weight_decay(), adam.amsgrad()));
  EXPECT_FALSE(AdamOptions().decoupled);
  EXPECT_EQ(of_adam(adam_options), of_adam(AdamOptions()));
  EXPECT_EQ((std::tuple<double, double>(AdamOptions().betas)), adam.betas());
  EXPECT_EQ(std::tuple(adam_options.beta1, adam_options.beta2), adam.betas());
  const torch::optim::AdamWOptions adamw;
  const OptimizerOptions adamw_options = default_options(Kind::adamw);
  EXPECT_EQ(of_adam(adamw_options),
            std::tuple(adamw.lr(), adamw.eps(), adamw.weight_decay(), adamw.amsgrad()));
  EXPECT_EQ(std::tuple(adamw_options.beta1, adamw_options.beta2), adamw.betas());
  const torch::optim::RMSpropOptions rmsprop;
  const auto of_rmsprop = [](const auto& o) {
    return std::tuple(o.lr, o.alpha, o.eps, o.momentum, o.weight_decay, o.centered);
  };
  EXPECT_EQ(of_rmsprop(RMSpropOptions()),
            std::tuple(rmsprop.lr(), rmsprop.alpha(), rmsprop.eps(), rmsprop.momentum(),
                       rmsprop.weight_decay(), rmsprop.centered()));
  EXPECT_EQ(of_rmsprop(default_options(Kind::rmsprop)), of_rmsprop(RMSpropOptions()));
  const torch::optim::AdagradOptions adagrad;
  const auto of_adagrad = [](const auto& o) {
    return std::tuple(o.lr, o.lr_decay, o.eps, o.initial_accumulator_value, o.weight_decay);
  };
  EXPECT_EQ(of_adagrad(AdagradOptions()),
            std::tuple(adagrad.lr(), adagrad.lr_decay(), adagrad.eps(), adagrad.initial_accumulator_value(),
                       adagrad.weight_decay()));
  EXPECT_EQ(of_adagrad(default_options(Kind::adagrad)), of_adagrad(AdagradOptions()));
}

/// Expects that the optimizer refuses a negative option and NaN, and accepts 0.
template <typename Optimizer, typename Options>
void expect_not_negative(double Options::*option) {
  for (const double value : {-1e-300, -1.0, static_cast<double>(NAN)}) {
    Options options;
    options.*option = value;
    EXPECT_THROW(Optimizer{options}, std::invalid_argument) << value;
  }
  Options zero;
  zero.*option = 0;
  EXPECT_NO_THROW(Optimizer{zero});
}

TEST(Optimizers, RejectNegativeOptionsAndAcceptZero) {
  for (const auto option : {&SGDOptions::lr, &SGDOptions::momentum, &SGDOptions::weight_decay}) {
    expect_not_negative<SGD>(option);
  }
  for (const auto option : {&AdamOptions::lr, &AdamOptions::eps, &AdamOptions::weight_decay}) {
    expect_not_negative<Adam>(option);
  }
  for (const auto option : {&RMSpropOptions::lr, &RMSpropOptions::alpha, &RMSpropOptions::eps,
                            &RMSpropOptions::weight_decay, &RMSpropOptions::momentum}) {
    expect_not_negative<RMSprop>(option);
  }
  for (const auto option : {&AdagradOptions::lr, &AdagradOptions::lr_decay, &AdagradOptions::weight_decay,
                            &AdagradOptions::initial_accumulator_value, &AdagradOptions::eps}) {
    expect_not_negative<Adagrad>(option);
  }
}

TEST(Optimizers, RejectWhatTorchOptimRejects) {
  using Wrong = std::invalid_argument;
  EXPECT_THROW(SGD({.nesterov = true}), Wrong) << "Nesterov's rule without momentum";
  EXPECT_THROW(SGD({.momentum = 0.9, .dampening = 1e-9, .nesterov = true}), Wrong);
  EXPECT_NO_THROW(SGD({.momentum = 1e-9, .nesterov = true}));
  EXPECT_NO_THROW(SGD({.momentum = 0.9, .dampening = 1}));
  constexpr double kBelow1 = 1 - 0x1p-53;
  for (const double beta : {1.0, 1.5, -0.1, static_cast<double>(NAN)}) {
    EXPECT_THROW(Adam({.betas = {beta, 0.999}}), Wrong) << beta;
    EXPECT_THROW(Adam({.betas = {0.9, beta}}), Wrong) << beta;
  }
  EXPECT_NO_THROW(Adam({.betas = {0, kBelow1}}));
  EXPECT_NO_THROW(Adam({.betas = {kBelow1, 0}}));
}

TEST(Optimizers, DoNotChangeTheGradientsAndAcceptNoParameters) {
  const auto check = [](auto&& optimizer, auto&& other) {
    Tensor parameters = at::ones({4});
    const Tensor gradients = at::full({4}, 2.0);
    optimizer.step(parameters, gradients);
    optimizer.step(parameters, gradients);
    EXPECT_TRUE(gradients.eq(2).all().item<bool>());
    EXPECT_FALSE(parameters.eq(1).any().item<bool>());
    Tensor nothing = at::zeros({0});
    EXPECT_NO_THROW(other.step(nothing, at::zeros({0})));
  };
  const SGDOptions sgd = {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true};
  check(SGD(sgd), SGD(sgd));
  const AdamOptions adam = {.weight_decay = 0.1, .amsgrad = true};
  check(Adam(adam), Adam(adam));
  const RMSpropOptions rmsprop = {.weight_decay = 0.1, .momentum = 0.9, .centered = true};
  check(RMSprop(rmsprop), RMSprop(rmsprop));
  check(Adagrad({.weight_decay = 0.1}), Adagrad({}));
}

TEST(Optimizers, DoNotMoveWhereTheGradientIsZero) {
  const auto moves = [](auto&& optimizer) {
    Tensor parameters = at::ones({3}, at::kDouble);
    optimizer.step(parameters, at::zeros({3}, at::kDouble));
    return !parameters.equal(at::ones({3}, at::kDouble));
  };
  EXPECT_FALSE(moves(Adam({.amsgrad = true})));
  EXPECT_FALSE(moves(RMSprop({.momentum = 0.9, .centered = true})));
  EXPECT_FALSE(moves(Adagrad({}))) << "0 / (√0 + 1e-10)";
}

TEST(Optimizers, Float32FollowsFloat64OverManySteps) {
  // The catalogue starts every float32 step from LibTorch's parameters.
  const auto distance = [](auto&& in_float, auto&& in_double) {
    Tensor single = at::ones({50});
    Tensor twice = at::ones({50}, at::kDouble);
    for (int step = 0; step < 100; ++step) {
      const Tensor gradient = catalogue::draw({50}).to(at::kFloat);
      in_float.step(single, gradient);
      in_double.step(twice, gradient.to(at::kDouble));
    }
    return difference(twice, single).relative;
  };
  catalogue::restart_draws();
  // 100 steps with half a rounding each of parameters of size 1, and as much from rounding within the steps.
  const double bound = 100 * std::numeric_limits<float>::epsilon();
  EXPECT_LE(distance(Adam({.amsgrad = true}), Adam({.amsgrad = true})), bound);
  EXPECT_LE(distance(RMSprop({.centered = true}), RMSprop({.centered = true})), bound);
  EXPECT_LE(distance(Adagrad({}), Adagrad({})), bound);
}

TEST(Adam, PutsEpsilonOutsideTheRoot) {
  // A step from 0 with g = 1e-9 and learning rate 1: −g/(g + 1e-8) = −0.0909. With epsilon added to the
  // uncorrected root it would be −0.00315. Gradients of ordinary size would not reveal the difference.
  Adam optimizer({.lr = 1});
  Tensor parameters = at::zeros({1}, at::kDouble);
  optimizer.step(parameters, at::full({1}, 1e-9, at::kDouble));
  EXPECT_NEAR(parameters.item<double>(), -1.0 / 11, 1e-12);
}

TEST(Adam, NaNInAGradientReachesTheParameter) {
  Adam optimizer({});
  Tensor parameters = at::zeros({20});
  Tensor gradients = at::ones({20});
  gradients[13] = NAN;
  optimizer.step(parameters, gradients);
  EXPECT_EQ(parameters.isnan().sum().item<int>(), 1);
  EXPECT_TRUE(parameters[13].isnan().item<bool>());
}

TEST(AMSGrad, RemembersALargeGradient) {
  // After one gradient of 1 and many of 0, v has decayed (0.999^20000 = 2e-9); the largest v has not.
  const auto last_step_of = [](Adam adam) {
    Tensor parameters = at::zeros({1}, at::kDouble);
    adam.step(parameters, at::ones({1}, at::kDouble));
    for (int i = 0; i < 20000; ++i) {
      adam.step(parameters, at::zeros({1}, at::kDouble));
    }
    const double before = parameters.item<double>();
    adam.step(parameters, at::full({1}, 1e-3, at::kDouble));
    return std::abs(parameters.item<double>() - before);
  };
  EXPECT_GT(last_step_of(Adam({.lr = 1})), 1);  // m̂/√v̂ of a single gradient: 0.1 / √0.001 = 3.2
  EXPECT_LT(last_step_of(Adam({.lr = 1, .amsgrad = true})), 0.0033);  // divided by √(largest v) = √0.001
}

// ---- Clipping ----

/// The gradients of three parameters in one tensor, clipped by this library and by LibTorch.
struct Clipped {
  Clipped(const Tensor& gradients, double norm_type) : ours(gradients.clone()), theirs(gradients.clone()) {
    const double norm = torch_reference::clip_grad_norm(theirs.split_with_sizes({12, 3, 30}), 1, norm_type);
    norm_error = std::abs(clip_by_norm(ours, 1, norm_type) - norm) / norm;
  }
  Tensor ours, theirs;
  double norm_error;  ///< relative to LibTorch's norm
};

TEST(ClipByNorm, AgreesWithClipGradNormForEveryNormAndSize) {
  for (const double norm_type : {2.0, 1.0, 0.5, 3.5, std::numeric_limits<double>::infinity()}) {
    for (const double size : {1e-9, 0.01, 1.0, 1e4}) {
      SCOPED_TRACE(::testing::Message() << "norm " << norm_type << ", gradients of size " << size);
      // The norm of three norms and the norm of all entries differ by about ten roundings, with powers a few
      // more.
      const Clipped clipped(catalogue::draw({45}, size), norm_type);
      EXPECT_LE(clipped.norm_error, 1e-14);
      EXPECT_LE(difference(clipped.theirs, clipped.ours).relative, 1e-14);
    }
  }
}

TEST(ClipByNorm, DoesNotChangeAShortGradient) {
  Tensor gradients = catalogue::draw({45}, 0.01);
  const Tensor before = gradients.clone();
  EXPECT_LT(clip_by_norm(gradients, 1.0), 1.0);
  EXPECT_TRUE(gradients.equal(before));
}

TEST(ClipByNorm, AddsLibTorchsEpsilonToTheNorm) {
  Tensor gradients = at::tensor({3.0, 4.0}, at::kDouble);
  EXPECT_DOUBLE_EQ(clip_by_norm(gradients, 1.0), 5.0);
  EXPECT_DOUBLE_EQ(gradients.norm().item<double>(), 5.0 / (5.0 + 1e-6));
}

TEST(ClipByNorm, OnlyTheInfiniteNormIsTheLargestEntry) {
  Tensor gradients = at::ones({3}, at::kDouble);
  EXPECT_DOUBLE_EQ(clip_by_norm(gradients, 10, 1000), std::pow(3, 1e-3));
  EXPECT_EQ(clip_by_norm(gradients, 10, std::numeric_limits<double>::infinity()), 1);
}

TEST(ClipByNorm, TreatsANonFiniteNormAsLibTorchDoes) {
  for (const double bad : {static_cast<double>(NAN), std::numeric_limits<double>::infinity()}) {
    Tensor gradients = catalogue::draw({45});
    gradients[5] = bad;
    const Clipped clipped(gradients, 2);
    EXPECT_TRUE(clipped.ours.allclose(clipped.theirs, 0, 0, /*equal_nan=*/true));
  }
}

TEST(ClipByNorm, AGradientExactlyAtTheMaximumIsScaledByEpsilonOnly) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double norm_type : {1.0, 2.0, 3.0, kInfinity}) {
    Tensor one = at::tensor({0.0, -2.0, 0.0}, at::kDouble);  // of norm 2 for every p
    EXPECT_DOUBLE_EQ(clip_by_norm(one, 2, norm_type), 2);
    EXPECT_DOUBLE_EQ(one[1].item<double>(), -2 * (2 / (2 + 1e-6))) << norm_type;
    EXPECT_DOUBLE_EQ(clip_by_norm(one, 2, norm_type), 4 / (2 + 1e-6));
    const double before = one[1].item<double>();
    EXPECT_DOUBLE_EQ(clip_by_norm(one, 2 + 1e-6, norm_type), -before);
    EXPECT_EQ(one[1].item<double>(), before) << "a factor of 1";
    EXPECT_DOUBLE_EQ(clip_by_norm(one, 0, norm_type), -before);
    EXPECT_EQ(one.abs().max().item<double>(), 0) << "a maximum of 0";
    EXPECT_EQ(clip_by_norm(one, 1, norm_type), 0) << "the norm of zeros";
    EXPECT_EQ(one.abs().max().item<double>(), 0);
  }
}

TEST(ClipByNorm, AcceptsAnEmptyTensorAndRejectsInvalidOptions) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double norm_type : {1.0, 2.0, kInfinity}) {
    Tensor nothing = at::zeros({0});
    EXPECT_EQ(clip_by_norm(nothing, 1, norm_type), 0);
  }
  for (const auto& [max_norm, norm_type] :
       {std::pair{-1e-300, 2.0}, {NAN, 2.0}, {1.0, 0.0}, {1.0, -1.0}, {1.0, NAN}, {1.0, -kInfinity}}) {
    Tensor one = at::ones({1});
    EXPECT_THROW(clip_by_norm(one, max_norm, norm_type), std::invalid_argument) << max_norm << norm_type;
    Tensor nothing = at::zeros({0});
    EXPECT_THROW(clip_by_norm(nothing, max_norm, norm_type), std::invalid_argument);
    EXPECT_EQ(one.item<double>(), 1) << "unchanged";
  }
}

}  // namespace
}  // namespace twingrad::optim
