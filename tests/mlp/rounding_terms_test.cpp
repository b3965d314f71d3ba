// The terms of each layer that rounding_noise_test.cpp does not cover, and the edges of the noise.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "rounding_case.h"

namespace twingrad::rounding_noise_test {

constexpr double kFloatMinimum = std::numeric_limits<float>::min();

MlpSpec spec_with(const std::function<void(MlpSpec&)>& change) {
  MlpSpec spec{.activation = "tanh"};
  change(spec);
  return spec;
}

MlpSpec separate_bias() {
  return spec_with([](MlpSpec& spec) { spec.bias = Bias::separate_layer; });
}

// ---- Forward ----------------------------------------------------------------------------------------------

TEST(RoundingTerms, OfAProductAndASeparateBias) {
  at::manual_seed(21);
  const Case product = case_of(separate_bias(), Kind::matmul);
  expect_forward_terms(product, product.x.abs().mm(product.parameter("weight").abs()));
  const Case sum = case_of(separate_bias(), Kind::add_bias);
  expect_forward_terms(sum, sum.x.abs() + sum.parameter("bias").abs());
}

TEST(RoundingTerms, OfALinearLayerWithoutABias) {
  at::manual_seed(22);
  const Case of =
      case_of(spec_with([](MlpSpec& spec) { spec.normalization = Normalization::batch; }), Kind::linear);
  ASSERT_FALSE(of.parameter("bias").defined());
  expect_forward_terms(of, of.x.abs().mm(of.parameter("weight").abs().t()));
}

TEST(RoundingTerms, OfAResidualBlockAreItsInputAndItsBranch) {
  at::manual_seed(23);
  const Case of = case_of(spec_with([](MlpSpec& spec) { spec.residual = true; }), Kind::residual);
  expect_forward_terms(of, of.x.abs() + (of.y - of.x).abs());
}

TEST(RoundingTerms, OfLayersThatDoNotAddAreTheResult) {
  at::manual_seed(24);
  const Case ones =
      case_of(spec_with([](MlpSpec& spec) { spec.bias = Bias::column_of_ones; }), Kind::append_ones);
  expect_forward_terms(ones, ones.y.abs());
  const Case dropout = case_of(spec_with([](MlpSpec& spec) { spec.dropout = 0.5; }), Kind::dropout);
  expect_forward_terms(dropout, dropout.y.abs());
  Case selu = case_of(spec_with([](MlpSpec& spec) { spec.activation = "selu"; }), Kind::activation);
  selu.x[0][0] = 0;  // exp(0) − 1 is exact
  expect_forward_terms(selu, selu.y.abs().maximum((selu.x < 0).to(at::kDouble)));
}

TEST(RoundingTerms, OfANormalizationWithoutWeights) {
  at::manual_seed(25);
  for (const auto& [kind, normalization] : kNormalizations) {
    const MlpSpec spec = spec_with([of = normalization](MlpSpec& with) {
      with.normalization = of;
      with.normalization_affine = false;
    });
    const Case of = case_of(spec, kind);
    const auto deviation = [&](auto i, auto j) { return moments_of(of.layer().kind, of.x, i, j).deviation; };
    expect_forward_terms(of, table(kRows, kWidth, [&](auto i, auto j) {
                           const double mean = moments_of(of.layer().kind, of.x, i, j).mean;
                           return (std::abs(at(of.x, i, j)) + std::abs(mean)) / deviation(i, j);
                         }));
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor grad = at::zeros({kRows, kWidth}, at::kDouble);
    grad[2][1] = -1;  // alone, so that the mean is a single term
    const Tensor x = noise_for(of, kAllPositive).perturb(of.layers[of.index - 1], of.x, of.x);
    const bool of_column = of.layer().kind == Kind::batch_norm;
    const double count = static_cast<double>(of_column ? kRows : kWidth);
    const auto standardized = [&](auto i, auto j) {
      const Moments moments = moments_of(of.layer().kind, x, i, j);
      return std::abs(at(x, i, j) - moments.mean) / moments.deviation;
    };
    EXPECT_TRUE(input_gradient_terms(of, noise, grad)
                    .allclose(table(kRows, kWidth,
                                    [&](auto i, auto j) {
                                      const double size = 1 - kEpsilon;
                                      const bool is_near = of_column ? j == 1 : i == 2;
                                      const double own = i == 2 && j == 1 ? size : 0;
                                      const double mean = is_near ? size / count : 0;
                                      return (own + mean + standardized(i, j) * standardized(2, 1) * mean) /
                                             moments_of(of.layer().kind, x, i, j).deviation;
                                    }),
                              1e-8, 1e-12))
        << of.layer().name;
  }
}

TEST(RoundingTerms, StayOnTheirSideOfEachOfTwoKinks) {
  Case of = case_of(spec_with([](MlpSpec& spec) { spec.activation = "hardtanh"; }), Kind::linear);
  of.y =
      at::tensor({0.9999, -1.0001, 0.5, 1.5, -2.0}, at::kDouble).unsqueeze(1).expand({kRows, kWidth}).clone();
  of.x = at::ones_like(of.x) * 10;
  const Tensor change = noise_for(of, kAllPositive).perturb(of.layer(), of.x, of.y) - of.y;
  EXPECT_TRUE(change[0].eq(0).all().item<bool>()) << "would cross 1";
  EXPECT_TRUE(change[1].eq(0).all().item<bool>()) << "would cross -1";
  EXPECT_TRUE(change.slice(0, 2).gt(0).all().item<bool>());
}

TEST(RoundingTerms, IncludeTheSmallestNumberOfTheDtype) {
  Case of = case_of(spec_with([](MlpSpec&) {}), Kind::activation);
  of.y = at::zeros_like(of.x);
  const std::vector<Tensor> results(result_names(of.spec).size(), of.y);
  for (const auto& [epsilon, smallest] : std::vector<std::pair<double, double>>{
           {1e-3, kFloatMinimum}, {0x1p-51, kFloatMinimum}, {0x1p-52, std::numeric_limits<double>::min()}}) {
    RoundingNoise noise(of.spec, epsilon, of.parameters, results, kAllPositive);
    EXPECT_TRUE(noise.perturb(of.layer(), of.x, of.y).eq(smallest).all().item<bool>()) << epsilon;
    EXPECT_EQ(noise.local_errors().at("1.output"), smallest);
  }
}

TEST(RoundingTerms, OfAnEmptyBatchAreEmpty) {
  for (const auto& [kind, normalization] : kNormalizations) {
    Case of = case_of(spec_with([of = normalization](MlpSpec& with) { with.normalization = of; }), kind);
    of.x = of.y = at::empty({0, kWidth}, at::kDouble);
    RoundingNoise noise = noise_for(of, kAllPositive);
    EXPECT_EQ(noise.perturb(of.layer(), of.x, of.y).numel(), 0);
    EXPECT_EQ(noise.normalization_noise(), 0);
    EXPECT_EQ(noise.local_errors().at("1.output"), 0);
  }
}

TEST(RoundingTerms, TheNoiseOfANormalizationIsMeasuredInDeviations) {
  at::manual_seed(26);
  for (const auto& [kind, normalization] : kNormalizations) {
    const Case of =
        case_of(spec_with([of = normalization](MlpSpec& with) { with.normalization = of; }), kind);
    std::vector<Tensor> exact(result_names(of.spec).size(), of.y);
    exact[of.layers[of.index - 1].result] = of.x;
    RoundingNoise noise = noise_for(of, kAllPositive, exact);
    EXPECT_EQ(noise.normalization_noise(), 0);
    Tensor input = of.x.clone();
    input[3][2] -= 0.25;
    noise.perturb(of.layer(), input, of.y);
    const double expected = 0.25 / moments_of(of.layer().kind, of.x, 3, 2).deviation;
    EXPECT_NEAR(noise.normalization_noise(), expected, 1e-12);
    noise.perturb(of.layer(), of.x, of.y);
    EXPECT_NEAR(noise.normalization_noise(), expected, 1e-12) << "the largest so far";
  }
  const Case linear = case_of(spec_with([](MlpSpec&) {}), Kind::activation);
  RoundingNoise noise = noise_for(linear, kAllPositive);
  noise.perturb(linear.layer(), linear.x + 5, linear.y);
  EXPECT_EQ(noise.normalization_noise(), 0) << "no normalization";
}

// ---- Backward ---------------------------------------------------------------------------------------------

TEST(RoundingTerms, OfTheGradientsOfAProductAndASeparateBias) {
  at::manual_seed(27);
  Case product = case_of(separate_bias(), Kind::matmul);
  while (product.index == 0 || product.layer().kind != Kind::matmul) {
    ++product.index;  // the last one
  }
  RoundingNoise noise = noise_for(product, kAllPositive);
  const Tensor grad = at::randn({kRows, kWidth}, at::kDouble), size = noisy(grad).abs();
  const Tensor weight = product.parameter("weight");
  EXPECT_TRUE(input_gradient_terms(product, noise, grad).allclose(size.mm(weight.abs().t())));
  const Tensor x = product.x + kEpsilon * product.y.abs();  // the noise of the activation before it
  const Tensor found = noise.perturbed_gradient(product.layer().name + ".weight", at::zeros_like(weight));
  EXPECT_TRUE((found / kEpsilon).allclose(x.abs().t().mm(size), 1e-2)) << found / kEpsilon;

  const Case sum = case_of(separate_bias(), Kind::add_bias);
  RoundingNoise of_sum = noise_for(sum, kAllPositive);
  EXPECT_LE(input_gradient_terms(sum, of_sum, grad).abs().max().item<double>(), 1e-30) << "a sum is exact";
  const Tensor bias = of_sum.perturbed_gradient(sum.layer().name + ".bias", at::ones({kWidth}, at::kDouble));
  EXPECT_TRUE(((bias - 1) / kEpsilon).allclose(size.sum(0)));
  EXPECT_NEAR(of_sum.local_errors().at(sum.layer().name + ".bias.grad"),
              kEpsilon * size.sum(0).max().item<double>(), 1e-12);
}

TEST(RoundingTerms, OfTheGradientOfAnActivationAreThoseOfItsUpstreamGradient) {
  at::manual_seed(28);
  for (const auto& [activation, is_smooth] : std::vector<std::pair<std::string, bool>>{
           {"tanh", true}, {"sigmoid", true}, {"relu", false}, {"hardtanh", false}}) {
    const Case of =
        case_of(spec_with([name = activation](MlpSpec& spec) { spec.activation = name; }), Kind::activation);
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor grad = at::randn({kRows, kWidth}, at::kDouble);
    const Tensor terms = input_gradient_terms(of, noise, grad);
    EXPECT_TRUE(terms.allclose(is_smooth ? noisy(grad).abs() : at::zeros_like(grad))) << activation;
  }
}

TEST(RoundingTerms, OfAQuotientThatUnderflowsAreLost) {
  at::manual_seed(29);
  const MlpSpec spec = spec_with([](MlpSpec& with) { with.loss = LossKind::exercise_softmax_log; });
  // The quotient is (smallest + kFloatMinimum) / 4, with the noise of the smallest result and Σ exp 0.
  for (const double smallest : {0.5 * kFloatMinimum, 5 * kFloatMinimum}) {
    Case of = case_of(spec, Kind::exercise_softmax, [](const Tensor& x) { return at::full_like(x, 0.25); });
    of.x = at::zeros({kRows, kWidth}, at::kDouble);
    of.y[1][2] = smallest;
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor grad = at::ones({kRows, kWidth}, at::kDouble);
    const Tensor terms = input_gradient_terms(of, noise, grad);
    const double factor = smallest < kFloatMinimum ? 1 / kEpsilon : 1;
    for (std::int64_t i = 0; i < kRows; ++i) {
      const double expected = (i == 1 ? factor * (1 + 0.75) : 1 + 1) * 0.25;
      EXPECT_NEAR(at(terms, i, 3), expected, 0.02 * expected) << i << ": the whole row, and no other";
    }
  }
}

/// Two residual blocks of a product and a tanh.
Case two_blocks() {
  MlpSpec spec{.inputs = kWidth, .hidden = {kWidth, kWidth}, .classes = kWidth, .activation = "tanh"};
  spec.residual = true;
  Case of{.spec = spec};
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    of.parameters.push_back({parameter.name, at::randn(parameter.shape, at::kDouble)});
  }
  of.y = at::randn({kRows, kWidth}, at::kDouble);
  return of;
}

