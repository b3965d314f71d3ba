// The autograd twin alone: kinks, the reference in float64, simulated rounding, and what is kept.
#include "twingrad/mlp/autograd_twin.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/kinks.h"
#include "twingrad/mlp/training_loss.h"

namespace twingrad::autograd_twin_test {

using at::Tensor;
using ::testing::ElementsAre;

std::vector<std::string> names(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> all;
  for (const NamedTensor& tensor : tensors) {
    all.push_back(tensor.name);
  }
  return all;
}

Tensor tensor(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& of : tensors) {
    if (of.name == name) {
      return of.tensor.clone();
    }
  }
  throw std::out_of_range(name);
}

// ---- Kinks ------------------------------------------------------------------------------------------------

TEST(Kinks, AreThoseOfTheActivationThatReceivesTheResult) {
  const auto kinks = [](const MlpSpec& spec) {
    std::vector<std::vector<double>> all;
    for (std::size_t i = 0; i < result_names(spec).size(); ++i) {
      all.push_back(kinks_after(spec, i));
    }
    return all;
  };
  using All = std::vector<std::vector<double>>;
  MlpSpec spec{.inputs = 4, .hidden = {4, 3}, .classes = 2};
  EXPECT_EQ(kinks(spec), (All{{0}, {}, {0}, {}, {}})) << "linear, relu, linear, relu, linear";
  spec.activation = "hardtanh";
  EXPECT_EQ(kinks(spec), (All{{-1, 1}, {}, {-1, 1}, {}, {}}));
  spec.normalization = Normalization::layer;
  EXPECT_EQ(kinks(spec), (All{{}, {-1, 1}, {}, {}, {-1, 1}, {}, {}})) << "after the normalization";
  spec.normalization = Normalization::none;
  spec.residual = true;
  EXPECT_EQ(kinks(spec), (All{{}, {-1, 1}, {}, {}, {-1, 1}, {}})) << "the block's results come last";
  spec.activation = "tanh";
  EXPECT_EQ(kinks(spec), All(6));
}

TEST(Kinks, OfALossAreAtItsTarget) {
  const Tensor hidden = at::tensor({1.5, -2.0}, at::kDouble).unsqueeze(0),
               logits = at::tensor({0.25, 3.0}, at::kDouble).unsqueeze(0);
  const Tensor labels = at::ones({1}, at::kLong);
  const auto distances = [&](const MlpSpec& spec, const std::vector<Tensor>& results) {
    return kink_distances(spec, results, labels);
  };
  MlpSpec spec{.inputs = 2, .hidden = {2}, .classes = 2};
  const std::vector<Tensor> results = {hidden, hidden.clamp_min(0), logits};
  EXPECT_THAT(names(distances(spec, results)), ElementsAre("0.output"));
  EXPECT_TRUE(distances(spec, results)[0].tensor.equal(hidden));
  for (const auto& [loss, beta, has_kink] :
       std::vector<std::tuple<LossKind, double, bool>>{{LossKind::l1, 1, true},
                                                       {LossKind::l1, 0, true},
                                                       {LossKind::smooth_l1, 0, true},
                                                       {LossKind::smooth_l1, 0.5, false},
                                                       {LossKind::mse, 0, false},
                                                       {LossKind::huber, 0, false}}) {
    spec.loss = loss;
    spec.smooth_l1_beta = beta;
    const std::vector<NamedTensor> found = distances(spec, results);
    ASSERT_EQ(found.size(), has_kink ? 2U : 1U);
    if (has_kink) {
      EXPECT_EQ(found[1].name, "logits");
      EXPECT_TRUE(found[1].tensor.equal(at::tensor({0.25, 2.0}, at::kDouble).unsqueeze(0)))
          << "minus the one-hot label";
    }
  }
  spec.loss = LossKind::l1;
  EXPECT_THAT(names(distances(spec, {hidden, hidden})), ElementsAre("0.output")) << "no logits yet";
  EXPECT_TRUE(distances(spec, {}).empty());
}

// ---- The loss ---------------------------------------------------------------------------------------------

