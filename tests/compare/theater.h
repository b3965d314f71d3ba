#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "puppet_twin.h"
#include "twingrad/compare/twin_comparer.h"

namespace twingrad::scripted_twins_test {

using at::Tensor;
using testing::PuppetTwin;
using Tensors = PuppetTwin::Tensors;

constexpr double kDoubleEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kInf = std::numeric_limits<double>::infinity();

inline Tensor row_of(const std::vector<double>& values, at::ScalarType dtype = at::kDouble) {
  return at::tensor(values, dtype);
}

/// A twin with a weight, a bias, a loss of −3 and logits up to 5.
inline void set_up(PuppetTwin& twin, at::ScalarType dtype) {
  twin.weights = {{"0.weight", row_of({1, 2, 4}, dtype)}, {"0.bias", row_of({0.5}, dtype)}};
  twin.gradient = {{"0.weight", row_of({8, 2, 1}, dtype)}, {"0.bias", row_of({0.25}, dtype)}};
  twin.results = {{"logits", row_of({1, -5}, dtype)}};
  twin.loss_of = [](const Tensor&, const Tensor&) { return -3.; };
}

/// An autograd and a manual twin. The images are [N, 1] and contain the number of their row.
struct Theater {
  explicit Theater(std::int64_t rows = 4, at::ScalarType dtype = at::kDouble) {
    batch = {at::arange(rows, dtype).unsqueeze(1), at::arange(rows, at::kLong) % 3};
    for (PuppetTwin* twin : {&autograd, &manual}) {
      set_up(*twin, dtype);
    }
  }
  TwinComparer& judge() {
    if (!comparer) {
      comparer = std::make_unique<TwinComparer>(manual, autograd);
    }
    return *comparer;
  }
  Comparison compare() { return judge().compare(batch); }
  TensorComparison row(const std::string& name) {
    for (const TensorComparison& tensor : compare().tensors) {
      if (tensor.name == name) {
        return tensor;
      }
    }
    throw std::out_of_range(name);
  }

  PuppetTwin autograd{"autograd"}, manual{"manual"};
  Batch batch;
  std::unique_ptr<TwinComparer> comparer;
};

/// The reference in float64 of the autograd twin, which lives as long as the theater after a comparison.
inline PuppetTwin* with_reference(Theater& theater) {
  auto made = std::make_unique<PuppetTwin>("reference");
  set_up(*made, at::kDouble);
  PuppetTwin* const reference = made.get();
  auto shared = std::make_shared<std::unique_ptr<Twin>>(std::move(made));
  theater.autograd.make_reference = [shared] { return std::move(*shared); };
  return reference;
}

inline std::int64_t count_of(const PuppetTwin& twin, const std::string& call) {
  return std::count(twin.calls.begin(), twin.calls.end(), call);
}

}  // namespace twingrad::scripted_twins_test
