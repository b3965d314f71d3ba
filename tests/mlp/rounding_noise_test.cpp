#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "rounding_case.h"
#include "twingrad/mlp/autograd_twin.h"

namespace twingrad::rounding_noise_test {

// ---- Forward ---------------------------------------------------------------------------------------------

TEST(RoundingNoise, OfAProductIsThatOfItsTerms) {
  at::manual_seed(1);
  const Case linear = case_of({}, Kind::linear);
  const Tensor weight = linear.parameter("weight"), bias = linear.parameter("bias");
  expect_forward_terms(linear, table(kRows, kWidth, [&](auto i, auto j) {
                         return sum(kWidth,
                                    [&](auto k) { return std::abs(at(linear.x, i, k) * at(weight, j, k)); }) +
                                std::abs(at(bias, j));
                       }));
}

TEST(RoundingNoise, OfANormalizationIsThatOfTheDifferenceFromTheMean) {
  at::manual_seed(2);
  for (const auto& [kind, normalization] : kNormalizations) {
    MlpSpec spec;
    spec.normalization = normalization;
    spec.activation = "tanh";
    Case of = case_of(spec, kind);
    of.x = of.x * 0.1 - 2;  // the terms cancel
    const Tensor weight = of.parameter("weight"), bias = of.parameter("bias");
    expect_forward_terms(of, table(kRows, kWidth, [&](auto i, auto j) {
                           const Moments moments = moments_of(of.layer().kind, of.x, i, j);
                           return (std::abs(at(of.x, i, j)) + std::abs(moments.mean)) / moments.deviation *
                                      std::abs(at(weight, j)) +
                                  (bias.defined() ? std::abs(at(bias, j)) : 0);
                         }));
  }
}

TEST(RoundingNoise, OfAnActivationIncludesTermsThatCancel) {
  at::manual_seed(3);
  const auto expect = [&](const std::string& activation, const std::function<double(double, double)>& term) {
    MlpSpec spec;
    spec.activation = activation;
    const Case of = case_of(spec, Kind::activation);
    expect_forward_terms(
        of, table(kRows, kWidth, [&](auto i, auto j) { return term(at(of.x, i, j), at(of.y, i, j)); }));
  };
  expect("tanh", [](double, double y) { return std::abs(y); });
  expect("sigmoid", [](double, double y) { return std::abs(y); });
  expect("gelu", [](double x, double y) { return std::max(std::abs(y), std::abs(x) / 2); });
  expect("gelu_tanh", [](double x, double y) { return std::max(std::abs(y), std::abs(x) / 2); });
  expect("elu", [](double x, double y) { return std::max(std::abs(y), x < 0 ? 1.0 : 0.0); });
}

TEST(RoundingNoise, OfASoftmaxGrowsWithItsExponents) {
  at::manual_seed(4);
  const auto expect = [](LossKind loss, Kind kind,
                         const std::function<double(double, double, double)>& term) {
    MlpSpec spec;
    spec.loss = loss;
    const Case of = case_of(spec, kind, [](const Tensor& x) { return x.softmax(1); });
    expect_forward_terms(of, table(kRows, kWidth, [&](auto i, auto j) {
                           const double x = at(of.x, i, j);
                           return term(x, std::abs(x - largest_in_row(of.x, i)), at(of.y, i, j));
                         }));
  };
  expect(LossKind::softmax_log, Kind::softmax,
         [](double, double shifted, double y) { return y * (1 + shifted); });
  expect(LossKind::exercise_softmax_log, Kind::exercise_softmax,
         [](double x, double, double y) { return y * (1 + std::abs(x)); });
  expect(LossKind::nll, Kind::log_softmax, [](double, double shifted, double) { return shifted + 1; });
}

TEST(RoundingNoise, OfALogarithmIsRelativeToItsResult) {
  at::manual_seed(6);
  MlpSpec spec;
  spec.loss = LossKind::softmax_log;
  const Case of = case_of(spec, Kind::log, [](const Tensor& x) { return x.abs().log(); });
  expect_forward_terms(of, table(kRows, kWidth, [&](auto i, auto j) { return std::abs(at(of.y, i, j)); }));
}

TEST(RoundingNoise, HasThePatternOfItsSeed) {
  at::manual_seed(5);
  const Case of = case_of({.activation = "tanh"}, Kind::activation);
  const auto signs = [&](std::uint64_t seed) {
    return (noise_for(of, seed).perturb(of.layer(), of.x, of.y) - of.y).sign();
  };
  const auto is_common = [](const Tensor& values, std::int64_t dimension) {
    return values.sum(dimension).abs().eq(static_cast<double>(values.size(dimension))).all().item<bool>();
  };
  EXPECT_TRUE(signs(kAllPositive).eq(1).all().item<bool>());
  const Tensor row = signs(kCommonToARow), column = signs(kCommonToAColumn),
               independent = signs(kIndependent);
  EXPECT_TRUE(is_common(row, 1) && !is_common(row, 0)) << row;
  EXPECT_TRUE(is_common(column, 0) && !is_common(column, 1)) << column;
  EXPECT_FALSE(is_common(independent, 0) || is_common(independent, 1)) << independent;
  EXPECT_FALSE(independent.equal(signs(4)));
}

TEST(RoundingNoise, DoesNotCrossAKink) {
  at::manual_seed(6);
  Case of = case_of({.activation = "relu"}, Kind::linear);
  of.y = at::randn({kRows, kWidth}, at::kDouble) * 1e-3;  // smaller than the noise
  int unchanged = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    RoundingNoise noise = noise_for(of, seed);
    const Tensor noisy = noise.perturb(of.layer(), of.x, of.y);
    EXPECT_TRUE(noisy.sign().equal(of.y.sign()));
    unchanged += noisy.eq(of.y).sum().item<int>();
  }
  EXPECT_GT(unchanged, 0);
  EXPECT_LT(unchanged, 8 * kRows * kWidth);
  // A result on the other side than the exact one is moved to it.
  std::vector<Tensor> exact(result_names(of.spec).size(), of.y.neg());
  EXPECT_TRUE(
      noise_for(of, kAllPositive, exact).perturb(of.layer(), of.x, of.y).sign().equal(of.y.neg().sign()));
}

