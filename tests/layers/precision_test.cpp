#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../catalogue/expect_agreement.h"
#include "twingrad/layers/activations.h"
#include "twingrad/layers/leaky_relu.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/softmax.h"

// Elsewhere, an error is relative to the largest entry of a tensor, which hides a lost digit of a small
// entry: exp(x) − 1 in place of expm1(x), log(1 + x) in place of log1p(x). Here each entry counts by itself.

namespace twingrad::nn {
namespace {

using Number = long double;
using Formula = std::function<Number(Number)>;

/// An activation in long double, and from where on its formula keeps the relative accuracy of an entry.
struct Accurate {
  Formula value, slope;
  double value_from = -80;                    ///< 1 + erf(x) and 1 + tanh(x) cancel below
  double slope_from = -80, slope_up_to = 80;  ///< 1 − y cancels above, 1 − y² on both sides
};

Number sigmoid(Number x) { return 1 / (1 + std::exp(-x)); }

Accurate gelu() {
  const auto distribution = [](Number x) { return std::erfc(-x / std::sqrt(Number{2})) / 2; };
  return {[=](Number x) { return x * distribution(x); },
          [=](Number x) {
            return distribution(x) + x * std::exp(-x * x / 2) * Number{M_2_SQRTPI} * Number{M_SQRT1_2} / 2;
          },
          -1, -0.4};
}

Accurate gelu_tanh() {
  const Number root = Number{M_2_SQRTPI} * Number{M_SQRT1_2};
  const auto t = [=](Number x) { return std::tanh(root * (x + 0.044715L * x * x * x)); };
  return {[=](Number x) { return x * (1 + t(x)) / 2; },
          [=](Number x) {
            return (1 + t(x)) / 2 + x * (1 - t(x) * t(x)) * root * (1 + 3 * 0.044715L * x * x) / 2;
          },
          -1, -0.4};
}

/// For x ≤ 0 and for x > 0.
Formula pieces(const Formula& left, const Formula& right) {
  return [=](Number x) { return x > 0 ? right(x) : left(x); };
}

const std::map<std::string, Accurate>& accurate_activations() {
  constexpr Number kScale = 1.0507009873554804934193349852946L;
  constexpr Number kScaleAlpha = kScale * 1.6732632423543772848170429916717L;
  const Formula one = [](Number) { return Number{1}; };
  const Formula zero = [](Number) { return Number{0}; };
  const Formula same = [](Number x) { return x; };
  const Formula exp = [](Number x) { return std::exp(x); };
  static const std::map<std::string, Accurate> all = {
      {"relu", {pieces(zero, same), pieces(zero, one)}},
      {"leaky_relu",
       {pieces([](Number x) { return 0.01L * x; }, same), pieces([](Number) { return 0.01L; }, one)}},
      {"elu", {pieces([](Number x) { return std::expm1(x); }, same), pieces(exp, one)}},
      {"selu",
       {pieces([=](Number x) { return kScaleAlpha * std::expm1(x); }, [=](Number x) { return kScale * x; }),
        pieces([=](Number x) { return kScaleAlpha * std::exp(x); }, [=](Number) { return kScale; })}},
      {"gelu", gelu()},
      {"gelu_tanh", gelu_tanh()},
      {"silu",
       {[](Number x) { return x * sigmoid(x); },
        [](Number x) { return sigmoid(x) * (1 + x * sigmoid(-x)); }}},
      {"softplus",
       {[](Number x) { return x > 20 ? x : std::log1p(std::exp(x)); },
        [](Number x) { return x > 20 ? 1 : sigmoid(x); }}},
      {"sigmoid", {sigmoid, [](Number x) { return sigmoid(x) * sigmoid(-x); }, -80, -80, 1}},
      {"tanh",
       {[](Number x) { return std::tanh(x); }, [](Number x) { return 1 / (std::cosh(x) * std::cosh(x)); },
        -80, -0.5, 0.5}},
      {"hardtanh",
       {[](Number x) { return std::min(Number{1}, std::max(Number{-1}, x)); },
        [](Number x) { return std::abs(x) < 1 ? 1 : 0; }}},
      {"softsign",
       {[](Number x) { return x / (1 + std::abs(x)); },
        [](Number x) { return 1 / ((1 + std::abs(x)) * (1 + std::abs(x))); }}}};
  return all;
}

double epsilon_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
}

/// About ten operations, each with a rounding, which a sum of terms with opposite signs amplifies up to
/// threefold in the ranges of the table.
constexpr double kRoundings = 32;

/// Compares the entries of `found` [1, N] with the formula of those of x that are in the range.
void expect_accurate(const Tensor& x, const Tensor& found, const Formula& formula, double from,
                     double up_to) {
  const Tensor points = x.to(at::kDouble);
  const Tensor values = found.to(at::kDouble);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const double point = points[0][i].item<double>();
    const double expected = static_cast<double>(formula(point));
    if (point >= from && point <= up_to) {
      EXPECT_LE(std::abs(values[0][i].item<double>() - expected),
                kRoundings * epsilon_of(x.scalar_type()) * std::abs(expected))
          << "at " << point << ": expected " << expected;
    }
  }
}