TEST(AutogradTwinAlone, TheNoiseOfALossIsThatOfItsTerms) {
  // With weights of 0, the logits are 0 up to 1e-38, and only the gradient of the loss has noise.
  constexpr double kEpsilon = 1e-3;
  constexpr std::uint64_t kAllPositive = 2;
  const std::vector<std::pair<LossKind, bool>> cancels = {{LossKind::cross_entropy, true},
                                                          {LossKind::class_probabilities, true},
                                                          {LossKind::softmax_log, false},
                                                          {LossKind::exercise_softmax_log, false},
                                                          {LossKind::nll, false},
                                                          {LossKind::kl_divergence, false},
                                                          {LossKind::bce_with_logits, true},
                                                          {LossKind::mse, true},
                                                          {LossKind::l1, false},
                                                          {LossKind::smooth_l1, true},
                                                          {LossKind::huber, true}};
  ASSERT_EQ(cancels.size(), losses().size());
  for (const auto& [loss, has_terms] : cancels) {
    MlpSpec spec{.inputs = 4, .hidden = {}, .classes = 3, .loss = loss};
    Tensor initial = at::zeros({15}, at::kDouble);
    initial.slice(0, 12).fill_(loss == LossKind::l1 ? -0.5 : 0);  // 0 is a kink
    AutogradTwin twin(spec, {}, initial, at::kDouble);
    twin.keep_intermediate_gradients(true);
    const Tensor images = at::rand({2, 4}, at::kDouble), labels = at::tensor({0, 2}, at::kLong);
    const auto gradient = [&](const Tensor& of_labels) {
      twin.forward(images, of_labels);
      twin.backward();
      return tensor(twin.gradients(), result_names(spec).back()).to(at::kDouble);
    };
    const Tensor other = gradient(at::tensor({1, 0}, at::kLong));  // the next label, which wraps around
    const Tensor exact = gradient(labels);
    twin.simulate_rounding(kEpsilon, kAllPositive);
    const Tensor change = gradient(labels) - exact;
    const Tensor terms = has_terms ? exact.abs() + other.abs() : exact.abs();
    EXPECT_TRUE(change.allclose(kEpsilon * terms, 1e-9, 1e-12)) << entry_of(loss).name << change << terms;
  }
}

// ---- The reference ----------------------------------------------------------------------------------------

TEST(AutogradTwinAlone, ItsReferenceIsTheSameNetworkInFloat64) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    MlpSpec spec{.inputs = 4, .hidden = {3}, .classes = 2, .activation = "tanh"};
    spec.normalization = Normalization::rms;
    AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), dtype);
    const std::unique_ptr<Twin> reference = twin.in_float64();
    for (const auto& [name, parameter] : reference->parameters()) {
      EXPECT_TRUE(parameter.equal(tensor(twin.parameters(), name).to(at::kDouble))) << name;
    }
    const Tensor images = at::full({1, 4}, 1e-4, at::kDouble);
    {
      const c10::NoGradGuard no_grad;
      reference->parameters()[1].tensor.zero_();  // the bias, so that the mean square is as small as ε
    }
    reference->forward(images, at::zeros({1}, at::kLong));
    const Tensor x = tensor(reference->intermediates(), "0.output");
    const double epsilon =
        dtype == at::kFloat ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
    EXPECT_TRUE(tensor(reference->intermediates(), "1.output")
                    .allclose(x * (x.square().mean() + epsilon).rsqrt(), 1e-9, 0));
  }
}

TEST(AutogradTwinAlone, ItsReferenceHasItsBuffers) {
  MlpSpec spec{.inputs = 4, .hidden = {3}, .classes = 2};
  spec.normalization = Normalization::batch;
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kFloat);
  twin.forward(at::rand({5, 4}), at::zeros({5}, at::kLong));
  EXPECT_TRUE(tensor(twin.in_float64()->buffers(), "1.running_mean")
                  .equal(tensor(twin.buffers(), "1.running_mean").to(at::kDouble)));
}

// ---- Simulated rounding -----------------------------------------------------------------------------------

TEST(AutogradTwinAlone, EachSimulationStartsFromTheExactResults) {
  MlpSpec spec{.inputs = 4, .hidden = {6, 6}, .classes = 2};
  spec.normalization = Normalization::layer;
  at::manual_seed(1);
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  const Tensor images = at::rand({5, 4}, at::kDouble), labels = at::zeros({5}, at::kLong);
  const auto results = [&] {
    twin.forward(images, labels);
    std::vector<Tensor> all;
    for (const NamedTensor& of : twin.intermediates()) {
      all.push_back(of.tensor.clone());
    }
    return at::cat(all, 1);
  };
  const Tensor exact = results();
  EXPECT_TRUE(twin.local_rounding_errors().empty());
  EXPECT_TRUE(twin.simulate_rounding(0.01, 4));
  const Tensor first = results();
  const double noise = twin.normalization_noise();
  EXPECT_FALSE(first.equal(exact));
  EXPECT_GT(noise, 0);
  EXPECT_FALSE(twin.local_rounding_errors().empty());
  twin.simulate_rounding(0.01, 5);
  EXPECT_FALSE(results().equal(first)) << "another seed";
  twin.simulate_rounding(0.01, 4);
  EXPECT_TRUE(results().equal(first)) << "the same seed";
  EXPECT_EQ(twin.normalization_noise(), noise);
  EXPECT_TRUE(twin.simulate_rounding(0, 4));
  EXPECT_TRUE(results().equal(exact)) << "none";
  EXPECT_EQ(twin.normalization_noise(), 0);
  EXPECT_TRUE(twin.local_rounding_errors().empty());
}