// ---- Backward --------------------------------------------------------------------------------------------

TEST(RoundingNoise, OfAGradientIsThatOfItsSize) {
  at::manual_seed(7);
  const Case of = case_of({.activation = "tanh"}, Kind::activation);
  RoundingNoise noise = noise_for(of, kAllPositive);
  const Tensor y = of.y.clone().requires_grad_(), grad = at::randn_like(y);
  noise.set_loss_terms(of.layer().result, {});
  noise.perturb(of.layer(), of.x, y).backward(grad);
  EXPECT_TRUE(y.grad().allclose(noisy(grad)));

  const Tensor again = of.y.clone().requires_grad_(), terms = at::rand_like(grad) * 3;
  RoundingNoise with_terms = noise_for(of, kAllPositive);
  with_terms.set_loss_terms(of.layer().result, terms);
  with_terms.perturb(of.layer(), of.x, again).backward(grad);
  EXPECT_TRUE(again.grad().allclose(grad + kEpsilon * grad.abs().maximum(terms)));
  EXPECT_NEAR(with_terms.local_errors().at(result_names(of.spec)[of.layer().result] + ".grad"),
              kEpsilon * grad.abs().maximum(terms).max().item<double>(), 1e-12);
}

TEST(RoundingNoise, OfTheGradientsOfALinearLayerIsThatOfItsTerms) {
  at::manual_seed(8);
  Case of = case_of({.activation = "tanh"}, Kind::linear);
  of.index = of.layers.size() - 1;  // the last linear layer
  ASSERT_EQ(of.layer().kind, Kind::linear);
  RoundingNoise noise = noise_for(of, kAllPositive);
  const Tensor grad = at::randn({kRows, kWidth}, at::kDouble), size = noisy(grad).abs();
  const Tensor terms = input_gradient_terms(of, noise, grad);
  const Tensor weight = of.parameter("weight");
  const Tensor x = of.x + kEpsilon * of.x.abs();  // the noise of the layer before it
  EXPECT_TRUE(terms.allclose(table(kRows, kWidth, [&](auto i, auto j) {
    return sum(kWidth, [&](auto k) { return at(size, i, k) * std::abs(at(weight, k, j)); });
  })));
  const auto of_parameter = [&](const std::string& name, const Tensor& like) {
    return noise.perturbed_gradient(of.layer().name + "." + name, at::zeros_like(like)) / kEpsilon;
  };
  EXPECT_TRUE(of_parameter("weight", weight).allclose(table(kWidth, kWidth, [&](auto j, auto k) {
    return sum(kRows, [&](auto i) { return at(size, i, j) * std::abs(at(x, i, k)); });
  })));
  EXPECT_TRUE(of_parameter("bias", of.parameter("bias")).allclose(size.sum(0)));
  const Tensor other = at::rand({2});
  EXPECT_TRUE(noise.perturbed_gradient("no.parameter", other).equal(other));
}

