#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/mlp/rounding_noise.h"

namespace twingrad::rounding_noise_test {

using at::Tensor;
using Kind = LayerSpec::Kind;

constexpr double kEpsilon = 1e-3;
constexpr std::int64_t kRows = 5, kWidth = 4;

// Seeds of the patterns of signs.
constexpr std::uint64_t kCommonToARow = 0, kIndependent = 1, kAllPositive = 2, kCommonToAColumn = 3;

/// A network, random parameters, one of its layers, and an input and output of it.
struct Case {
  MlpSpec spec;
  std::vector<LayerSpec> layers = flat_layers_of(spec);
  std::size_t index = 0;
  std::vector<NamedTensor> parameters = {};
  Tensor x = at::randn({kRows, kWidth}, at::kDouble), y = {};

  const LayerSpec& layer() const { return layers[index]; }
  Tensor parameter(const std::string& name) const {
    for (const NamedTensor& tensor : parameters) {
      if (tensor.name == layer().name + "." + name) {
        return tensor.tensor;
      }
    }
    return {};
  }
};

/// The first layer of this kind, with random input and output unless `output` computes it.
inline Case case_of(MlpSpec spec, Kind kind, const std::function<Tensor(const Tensor&)>& output = nullptr) {
  spec.inputs = spec.classes = kWidth;
  spec.hidden = {kWidth};
  Case of{.spec = spec};
  const auto found = std::find_if(of.layers.begin(), of.layers.end(),
                                  [&](const LayerSpec& layer) { return layer.kind == kind; });
  EXPECT_NE(found, of.layers.end());
  of.index = static_cast<std::size_t>(found - of.layers.begin());
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    of.parameters.push_back({parameter.name, at::randn(parameter.shape, at::kDouble)});
  }
  of.y = output ? output(of.x) : at::randn({kRows, kWidth}, at::kDouble);
  return of;
}

inline RoundingNoise noise_for(const Case& of, std::uint64_t seed, std::vector<Tensor> results = {}) {
  if (results.empty()) {
    results.assign(result_names(of.spec).size(), Tensor());
    for (Tensor& result : results) {
      result = of.y.detach();
    }
  }
  return {of.spec, kEpsilon, of.parameters, results, seed};
}

/// The tensor with each entry computed from its row and column.
inline Tensor table(std::int64_t rows, std::int64_t columns,
                    const std::function<double(std::int64_t, std::int64_t)>& entry) {
  Tensor result = at::empty({rows, columns}, at::kDouble);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      result[i][j] = entry(i, j);
    }
  }
  return result;
}

inline double at(const Tensor& tensor, std::int64_t i, std::int64_t j) { return tensor[i][j].item<double>(); }
inline double at(const Tensor& tensor, std::int64_t i) { return tensor[i].item<double>(); }

inline double largest_in_row(const Tensor& tensor, std::int64_t i) { return tensor[i].max().item<double>(); }

/// Σ_k term(k)
inline double sum(std::int64_t count, const std::function<double(std::int64_t)>& term) {
  double total = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    total += term(k);
  }
  return total;
}

/// Mean and standard deviation of what a normalization computes the entry (i, j) from.
struct Moments {
  double mean, deviation;
};

inline Moments moments_of(Kind kind, const Tensor& x, std::int64_t i, std::int64_t j) {
  const bool of_column = kind == Kind::batch_norm;
  const std::int64_t count = of_column ? kRows : kWidth;
  const auto entry = [&](std::int64_t k) { return of_column ? at(x, k, j) : at(x, i, k); };
  const double mean = kind == Kind::rms_norm ? 0 : sum(count, entry) / static_cast<double>(count);
  const double variance =
      sum(count, [&](std::int64_t k) { return std::pow(entry(k) - mean, 2); }) / static_cast<double>(count);
  return {mean, std::sqrt(variance + (kind == Kind::rms_norm ? 1.2e-7 : 1e-5))};
}

inline const std::vector<std::pair<Kind, Normalization>> kNormalizations = {
    {Kind::batch_norm, Normalization::batch},
    {Kind::layer_norm, Normalization::layer},
    {Kind::rms_norm, Normalization::rms}};

/// Expects the noise of the result to be ε t, all positive, and to be recorded.
inline void expect_forward_terms(const Case& of, const Tensor& terms) {
  RoundingNoise noise = noise_for(of, kAllPositive);
  const Tensor change = noise.perturb(of.layer(), of.x, of.y) - of.y;
  EXPECT_TRUE(change.allclose(kEpsilon * terms, 1e-10, 1e-15)) << of.layer().name << "\n"
                                                               << change / kEpsilon << terms;
  const std::string name = result_names(of.spec)[of.layer().result];
  EXPECT_NEAR(noise.local_errors().at(name), kEpsilon * terms.max().item<double>(), 1e-12);
}

/// The terms that a layer adds to the gradient of its input, for the upstream gradient `grad`, measured as
/// the noise of a gradient of zeros.
inline Tensor input_gradient_terms(const Case& of, RoundingNoise& noise, const Tensor& grad) {
  const LayerSpec& before = of.layers[of.index - 1];
  const Tensor input = of.x.clone().requires_grad_();
  const Tensor noisy_input = noise.perturb(before, of.x, input);
  const Tensor y = of.y.clone().requires_grad_();
  noise.perturb(of.layer(), noisy_input.detach(), y).backward(grad);
  noisy_input.backward(at::zeros_like(of.x));
  return input.grad() / kEpsilon;
}

/// The upstream gradient with noise, all positive.
inline Tensor noisy(const Tensor& grad) { return grad + kEpsilon * grad.abs(); }

}  // namespace twingrad::rounding_noise_test
