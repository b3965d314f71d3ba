#include "twingrad/compare/compare_tensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/compare/difference.h"
#include "twingrad/gradcheck/detail/compare.h"

namespace twingrad {

using at::Tensor;

namespace {

constexpr double kInfiniteError = std::numeric_limits<double>::infinity();
/// The largest error allowed, in units of the simulated noise.
constexpr double kNoiseFactor = 32;
/// The same if this exceeds the tensor: the effect of noise is then no longer proportional to it.
constexpr double kFactorOfNoise = 1024;
/// How much larger than the error of the autograd twin the error of the manual twin may be.
constexpr double kErrorFactor = 4;

/// Why m differs from the reference, as far as gradcheck knows. empty: no known pattern
std::string cause_of(const Tensor& manual, const Tensor& reference, double bound, std::int64_t rows) {
  GradcheckComparison found;
  found.input_shape = reference.sizes().vec();
  found.output_shape = {rows};
  found.entries = reference.numel();
  gradcheck_detail::Block block{.analytical = manual.reshape({1, -1}),
                                .numerical = reference.reshape({1, -1}),
                                .tolerance = {.absolute = bound, .relative = 1e-3}};
  const Tensor bad = ((block.analytical - block.numerical).abs() <= bound).logical_not();
  gradcheck_detail::find_cause(block, bad, found);
  const auto bad_entries = bad.sum().item<std::int64_t>();
  std::string share =
      fmt::format("{:.3g}% of the entries", 100 * static_cast<double>(bad_entries) /
                                                static_cast<double>(std::max<std::int64_t>(1, bad.numel())));
  switch (found.cause) {
    case GradcheckCause::factor:
      return fmt::format("factor {:.4g}", found.factor);
    case GradcheckCause::unknown:
    case GradcheckCause::none:
      return share;
    case GradcheckCause::non_finite:
      return "not finite, " + share;
    default: {
      std::string words = to_string(found.cause);  // "missing_mean"
      std::replace(words.begin(), words.end(), '_', ' ');
      return fmt::format("{}, {}", words, share);
    }
  }
}

}  // namespace

double largest_of(const Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
}

double largest_rounding_error(double noise) { return (1 + kErrorFactor) * kNoiseFactor * noise; }

TensorComparison compare_tensors(const std::string& name, const Tensor& manual, const Tensor& autograd,
                                 const Tensor& reference, double noise, double epsilon, std::int64_t rows) {
  TensorComparison row{.name = name};
  const auto incomparable = [&](const std::string& cause) {
    row.manual_error = row.autograd_error = row.max_abs = row.max_rel = row.max_ulp = kInfiniteError;
    row.cause = cause;
    return row;
  };
  if (!manual.defined() || !autograd.defined() || !reference.defined()) {
    return incomparable(fmt::format("missing in the {} twin", manual.defined() ? "autograd" : "manual"));
  }
  row.shape = manual.sizes().vec();
  if (manual.sizes() != reference.sizes() || autograd.sizes() != reference.sizes()) {
    return incomparable("the shapes differ");
  }
  const Tensor m = manual.to(at::kDouble), a = autograd.to(at::kDouble), r = reference.to(at::kDouble);
  const auto error = [](const Tensor& difference) {
    const double largest = largest_of(difference);  // NaN spreads through max
    return std::isfinite(largest) ? largest : kInfiniteError;
  };
  row.entries = m.numel();
  row.identical = (manual == autograd).sum().item<std::int64_t>();
  row.largest = largest_of(r);
  row.max_abs = error(m - a);
  row.max_rel = relative_to(row.max_abs, row.largest);
  const double last_place = epsilon * std::exp2(std::floor(std::log2(row.largest)));
  row.max_ulp = relative_to(row.max_abs, last_place);
  row.manual_error = error(m - r);
  row.autograd_error = error(a - r);
  const double factor = kNoiseFactor * noise > row.largest ? kFactorOfNoise : kNoiseFactor;
  const double largest_noise = std::isfinite(noise) ? factor * noise : 0;  // infinity has no rounding errors
  row.bound = largest_noise + kErrorFactor * std::min(row.autograd_error, largest_noise);
  const bool autograd_is_right = row.autograd_error <= (1 + kErrorFactor) * largest_noise;
  if (row.manual_error <= row.bound && autograd_is_right) {
    row.verdict = row.identical == row.entries ? Verdict::identical : Verdict::same_to_rounding;
  } else {
    row.cause = autograd_is_right                   ? cause_of(m, r, row.bound, rows)
                : std::isfinite(row.autograd_error) ? "the autograd twin is far from its float64 reference"
                                                    : "not finite in the autograd twin or its reference";
  }
  return row;
}

}  // namespace twingrad
