#include <gtest/gtest.h>

#include <cmath>

#include "../catalogue/expect_agreement.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/losses/log_likelihood_loss.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/torch_reference.h"

// The loss of the classroom exercise as a chain of layers: softmax → log(p + ε) → −Σ label · log p.

namespace twingrad::nn {
namespace {

using catalogue::FunctionEntry;
using catalogue::HandWritten;
using catalogue::matrix;
using catalogue::Tensors;

/// The three parts; the exercise's softmax is not shifted.
struct Chain {
  Chain(bool shifted, Reduction reduction) : likelihood(reduction) {
    softmax = shifted ? std::make_unique<Softmax>()
                      : std::unique_ptr<Softmax>(std::make_unique<UnshiftedSoftmax>(kExerciseEpsilon));
  }
  Tensor forward(const Tensor& logits, const Tensor& labels) {
    return likelihood.forward(log.forward(softmax->forward(logits)), labels);
  }
  Tensor backward(const Tensor& grad = {}) {
    return softmax->backward(log.backward(likelihood.backward(grad)));
  }

  std::unique_ptr<Softmax> softmax;
  Log log = Log(kExerciseEpsilon);
  LogLikelihoodLoss likelihood;
};

FunctionEntry chain_entry(bool shifted, Reduction reduction, const Tensors& inputs, bool smooth = true) {
  const auto make = [=] {
    const auto chain = std::make_shared<Chain>(shifted, reduction);
    return HandWritten{[=](const Tensors& in) { return chain->forward(in[0], in[1]); },
                       [=](const Tensor& grad) { return Tensors{chain->backward(grad)}; }};
  };
  const auto reference = [=](const Tensors& in) {
    const Tensor p =
        shifted ? at::softmax(in[0], 1) : torch_reference::unshifted_softmax(in[0], kExerciseEpsilon);
    return torch_reference::log_likelihood(torch_reference::log(p, kExerciseEpsilon), in[1], reduction);
  };
  return {.name = "chain",
          .make = make,
          .reference = reference,
          .constants = 1,
          .cases = {{"given", inputs, smooth}}};
}

TEST(Chain, AgreesForRowsWithSeveralLabels) {
  const Tensor labels = matrix({1, 1, 0, 0, 0.5, 0, 0.25, 0.25, 0, 0, 0, 0, 0, 1, 0, 0}, 4);
  for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
    for (const bool shifted : {true, false}) {
      catalogue::expect_agreement(chain_entry(shifted, reduction, {catalogue::draw({4, 4}, 3), labels}));
    }
  }
}

TEST(Chain, AgreesInSaturatedRowsOfTheExercise) {
  const Tensor logits = matrix({300, -300, 0, 25, -5, 0, -40, -40, -40}, 3);
  const Tensor labels = matrix({1, 0, 0, 0, 1, 0, 0, 0, 1}, 3);
  EXPECT_LE(catalogue::autograd_error(chain_entry(false, Reduction::sum, {logits, labels}, false)), 1e-13);
}

TEST(Chain, IsFiniteForShiftedLogitsOfTenThousand) {
  const Tensor logits = matrix({1e4, -1e4, 0, -1e4, 1e4, 1e4}, 2);
  const Tensor labels = matrix({0, 1, 0, 1, 0, 0}, 2);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Chain chain(true, Reduction::mean);
    const Tensor value = chain.forward(logits.to(dtype), labels.to(dtype));
    EXPECT_NEAR(value.item<double>(), -std::log(kExerciseEpsilon), 1e-5);
    // Because of the epsilon, a confidently wrong prediction has gradient 0.
    EXPECT_TRUE(chain.backward().eq(0).all().item<bool>());
  }
}

TEST(Chain, UnshiftedOverflowsToNaNInFloat32) {
  Chain chain(false, Reduction::sum);
  const Tensor logits = matrix({100, 0}).to(at::kFloat);
  EXPECT_TRUE(std::isnan(chain.forward(logits, matrix({1, 0}).to(at::kFloat)).item<double>()));
}

TEST(Chain, AgreesInTheNetworkOfTheExercise) {
  // x [5, 6], W₁ [6, 5], W₂ [5, 6], L = Σ label · log softmax(relu(x W₁) W₂), without a minus sign.
  struct Network {
    Network(const Parameter& w1, const Parameter& w2) : product1(w1), product2(w2) {}
    Matmul product1, product2;
    ReLU relu;
    UnshiftedSoftmax softmax = UnshiftedSoftmax(kExerciseEpsilon);
    Log log = Log(kExerciseEpsilon);
  };
  const auto forward = [](Network& n, const Tensor& x) {
    return n.log.forward(n.softmax.forward(n.product2.forward(n.relu.forward(n.product1.forward(x)))));
  };
  const auto make = [=] {
    const auto network = std::make_shared<std::unique_ptr<Network>>();
    const auto weights = std::make_shared<std::vector<Parameter>>();
    const auto labels = std::make_shared<Tensor>();
    return HandWritten{[=](const Tensors& in) {
                         *weights = {{in[1], at::full_like(in[1], NAN)}, {in[2], at::full_like(in[2], NAN)}};
                         *network = std::make_unique<Network>((*weights)[0], (*weights)[1]);
                         *labels = in[3];
                         return (in[3] * forward(**network, in[0])).sum();
                       },
                       [=](const Tensor& grad) {
                         Network& n = **network;
                         const Tensor grad_logits = n.softmax.backward(n.log.backward(*labels * grad));
                         const Tensor grad_x =
                             n.product1.backward(n.relu.backward(n.product2.backward(grad_logits)));
                         return Tensors{grad_x, (*weights)[0].grad, (*weights)[1].grad};
                       }};
  };
  const auto reference = [](const Tensors& in) {
    const Tensor logits = at::relu(in[0].matmul(in[1])).matmul(in[2]);
    const Tensor p = torch_reference::unshifted_softmax(logits, kExerciseEpsilon);
    return (in[3] * torch_reference::log(p, kExerciseEpsilon)).sum();
  };
  const Tensor labels = at::one_hot(at::tensor({1, 0, 3, 5, 0}, at::kLong), 6).to(at::kDouble);
  const Tensors inputs = {catalogue::draw({5, 6}), catalogue::draw({6, 5}), catalogue::draw({5, 6}), labels};
  const FunctionEntry entry = {
      .name = "exercise", .make = make, .reference = reference, .constants = 1, .cases = {{"given", inputs}}};
  EXPECT_LE(catalogue::autograd_error(entry), 1e-13);
  EXPECT_TRUE(catalogue::check(entry, {.dtype = at::kDouble})[1].passed) << "central differences";
}

}  // namespace
}  // namespace twingrad::nn
