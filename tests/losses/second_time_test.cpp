#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../support/random_cases.h"
#include "../support/same_bits.h"
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

// A loss that has been used, with batches of other shapes, must compute the same bits as a new one.

namespace twingrad::nn {
namespace {

using testing::for_random_cases;
using testing::kExactFactor;
using testing::RandomCase;
using testing::same_bits;
using testing::same_values;

constexpr std::int64_t kIgnoredClass = 1;

/// The options of a random loss. Weights fix the number of columns and the dtype.
struct UsedLossOptions {
  Reduction reduction;
  bool weighted;
  std::int64_t ignore_index;
  double smoothing;
  bool flag;  ///< log_target
  bool batch_mean;
  at::ScalarType dtype;

  Tensor weights(double seed) const {
    return weighted ? (at::arange(4, at::kDouble) + seed).sin().abs().to(dtype) : Tensor();
  }
};

struct LossKindOfTest {
  std::string name;
  bool has_classes;  ///< the target is a class index
  std::function<std::unique_ptr<Loss>(const UsedLossOptions&)> make;
};

std::vector<LossKindOfTest> used_losses() {
  using Options = const UsedLossOptions&;
  const auto class_options = [](Options o) {
    return ClassLossOptions{o.reduction, o.weights(1), o.ignore_index};
  };
  return {
      {"cross_entropy", true, [](Options o) { return std::make_unique<CrossEntropyLoss>(o.reduction); }},
      {"weighted_cross_entropy", true,
       [=](Options o) { return std::make_unique<WeightedCrossEntropyLoss>(class_options(o), o.smoothing); }},
      {"nll", true, [=](Options o) { return std::make_unique<NLLLoss>(class_options(o)); }},
      {"soft_cross_entropy", false,
       [](Options o) {
         return std::make_unique<SoftCrossEntropyLoss>(
             SoftCrossEntropyLossOptions{o.reduction, o.weights(1), o.smoothing});
       }},
      {"bce_with_logits", false,
       [](Options o) {
         return std::make_unique<BCEWithLogitsLoss>(
             BCEWithLogitsLossOptions{o.reduction, o.weights(1), o.weights(2)});
       }},
      {"kl_div", false,
       [](Options o) {
         return std::make_unique<KLDivLoss>(KLDivLossOptions{o.reduction, o.flag, o.batch_mean});
       }},
      {"log_likelihood", false, [](Options o) { return std::make_unique<LogLikelihoodLoss>(o.reduction); }},
      {"mse", false, [](Options o) { return std::make_unique<MSELoss>(o.reduction); }},
      {"l1", false, [](Options o) { return std::make_unique<L1Loss>(o.reduction); }},
      {"huber", false, [](Options o) { return std::make_unique<HuberLoss>(o.reduction, 0.5); }},
      {"smooth_l1", false, [](Options o) { return std::make_unique<SmoothL1Loss>(o.reduction, 0.5); }}};
}

UsedLossOptions random_options(RandomCase& random) {
  return {.reduction = random.one_of({Reduction::mean, Reduction::sum, Reduction::none}),
          .weighted = random.chance(),
          .ignore_index = random.one_of<std::int64_t>({-100, kIgnoredClass}),
          .smoothing = random.one_of({0.0, 0.1}),
          .flag = random.chance(),
          .batch_mean = random.chance(0.3),
          .dtype = random.one_of({at::kFloat, at::kDouble})};
}

Tensor random_layout(RandomCase& random, const Tensor& values) {
  return random.chance(0.3) && values.dim() == 2 ? values.t().contiguous().t() : values;
}

void compare_one_step(RandomCase& random, const LossKindOfTest& kind, const UsedLossOptions& options,
                      Loss& used) {
  const std::int64_t columns = options.weighted ? 4 : random.one_of({2, 3, 4, 6});
  const std::int64_t rows = random.chance(0.1)   ? 0
                            : random.chance(0.4) ? random.integer(1, 6)
                                                 : 12 / columns;  // the same size in another shape
  const at::ScalarType dtype = options.weighted ? options.dtype : random.one_of({at::kFloat, at::kDouble});
  const Tensor input = random_layout(random, at::randn({rows, columns}, dtype).log_softmax(1));
  const Tensor target = kind.has_classes
                            ? at::randint(0, columns, {rows}, at::kLong)
                            : random_layout(random, at::randn({rows, columns}, dtype).softmax(1));
  const Tensor before[] = {input.clone(), target.clone()};
  const std::unique_ptr<Loss> fresh = kind.make(options);
  const Tensor expected = fresh->forward(input, target);
  ASSERT_TRUE(same_bits(expected, used.forward(input, target))) << "forward";
  if (random.chance(0.2)) {
    return;  // as in an evaluation
  }
  const Tensor grad = random.chance() ? at::randn(expected.sizes(), dtype) : Tensor();
  const Tensor grad_input = used.backward(grad);
  ASSERT_TRUE(same_bits(fresh->backward(grad), grad_input)) << "backward";
  if (grad.defined()) {
    EXPECT_TRUE(same_values(kExactFactor * grad_input, fresh->backward(kExactFactor * grad))) << "linear";
  }
  EXPECT_TRUE(same_bits(before[0], input)) << "the input was changed";
  EXPECT_TRUE(same_bits(before[1], target)) << "the target was changed";
}

TEST(SecondTime, AUsedLossComputesTheSameAsANewOne) {
  for (const LossKindOfTest& kind : used_losses()) {
    SCOPED_TRACE(kind.name);
    for_random_cases(8, [&](RandomCase& random) {
      at::manual_seed(random.seed());
      const UsedLossOptions options = random_options(random);
      const std::unique_ptr<Loss> used = kind.make(options);
      for (int step = 0; step < 8 && !::testing::Test::HasFailure(); ++step) {
        SCOPED_TRACE(::testing::Message() << "step " << step);
        compare_one_step(random, kind, options, *used);
      }
    });
  }
}

}  // namespace
}  // namespace twingrad::nn