TEST(Precision, ActivationsAreAccurateInEachEntry) {
  std::vector<double> points = {0};
  for (const double size : {1e-30, 1e-12, 1e-7, 1e-3, 0.1, 0.4, 0.99, 1.01, 3.0, 19.9, 20.1, 40.0, 75.0}) {
    points.insert(points.end(), {size, -size});
  }
  for (const ActivationEntry& entry : activations()) {
    const Accurate& accurate = accurate_activations().at(entry.name);
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(::testing::Message() << entry.name << " " << dtype);
      const Tensor x = at::tensor(points, at::kDouble).to(dtype).unsqueeze(0);
      const std::unique_ptr<Layer> layer = entry.make();
      expect_accurate(x, layer->forward(x).clone(), accurate.value, accurate.value_from, 80);
      expect_accurate(x, layer->backward(at::ones_like(x)), accurate.slope, accurate.slope_from,
                      accurate.slope_up_to);
    }
  }
}

TEST(Precision, LeakyReLUHasTheGivenSlope) {
  const Tensor x = catalogue::matrix({-3, -0.5, 0, 0.5, 3});
  for (const double slope : {0.0, 0.2, 1.0}) {
    LeakyReLU layer(slope);
    EXPECT_TRUE(layer.forward(x).equal(at::leaky_relu(x, slope))) << slope;
    EXPECT_TRUE(layer.backward(at::ones_like(x)).equal(catalogue::matrix({slope, slope, slope, 1, 1})));
  }
}

TEST(Precision, SmallProbabilitiesAndTheirGradientsAreAccurate) {
  // p_k = exp(z_k) / Σ exp(z), whose rounding is that of the exponent, 80 ε.
  const std::vector<double> logits = {0, -10, -40, -80};
  const auto p = [&](std::size_t k) {
    double sum = 0;
    for (const double z : logits) {
      sum += std::exp(z);
    }
    return std::exp(logits[k]) / sum;
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Tensor z = at::tensor(logits, at::kDouble).to(dtype).unsqueeze(0);
    Tensor first = at::zeros_like(z);
    first[0][0] = 1;
    Softmax softmax;
    LogSoftmax log_softmax;
    const Tensor y = softmax.forward(z).clone();
    const Tensor grad = softmax.backward(first);
    log_softmax.forward(z);
    const Tensor grad_of_log = log_softmax.backward(first);
    for (std::size_t k = 1; k < logits.size(); ++k) {
      const auto expect_close = [&](const Tensor& row, double expected) {
        EXPECT_LE(std::abs(row[0][static_cast<std::int64_t>(k)].item<double>() - expected),
                  128 * epsilon_of(dtype) * std::abs(expected))
            << dtype << " " << k;
      };
      expect_close(y, p(k));
      expect_close(grad, -p(0) * p(k));
      expect_close(grad_of_log, -p(k));
    }
  }
}

}  // namespace
}  // namespace twingrad::nn