TEST(AutogradTwinAlone, SimulatesRoundingInsideBlocksAndOfParameters) {
  MlpSpec spec{.inputs = 4, .hidden = {4}, .classes = 2, .activation = "tanh"};
  spec.residual = true;
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  const Tensor images = at::rand({5, 4}, at::kDouble), labels = at::zeros({5}, at::kLong);
  twin.compute_gradients(images, labels);
  const Tensor exact = tensor(twin.gradients(), "0.0.weight");
  twin.simulate_rounding(1e-3, 2);
  twin.compute_gradients(images, labels);
  EXPECT_THAT(twin.local_rounding_errors(),
              ::testing::IsSupersetOf({::testing::Key("0.0.output"), ::testing::Key("0.1.output"),
                                       ::testing::Key("0.output"), ::testing::Key("0.0.output.grad"),
                                       ::testing::Key("0.0.weight.grad"), ::testing::Key("1.bias.grad")}));
  EXPECT_FALSE(tensor(twin.gradients(), "0.0.weight").equal(exact));
}

// ---- What is kept -----------------------------------------------------------------------------------------

TEST(AutogradTwinAlone, KeepsIntermediateGradientsOnRequest) {
  MlpSpec spec{.inputs = 4, .hidden = {3}, .classes = 2, .input_dropout = 0.5};
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  const Tensor images = at::rand({5, 4}, at::kDouble), labels = at::zeros({5}, at::kLong);
  const auto gradients = [&](bool keep) {
    twin.keep_intermediate_gradients(keep);
    twin.set_dropout_masks(draw_dropout_masks(spec, 5, 1, 1));
    twin.compute_gradients(images, labels);
    return twin.gradients();
  };
  const auto kept = ElementsAre("1.weight", "1.bias", "3.weight", "3.bias", "1.output", "2.output", "logits");
  const auto parameters = ElementsAre("1.weight", "1.bias", "3.weight", "3.bias");
  AutogradTwin fresh(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  fresh.set_dropout_masks(draw_dropout_masks(spec, 5, 1, 1));
  fresh.compute_gradients(images, labels);
  EXPECT_THAT(names(fresh.gradients()), parameters) << "the default";
  EXPECT_THAT(names(gradients(false)), parameters);
  const std::vector<NamedTensor> first = gradients(true);
  EXPECT_THAT(names(first), kept) << "the first result does not depend on a weight";
  const Tensor logits = tensor(first, "logits"), weight = tensor(first, "1.weight");
  EXPECT_GT(logits.abs().max().item<double>(), 0);
  const std::vector<NamedTensor> second = gradients(true);
  EXPECT_TRUE(tensor(second, "logits").equal(logits)) << "not added to the last";
  EXPECT_TRUE(tensor(second, "1.weight").equal(weight));
  EXPECT_THAT(names(second), kept);
  EXPECT_THAT(names(gradients(false)), parameters);
}

TEST(AutogradTwinAlone, DescribesItsLayersLossAndOptimizer) {
  const MlpSpec spec{.inputs = 4, .hidden = {3}, .classes = 2, .loss = LossKind::mse};
  const Tensor initial = draw_initial_parameters(spec, 1);
  const AutogradTwin adam(spec, {}, initial, at::kDouble);
  EXPECT_EQ(adam.describe_layer("optimizer"), "adam");
  EXPECT_EQ(adam.describe_layer("loss"), "mse");
  EXPECT_EQ(adam.describe_layer("0"), "linear");
  EXPECT_EQ(adam.describe_layer("1"), "relu");
  EXPECT_EQ(adam.describe_layer("7"), "");
  const AutogradTwin sgd(spec, {.kind = OptimizerOptions::Kind::sgd}, initial, at::kDouble);
  EXPECT_EQ(sgd.describe_layer("optimizer"), "sgd");
}

TEST(AutogradTwinAlone, PredictsWithoutGradients) {
  const MlpSpec spec{.inputs = 4, .hidden = {3}, .classes = 2, .loss = LossKind::softmax_log};
  AutogradTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
  twin.keep_intermediate_gradients(true);
  const Tensor images = at::rand({5, 4}, at::kDouble), others = at::rand({3, 4}, at::kDouble);
  twin.forward(others, at::zeros({3}, at::kLong));
  const Tensor logits = twin.predict(images).clone();
  EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{5, 2}));
  EXPECT_FALSE(logits.requires_grad());
  twin.forward(images, at::zeros({5}, at::kLong));
  EXPECT_TRUE(twin.logits().equal(logits));
  EXPECT_FALSE(twin.logits().requires_grad());
  ASSERT_FALSE(twin.kink_distances().empty());
  EXPECT_FALSE(twin.kink_distances()[0].tensor.requires_grad());
  EXPECT_EQ(twin.intermediates().size(), result_names(spec).size()) << "those of the last forward only";
}

}  // namespace twingrad::autograd_twin_test