TEST(RoundingTerms, OfTheInputOfABlockAreThoseOfBothPaths) {
  at::manual_seed(30);
  Case of = two_blocks();
  const auto layer = [&](const std::string& name) {
    return *std::find_if(of.layers.begin(), of.layers.end(), [&](const auto& l) { return l.name == name; });
  };
  const auto leaf = [] { return at::randn({kRows, kWidth}, at::kDouble).requires_grad_(); };
  const Tensor zero = at::zeros({kRows, kWidth}, at::kDouble);
  const Tensor first = at::randn({kRows, kWidth}, at::kDouble), second = at::randn_like(first);
  {
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor input = leaf();
    const Tensor noisy_input = noise.perturb(layer("0"), of.x, input);
    noise.perturb(layer("1.0"), of.x, leaf()).backward(first);
    noise.perturb(layer("1"), of.x, leaf()).backward(second);
    noisy_input.backward(zero);
    of.index = 4;
    ASSERT_EQ(of.layer().name, "1.0");
    const Tensor terms = noisy(first).abs().mm(of.parameter("weight").abs()) + noisy(second).abs();
    EXPECT_TRUE((input.grad() / kEpsilon).allclose(terms)) << input.grad() / kEpsilon << terms;
  }
  {
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor inside = leaf();
    const Tensor noisy_inside = noise.perturb(layer("1.0"), of.x, inside);
    noise.perturb(layer("1.1"), of.x, leaf()).backward(first);
    noisy_inside.backward(zero);
    EXPECT_TRUE((inside.grad() / kEpsilon).allclose(noisy(first).abs())) << "from the layer inside";
  }
  {
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor inside = leaf();
    const Tensor noisy_inside = noise.perturb(layer("1.1"), of.x, inside);
    noise.perturb(layer("2"), of.x, leaf()).backward(first);
    noisy_inside.backward(zero);
    EXPECT_LE(inside.grad().abs().max().item<double>(), 1e-30) << "the layer after the block is not inside";
  }
}

TEST(RoundingTerms, OfAGradientThatIsNotNeededAreNotAdded) {
  const Case of = case_of(spec_with([](MlpSpec&) {}), Kind::activation);
  RoundingNoise noise = noise_for(of, kAllPositive);
  EXPECT_FALSE(noise.perturb(of.layer(), of.x, of.y).requires_grad());
  const Tensor leaf = of.y.clone().requires_grad_();
  const Tensor result = noise.perturb(of.layer(), of.x, leaf);
  EXPECT_TRUE(result.requires_grad());
  result.sum().backward();
  EXPECT_TRUE(leaf.grad().allclose(at::full_like(of.y, 1 + kEpsilon)));
}

}  // namespace twingrad::rounding_noise_test
