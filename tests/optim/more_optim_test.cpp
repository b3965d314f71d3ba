#include <gtest/gtest.h>
#include <torch/torch.h>

#include "beside_torch.h"
#include "twingrad/optim/adagrad.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/clip_by_norm.h"
#include "twingrad/optim/rmsprop.h"
#include "twingrad/optim/sgd.h"

namespace twingrad {
namespace {

using namespace optim;

using testing::kBound;
using testing::largest_distance;
using testing::relative_error;
using TorchOptimizer = std::unique_ptr<torch::optim::Optimizer>;

// ---- Adam with amsgrad
// ---------------------------------------------------------------------------------------------

double amsgrad_distance(const AdamOptions& options) {
  Adam ours(options);
  return largest_distance(ours, [&](const Tensor& leaf) -> TorchOptimizer {
    const std::vector<Tensor> leaves = {leaf};
    if (options.decoupled) {
      return std::make_unique<torch::optim::AdamW>(
          leaves, torch::optim::AdamWOptions(options.lr).weight_decay(options.weight_decay).amsgrad(true));
    }
    return std::make_unique<torch::optim::Adam>(
        leaves, torch::optim::AdamOptions(options.lr).weight_decay(options.weight_decay).amsgrad(true));
  });
}

TEST(AMSGrad, WalksWithTorchOptim) {
  EXPECT_LE(amsgrad_distance({.amsgrad = true}), kBound);
  EXPECT_LE(amsgrad_distance({.lr = 0.1, .amsgrad = true}), kBound);
  EXPECT_LE(amsgrad_distance({.weight_decay = 0.1, .amsgrad = true}), kBound);
  EXPECT_LE(amsgrad_distance({.weight_decay = 0.1, .decoupled = true, .amsgrad = true}), kBound);
}

TEST(AMSGrad, IsNotAdam) {
  EXPECT_GT(amsgrad_distance({.amsgrad = false}), 1e-6) << "the walk must tell them apart";
}

TEST(AMSGrad, RemembersALargeGradientForGood) {
  // After one gradient of 1 and many of 0, v has forgotten it (0.999^20000 = 2e-9), the largest v has not.
  Adam adam({.lr = 1});
  Adam amsgrad({.lr = 1, .amsgrad = true});
  Tensor by_adam = torch::zeros({1}, torch::kDouble);
  Tensor by_amsgrad = torch::zeros({1}, torch::kDouble);
  const auto step = [&](double gradient) {
    const double old_adam = by_adam.item<double>();
    const double old_amsgrad = by_amsgrad.item<double>();
    adam.step(by_adam, torch::full({1}, gradient, torch::kDouble));
    amsgrad.step(by_amsgrad, torch::full({1}, gradient, torch::kDouble));
    return std::pair(std::abs(by_adam.item<double>() - old_adam),
                     std::abs(by_amsgrad.item<double>() - old_amsgrad));
  };
  step(1);
  for (int i = 0; i < 20000; ++i) {
    step(0);
  }
  const auto [of_adam, of_amsgrad] = step(1e-3);
  EXPECT_GT(of_adam, 1);          // m̂/√v̂ of a lone gradient: 0.1 / √0.001 = 3.2
  EXPECT_LT(of_amsgrad, 0.0033);  // held against √(largest v) = √0.001, that of a gradient of 1
}

// ---- RMSprop
// --------------------------------------------------------------------------------------------------------

double rmsprop_distance(const RMSpropOptions& options) {
  RMSprop ours(options);
  return largest_distance(ours, [&](const Tensor& leaf) {
    return std::make_unique<torch::optim::RMSprop>(std::vector<Tensor>{leaf},
                                                   torch::optim::RMSpropOptions(options.lr)
                                                       .alpha(options.alpha)
                                                       .eps(options.eps)
                                                       .weight_decay(options.weight_decay)
                                                       .momentum(options.momentum)
                                                       .centered(options.centered));
  });
}

TEST(RMSprop, WalksWithTorchOptim) {
  EXPECT_LE(rmsprop_distance({}), kBound);
  EXPECT_LE(rmsprop_distance({.lr = 1e-3, .alpha = 0.9}), kBound);
  EXPECT_LE(rmsprop_distance({.eps = 1e-3}), kBound);
  EXPECT_LE(rmsprop_distance({.weight_decay = 0.1}), kBound);
  EXPECT_LE(rmsprop_distance({.momentum = 0.9}), kBound);
  EXPECT_LE(rmsprop_distance({.centered = true}), kBound);
  EXPECT_LE(rmsprop_distance({.weight_decay = 0.1, .momentum = 0.9, .centered = true}), kBound);
}

TEST(RMSprop, HasTheDefaultsOfTorchOptim) {
  RMSprop ours({});
  EXPECT_LE(largest_distance(ours,
                             [](const Tensor& leaf) {
                               return std::make_unique<torch::optim::RMSprop>(std::vector{leaf});
                             }),
            kBound);
}

TEST(RMSprop, TheWalkRejectsAWrongRule) {
  RMSprop ours({.centered = true});
  EXPECT_GT(largest_distance(ours,
                             [](const Tensor& leaf) {
                               return std::make_unique<torch::optim::RMSprop>(std::vector{leaf});
                             }),
            1e-6);
}

// ---- Adagrad
// --------------------------------------------------------------------------------------------------------

double adagrad_distance(const AdagradOptions& options) {
  Adagrad ours(options);
  return largest_distance(ours, [&](const Tensor& leaf) {
    return std::make_unique<torch::optim::Adagrad>(
        std::vector<Tensor>{leaf}, torch::optim::AdagradOptions(options.lr)
                                       .lr_decay(options.lr_decay)
                                       .weight_decay(options.weight_decay)
                                       .initial_accumulator_value(options.initial_accumulator_value)
                                       .eps(options.eps));
  });
}

TEST(Adagrad, WalksWithTorchOptim) {
  EXPECT_LE(adagrad_distance({}), kBound);
  EXPECT_LE(adagrad_distance({.lr_decay = 0.01}), kBound);
  EXPECT_LE(adagrad_distance({.weight_decay = 0.1}), kBound);
  EXPECT_LE(adagrad_distance({.initial_accumulator_value = 0.1}), kBound);
  EXPECT_LE(adagrad_distance({.eps = 1e-3}), kBound);
  EXPECT_LE(
      adagrad_distance({.lr = 0.1, .lr_decay = 0.01, .weight_decay = 0.1, .initial_accumulator_value = 1e-4}),
      kBound);
}

TEST(Adagrad, HasTheDefaultsOfTorchOptim) {
  Adagrad ours({});
  EXPECT_LE(largest_distance(ours,
                             [](const Tensor& leaf) {
                               return std::make_unique<torch::optim::Adagrad>(std::vector{leaf});
                             }),
            kBound);
}

TEST(Adagrad, TheWalkRejectsAWrongRule) {
  Adagrad ours({.initial_accumulator_value = 0.1});
  EXPECT_GT(largest_distance(ours,
                             [](const Tensor& leaf) {
                               return std::make_unique<torch::optim::Adagrad>(std::vector{leaf});
                             }),
            1e-6);
}

// ---- What all optimizers have in common
// -----------------------------------------------------------------------------

TEST(Optimizers, TakeANewLearningRateBetweenSteps) {
  const auto follows = [](Optimizer& ours, auto make, auto options) {
    using Options = decltype(options);
    const auto before_step = [](std::int64_t step, Optimizer& by_hand, torch::optim::Optimizer& theirs) {
      const double rate = 0.01 / (1 + 0.1 * static_cast<double>(step));
      by_hand.set_lr(rate);
      static_cast<Options&>(theirs.param_groups()[0].options()).lr(rate);
    };
    return largest_distance(ours, make, before_step);
  };
  SGD sgd({.momentum = 0.9});
  EXPECT_LE(follows(
                sgd,
                [](const Tensor& leaf) {
                  return std::make_unique<torch::optim::SGD>(std::vector{leaf},
                                                             torch::optim::SGDOptions(1).momentum(0.9));
                },
                torch::optim::SGDOptions(1)),
            kBound);
  Adam adam({});
  EXPECT_LE(
      follows(
          adam, [](const Tensor& leaf) { return std::make_unique<torch::optim::Adam>(std::vector{leaf}); },
          torch::optim::AdamOptions()),
      kBound);
  RMSprop rmsprop({});
  EXPECT_LE(follows(
                rmsprop,
                [](const Tensor& leaf) { return std::make_unique<torch::optim::RMSprop>(std::vector{leaf}); },
                torch::optim::RMSpropOptions()),
            kBound);
  Adagrad adagrad({});
  EXPECT_LE(follows(
                adagrad,
                [](const Tensor& leaf) { return std::make_unique<torch::optim::Adagrad>(std::vector{leaf}); },
                torch::optim::AdagradOptions()),
            kBound);
}

TEST(Optimizers, RefuseWhatTorchOptimRefuses) {
  using Wrong = std::invalid_argument;
  EXPECT_THROW(SGD({.lr = -1}), Wrong);
  EXPECT_THROW(SGD({.lr = NAN}), Wrong);
  EXPECT_THROW(SGD({.momentum = -0.1}), Wrong);
  EXPECT_THROW(SGD({.weight_decay = -0.1}), Wrong);
  EXPECT_THROW(SGD({.nesterov = true}), Wrong) << "Nesterov's rule without momentum";
  EXPECT_THROW(SGD({.momentum = 0.9, .dampening = 0.1, .nesterov = true}), Wrong);
  EXPECT_NO_THROW(SGD({.momentum = 0.9, .nesterov = true}));
  EXPECT_NO_THROW(SGD({.lr = 0}));
  EXPECT_THROW(Adam({.betas = {1, 0.999}}), Wrong);
  EXPECT_THROW(Adam({.betas = {0.9, 1}}), Wrong);
  EXPECT_THROW(Adam({.betas = {0.9, -0.1}}), Wrong);
  EXPECT_THROW(Adam({.eps = -1e-8}), Wrong);
  EXPECT_THROW(RMSprop({.alpha = -0.1}), Wrong);
  EXPECT_THROW(RMSprop({.momentum = -0.1}), Wrong);
  EXPECT_THROW(Adagrad({.initial_accumulator_value = -1}), Wrong);
  EXPECT_THROW(Adagrad({.lr_decay = -1}), Wrong);
}

TEST(Optimizers, LeaveTheGradientsAsTheyAreAndTakeNone) {
  const auto holds = [](auto&& optimizer) {
    Tensor parameters = torch::ones({4});
    const Tensor gradients = torch::full({4}, 2.0);
    optimizer.step(parameters, gradients);
    optimizer.step(parameters, gradients);
    return gradients.equal(torch::full({4}, 2.0)) && !parameters.equal(torch::ones({4}));
  };
  EXPECT_TRUE(holds(Adam({.weight_decay = 0.1, .amsgrad = true})));
  EXPECT_TRUE(holds(RMSprop({.weight_decay = 0.1, .momentum = 0.9, .centered = true})));
  EXPECT_TRUE(holds(Adagrad({.weight_decay = 0.1})));
  Tensor nothing = torch::zeros({0});
  EXPECT_NO_THROW(Adam({.amsgrad = true}).step(nothing, torch::zeros({0})));
  EXPECT_NO_THROW(RMSprop({.momentum = 0.9, .centered = true}).step(nothing, torch::zeros({0})));
  EXPECT_NO_THROW(Adagrad({}).step(nothing, torch::zeros({0})));
}

TEST(Optimizers, StayAtRestWhereTheGradientIsZero) {
  const auto moves = [](auto&& optimizer) {
    Tensor parameters = torch::ones({3}, torch::kDouble);
    optimizer.step(parameters, torch::zeros({3}, torch::kDouble));
    return !parameters.equal(torch::ones({3}, torch::kDouble));
  };
  EXPECT_FALSE(moves(Adam({.amsgrad = true})));
  EXPECT_FALSE(moves(RMSprop({.momentum = 0.9, .centered = true})));
  EXPECT_FALSE(moves(Adagrad({}))) << "0 / (√0 + 1e-10)";
}

TEST(Optimizers, Float32FollowsFloat64) {
  const auto distance = [](auto&& in_float, auto&& in_double) {
    torch::manual_seed(2);
    Tensor single = torch::ones({50});
    Tensor twice = torch::ones({50}, torch::kDouble);
    for (int step = 0; step < 100; ++step) {
      const Tensor gradient = torch::randn({50});
      in_float.step(single, gradient);
      in_double.step(twice, gradient.to(torch::kDouble));
    }
    return relative_error(twice, single);
  };
  // 100 steps of half a rounding each, of parameters of size 1, and as much again from the steps' own.
  const double bound = 100 * std::numeric_limits<float>::epsilon();
  EXPECT_LE(distance(Adam({.amsgrad = true}), Adam({.amsgrad = true})), bound);
  EXPECT_LE(distance(RMSprop({.centered = true}), RMSprop({.centered = true})), bound);
  EXPECT_LE(distance(Adagrad({}), Adagrad({})), bound);
}

// ---- Clipping
// -------------------------------------------------------------------------------------------------------

/// Three tensors of a network, once with their gradients apart, once flat.
struct Gradients {
  explicit Gradients(double size) {
    torch::manual_seed(8);
    for (const std::int64_t count : {12, 3, 30}) {
      Tensor leaf = torch::zeros({count}, torch::kDouble).requires_grad_();
      leaf.mutable_grad() = torch::randn({count}, torch::kDouble) * size;
      leaves.push_back(leaf);
    }
    flat = theirs();
  }
  Tensor theirs() const { return torch::cat({leaves[0].grad(), leaves[1].grad(), leaves[2].grad()}); }
  std::vector<Tensor> leaves;
  Tensor flat;
};

TEST(ClipByNorm, DoesWhatClipGradNormDoes) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double norm_type : {2.0, 1.0, 3.5, infinity}) {
    for (const double size : {1e-9, 0.01, 1.0, 1e4}) {
      SCOPED_TRACE(::testing::Message() << "norm " << norm_type << ", gradients of size " << size);
      Gradients gradients(size);
      const double theirs = torch::nn::utils::clip_grad_norm_(gradients.leaves, 1.0, norm_type);
      const double ours = clip_by_norm(gradients.flat, 1.0, norm_type);
      // The norm of three norms against that of all: some ten roundings of 1e-16, and powers cost a few more.
      EXPECT_NEAR(ours, theirs, 1e-14 * theirs);
      EXPECT_LE(relative_error(gradients.theirs(), gradients.flat), 1e-14);
    }
  }
}

