#include <gtest/gtest.h>
#include <torch/torch.h>

#include "beside_torch.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/sgd.h"

namespace twingrad {
namespace {

using namespace optim;

using testing::kBound;
using testing::largest_distance;

double sgd_distance(const SGDOptions& options) {
  SGD ours(options);
  return largest_distance(ours, [&](const Tensor& leaf) {
    return std::make_unique<torch::optim::SGD>(std::vector<Tensor>{leaf},
                                               torch::optim::SGDOptions(options.lr)
                                                   .momentum(options.momentum)
                                                   .dampening(options.dampening)
                                                   .weight_decay(options.weight_decay)
                                                   .nesterov(options.nesterov));
  });
}

TEST(SGD, WalksWithTorchOptim) {
  EXPECT_LE(sgd_distance({.lr = 0.01}), kBound);
  EXPECT_LE(sgd_distance({.lr = 0.01, .weight_decay = 0.1}), kBound);
  EXPECT_LE(sgd_distance({.lr = 0.01, .momentum = 0.9}), kBound);
  EXPECT_LE(sgd_distance({.lr = 0.01, .momentum = 0.9, .dampening = 0.5}), kBound);
  EXPECT_LE(sgd_distance({.lr = 0.01, .momentum = 0.9, .nesterov = true}), kBound);
  EXPECT_LE(sgd_distance({.lr = 0.01, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true}), kBound);
}

TEST(SGD, LeavesTheGradientsAsTheyAre) {
  SGD optimizer({.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true});
  Tensor parameters = torch::ones({4});
  const Tensor gradients = torch::ones({4});
  optimizer.step(parameters, gradients);
  optimizer.step(parameters, gradients);
  EXPECT_TRUE(gradients.equal(torch::ones({4})));
}

double adam_distance(const AdamOptions& options) {
  Adam ours(options);
  return largest_distance(ours, [&](const Tensor& leaf) -> std::unique_ptr<torch::optim::Optimizer> {
    const std::vector<Tensor> leaves = {leaf};
    if (options.decoupled) {
      return std::make_unique<torch::optim::AdamW>(
          leaves, torch::optim::AdamWOptions(options.lr).eps(options.eps).weight_decay(options.weight_decay));
    }
    return std::make_unique<torch::optim::Adam>(
        leaves, torch::optim::AdamOptions(options.lr).eps(options.eps).weight_decay(options.weight_decay));
  });
}

TEST(Adam, WalksWithTorchOptim) {
  EXPECT_LE(adam_distance({}), kBound);
  EXPECT_LE(adam_distance({.lr = 0.1}), kBound);
  EXPECT_LE(adam_distance({.weight_decay = 0.1}), kBound);
  EXPECT_LE(adam_distance({.weight_decay = 0.1, .decoupled = true}), kBound);
}

TEST(Adam, TheWalkRejectsAWrongRule) {
  // The same walk with the decay in the wrong place must part from torch::optim.
  Adam coupled({.weight_decay = 0.1});
  EXPECT_GT(largest_distance(coupled,
                             [](const Tensor& leaf) {
                               return std::make_unique<torch::optim::AdamW>(
                                   std::vector<Tensor>{leaf},
                                   torch::optim::AdamWOptions(1e-3).weight_decay(0.1));
                             }),
            1e-6);
}

TEST(Adam, PutsEpsilonOutsideTheRoot) {
  // A step from 0 with g = 1e-9, learning rate 1: −g/(g + 1e-8) = −0.0909. With epsilon beside the
  // uncorrected root it would be −0.00315, and no gradient of ordinary size would show it.
  Adam optimizer({.lr = 1});
  Tensor parameters = torch::zeros({1}, torch::kDouble);
  optimizer.step(parameters, torch::full({1}, 1e-9, torch::kDouble));
  EXPECT_NEAR(parameters.item<double>(), -1.0 / 11, 1e-12);
}

TEST(Adam, OnePassDoesWhatTheTensorOperationsDo) {
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    for (const AdamOptions& options : {AdamOptions{}, AdamOptions{.weight_decay = 0.1},
                                       AdamOptions{.weight_decay = 0.1, .decoupled = true}}) {
      torch::manual_seed(9);
      const Tensor start = torch::randn({1003}, dtype);
      Tensor contiguous = start.clone();
      // Every second entry of a vector is not contiguous: that takes the general path.
      Tensor strided = torch::zeros({1003, 2}, dtype).select(1, 0);
      strided.copy_(start);
      Adam one_pass(options);
      Adam general(options);
      for (int step = 0; step < 50; ++step) {
        const Tensor gradient = torch::randn({1003}, dtype);
        one_pass.step(contiguous, gradient);
        general.step(strided, gradient);
      }
      // 50 steps, some four roundings each, of parameters of size up to 4.
      const double epsilon = dtype == torch::kFloat ? std::numeric_limits<float>::epsilon()
                                                    : std::numeric_limits<double>::epsilon();
      EXPECT_LE(difference(strided, contiguous).absolute, 400 * epsilon);
    }
  }
}

TEST(Adam, StepsByTheSumOfPartsBitForBitAsByTheirSum) {
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    for (const std::int64_t size : {1, 127, 128, 1003}) {
      torch::manual_seed(11);
      const Tensor start = torch::randn({size}, dtype);
      Tensor by_parts = start.clone();
      Tensor by_sum = start.clone();
      Adam of_parts({.weight_decay = 0.1});
      Adam of_sum({.weight_decay = 0.1});
      for (int step = 0; step < 3; ++step) {
        const std::vector<Tensor> parts = {torch::randn({size}, dtype), torch::randn({size}, dtype),
                                           torch::randn({size}, dtype)};
        const Tensor first = parts[0].clone();
        of_parts.step(by_parts, parts);
        of_sum.step(by_sum, parts[0] + parts[1] + parts[2]);
        EXPECT_TRUE(parts[0].equal(first));
        ASSERT_TRUE(by_parts.equal(by_sum)) << "size " << size << ", step " << step;
      }
      EXPECT_EQ(of_parts.steps(), 3);
    }
  }
}

TEST(Adam, NaNInAGradientReachesTheParameter) {
  Adam optimizer({});
  Tensor parameters = torch::zeros({20});
  Tensor gradients = torch::ones({20});
  gradients[13] = NAN;
  optimizer.step(parameters, gradients);
  EXPECT_EQ(parameters.isnan().sum().item<int>(), 1);
  EXPECT_TRUE(parameters[13].isnan().item<bool>());
}

}  // namespace
}  // namespace twingrad