TEST(RoundingNoise, OfTheGradientsOfASoftmaxIsThatOfItsTerms) {
  at::manual_seed(10);
  const auto expect = [](LossKind loss, Kind kind,
                         const std::function<double(double, double, double, double)>& term) {
    MlpSpec spec;
    spec.loss = loss;
    const Case of = case_of(spec, kind, [&](const Tensor& x) {
      return kind == Kind::log_softmax ? x.log_softmax(1) : x.softmax(1);
    });
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor grad = at::randn({kRows, kWidth}, at::kDouble), size = noisy(grad).abs();
    const Tensor x = noise_for(of, kAllPositive).perturb(of.layers[of.index - 1], of.x, of.x);
    const Tensor y = noise_for(of, kAllPositive).perturb(of.layer(), x, of.y);
    const Tensor terms = input_gradient_terms(of, noise, grad);
    EXPECT_TRUE(terms.allclose(table(
        kRows, kWidth,
        [&](auto i, auto j) {
          const double sizes = sum(kWidth, [&](auto k) { return at(size, i, k); });
          const double products = sum(kWidth, [&](auto k) { return at(size, i, k) * std::abs(at(y, i, k)); });
          return term(at(size, i, j), at(y, i, j), sizes, products);
        })))
        << of.layer().name << terms;
  };
  const auto of_softmax = [](double size, double y, double, double products) {
    return y * (size + products);
  };
  expect(LossKind::softmax_log, Kind::softmax, of_softmax);
  expect(LossKind::exercise_softmax_log, Kind::exercise_softmax, of_softmax);
  expect(LossKind::nll, Kind::log_softmax,
         [](double size, double y, double sizes, double) { return size + std::exp(y) * sizes; });
}

