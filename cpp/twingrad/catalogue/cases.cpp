#include "twingrad/catalogue/cases.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

namespace twingrad::catalogue {
namespace {

constexpr std::uint64_t kSeed = 20261123;

at::Generator& generator() {
  static at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(kSeed);
  return generator;
}

/// One of low, low + 1, low + 2.
std::int64_t draw_size(std::int64_t low) {
  return at::randint(low, low + 3, {1}, generator(), at::kLong).item<std::int64_t>();
}

}  // namespace

Tensor draw(at::IntArrayRef shape, double scale) {
  return at::empty(shape, at::kDouble).normal_(0, 1, generator()).mul_(scale);
}

// A new generator: set_current_seed would keep the cached second number of a normal pair.
void restart_draws() { generator() = at::make_generator<at::CPUGeneratorImpl>(kSeed); }

Tensor matrix(std::initializer_list<double> values, std::int64_t rows) {
  return at::tensor(at::ArrayRef<double>(values)).to(at::kDouble).view({rows, -1});
}

Tensor strided(const Tensor& tensor) {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> order;
  for (std::int64_t axis = tensor.dim() - 1; axis >= 0; --axis) {
    shape.push_back(2 * tensor.size(axis));
    order.push_back(axis);
  }
  // Integers have no NaN; any wrong number will do.
  Tensor memory =
      tensor.is_floating_point() ? at::full(shape, NAN, tensor.options()) : at::ones(shape, tensor.options());
  memory = memory.permute(order);
  for (std::int64_t axis = 0; axis < tensor.dim(); ++axis) {
    memory = memory.slice(axis, 0, c10::nullopt, 2);
  }
  return memory.copy_(tensor);
}

std::vector<Case> cases_of(const Inputs& inputs, const Limits& limits) {
  const auto drawn = [&] { return inputs(draw_size(3), draw_size(6)); };
  std::vector<Case> cases = {{"random", drawn()}};
  if (limits.rows <= 1) {
    cases.push_back({"one row", inputs(1, draw_size(6))});
  }
  if (limits.columns <= 1) {
    cases.push_back({"one column", inputs(draw_size(3), 1)});
  }
  if (limits.rows == 0) {
    cases.push_back(
        {.name = "no rows", .inputs = inputs(0, 6), .smooth = !limits.mean, .nan_expected = limits.mean});
  }
  if (limits.columns == 0) {
    cases.push_back(
        {.name = "no columns", .inputs = inputs(5, 0), .smooth = !limits.mean, .nan_expected = limits.mean});
  }
  cases.push_back({"not contiguous", drawn()});
  for (Tensor& input : cases.back().inputs) {
    input = strided(input);
  }
  cases.push_back({.name = "upstream not contiguous", .inputs = drawn(), .strided_upstream = true});
  if (limits.far) {
    cases.push_back({.name = "values of 1e4", .inputs = drawn(), .smooth = false});
    cases.back().inputs[0].mul_(1e4);
  }
  return cases;
}

}  // namespace twingrad::catalogue