TEST(ClipByNorm, LeavesAShortGradientAsItIs) {
  Gradients gradients(0.01);
  const Tensor before = gradients.flat.clone();
  EXPECT_LT(clip_by_norm(gradients.flat, 1.0), 1.0);
  EXPECT_TRUE(gradients.flat.equal(before));
}

TEST(ClipByNorm, EndsAMillionthBelowTheBound) {
  Tensor gradients = torch::tensor({3.0, 4.0}, torch::kDouble);
  EXPECT_DOUBLE_EQ(clip_by_norm(gradients, 1.0), 5.0);
  EXPECT_DOUBLE_EQ(gradients.norm().item<double>(), 5.0 / (5.0 + 1e-6));
}

TEST(ClipByNorm, TreatsANormThatIsNotFiniteAsLibTorchDoes) {
  for (const double bad : {static_cast<double>(NAN), std::numeric_limits<double>::infinity()}) {
    Gradients gradients(1);
    gradients.leaves[0].mutable_grad()[5] = bad;
    gradients.flat = gradients.theirs();
    torch::nn::utils::clip_grad_norm_(gradients.leaves, 1.0);
    clip_by_norm(gradients.flat, 1);
    EXPECT_TRUE(gradients.flat.allclose(gradients.theirs(), 0, 0, /*equal_nan=*/true));
  }
}

TEST(ClipByNorm, TakesNoEntriesAndRefusesWrongOptions) {
  Tensor nothing = torch::zeros({0});
  EXPECT_EQ(clip_by_norm(nothing, 1), 0);
  Tensor one = torch::ones({1});
  EXPECT_THROW(clip_by_norm(one, -1), std::invalid_argument);
  EXPECT_THROW(clip_by_norm(one, 1, 0), std::invalid_argument);
}

}  // namespace
}  // namespace twingrad