TEST(RoundingNoise, OfTheGradientsOfANormalizationIsThatOfItsTerms) {
  at::manual_seed(9);
  for (const auto& [kind, normalization] : kNormalizations) {
    MlpSpec spec;
    spec.normalization = normalization;
    spec.activation = "tanh";
    Case of = case_of(spec, kind);
    RoundingNoise noise = noise_for(of, kAllPositive);
    const Tensor grad = at::randn({kRows, kWidth}, at::kDouble), size = noisy(grad).abs();
    const Tensor x = noise_for(of, kAllPositive).perturb(of.layers[of.index - 1], of.x, of.x);
    const Tensor terms = input_gradient_terms(of, noise, grad);
    const Tensor weight = of.parameter("weight");
    const auto scaled = [&](auto i, auto j) { return at(size, i, j) * std::abs(at(weight, j)); };
    const auto standardized = [&](auto i, auto j) {
      const Moments moments = moments_of(of.layer().kind, x, i, j);
      return std::abs(at(x, i, j) - moments.mean) / moments.deviation;
    };
    EXPECT_TRUE(terms.allclose(
        table(kRows, kWidth,
              [&](auto i, auto j) {
                const bool of_column = of.layer().kind == Kind::batch_norm;
                const std::int64_t count = of_column ? kRows : kWidth;
                const auto mean = [&](const auto& entry) {
                  return sum(count, [&](auto k) { return of_column ? entry(k, j) : entry(i, k); }) /
                         static_cast<double>(count);
                };
                const auto product = [&](auto row, auto column) {
                  return scaled(row, column) * standardized(row, column);
                };
                return (scaled(i, j) + mean(scaled) + standardized(i, j) * mean(product)) /
                       moments_of(of.layer().kind, x, i, j).deviation;
              }),
        1e-8))
        << of.layer().name;
    const Tensor of_weight =
        noise.perturbed_gradient(of.layer().name + ".weight", at::zeros({kWidth}, at::kDouble)) / kEpsilon;
    EXPECT_TRUE(of_weight.allclose(table(1, kWidth,
                                         [&](auto, auto j) {
                                           return sum(kRows, [&](auto i) {
                                             const Moments moments = moments_of(of.layer().kind, x, i, j);
                                             return at(size, i, j) *
                                                    (std::abs(at(x, i, j)) + std::abs(moments.mean)) /
                                                    moments.deviation;
                                           });
                                         })[0]))
        << of.layer().name;
  }
}

TEST(RoundingNoise, OfTheGradientOfALossIncludesTheTermsThatCancel) {
  // Without weights there is no noise before the loss: p = 1/3, and p − [k = t] is a difference of two terms.
  const MlpSpec spec{.inputs = 4, .hidden = {}, .classes = 3};
  AutogradTwin twin(spec, {}, at::zeros({15}), at::kDouble);
  twin.keep_intermediate_gradients(true);
  const Tensor images = at::rand({1, 4}, at::kDouble), labels = at::zeros({1}, at::kLong);
  const auto gradient = [&] {
    twin.forward(images, labels);
    twin.backward();
    return find_tensor(twin.gradients(), "logits", {1, 3}).clone();
  };
  const Tensor exact = gradient();
  EXPECT_EQ(twin.normalization_noise(), 0) << "nothing is simulated yet";
  ASSERT_TRUE(twin.simulate_rounding(kEpsilon, kAllPositive));
  const Tensor change = gradient() - exact;
  EXPECT_TRUE(change.allclose(kEpsilon * at::tensor({1.0, 1.0, 2.0 / 3}, at::kDouble), 0, 1e-9)) << change;
  for (const auto& [name, error] : twin.local_rounding_errors()) {
    EXPECT_GT(error, 0) << name;
  }
}

TEST(RoundingNoise, OfASingleNumberIsRecorded) {
  MlpSpec spec{.inputs = 2, .hidden = {1}, .classes = 1, .loss = LossKind::mse};
  AutogradTwin twin(spec, {}, at::ones({5}), at::kDouble);
  const Tensor image = at::ones({1, 2}, at::kDouble), label = at::zeros({1}, at::kLong);
  twin.compute_gradients(image, label);
  ASSERT_TRUE(twin.simulate_rounding(kEpsilon, kAllPositive));
  twin.compute_gradients(image, label);
  const std::map<std::string, double> errors = twin.local_rounding_errors();
  ASSERT_EQ(errors.count("0.output"), 1U);
  EXPECT_NEAR(errors.at("0.output"), 3 * kEpsilon, 0.1 * kEpsilon);  // 1 · 1 + 1 · 1 + 1
}

}  // namespace twingrad::rounding_noise_test
