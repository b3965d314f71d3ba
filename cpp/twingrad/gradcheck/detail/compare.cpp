#include "twingrad/gradcheck/detail/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace twingrad::gradcheck_detail {
namespace {

/// The results of one pass over a block.
struct Scan {
  std::int64_t bad = 0;
  std::int64_t worst_absolute = 0, worst_relative = 0;  // flat indices; NaN counts as the worst
  bool all_zero = true;
};

/// One pass instead of ten tensor operations: blocks of a full check are large, and memory bandwidth limits
/// the speed.
template <typename Value>
Scan scan_values(const Value* analytical, const Value* numerical, std::int64_t count,
                 const Tolerance& tolerance, double atol) {
  Scan scan;
  double absolute = -1, relative = 0;
  const auto is_nan = [](const Value& value) { return value != value; };
  for (std::int64_t i = 0; i < count; ++i) {
    const Value a = analytical[i], n = numerical[i];
    const double size = std::max(std::abs(a), std::abs(n));
    const bool equal = a == n || (tolerance.equal_nan && is_nan(a) && is_nan(n));
    const double error = equal ? 0 : std::abs(a - n);
    const double bound = tolerance.absolute + tolerance.relative * std::abs(n);
    scan.bad += !(equal || (std::isfinite(error) && error <= bound));
    scan.all_zero = scan.all_zero && equal && size == 0;
    if (!(error <= absolute) && !std::isnan(absolute)) {
      absolute = error;
      scan.worst_absolute = i;
    }
    const double scale = std::max(size, atol);
    if (error > 0 && !(error <= relative * scale) && !std::isnan(relative)) {
      relative = error / scale;
      scan.worst_relative = i;
    }
  }
  return scan;
}

Scan scan(const Block& block) {
  const Tensor analytical = block.analytical.contiguous();
  const Tensor numerical = block.numerical.contiguous();
  const auto scan_as = [&](auto zero) {
    using Value = decltype(zero);
    return scan_values(analytical.data_ptr<Value>(), numerical.data_ptr<Value>(), analytical.numel(),
                       block.tolerance, block.atol);
  };
  return analytical.is_complex() ? scan_as(c10::complex<double>()) : scan_as(0.0);
}

std::vector<std::int64_t> unravel(std::int64_t flat, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

GradcheckEntry entry_at(const Block& block, const GradcheckComparison& comparison, std::int64_t flat) {
  const std::int64_t row = flat / block.analytical.size(1);
  const std::int64_t column = flat % block.analytical.size(1);
  const auto value_in = [&](const Tensor& matrix) {
    return static_cast<std::complex<double>>(matrix[row][column].item().toComplexDouble());
  };
  GradcheckEntry entry;
  if (comparison.kind != GradcheckComparison::Kind::projection) {  // which combines all elements
    entry.output_index = unravel(row, comparison.output_shape);
    entry.input_index = unravel(column, comparison.input_shape);
  }
  entry.analytical = value_in(block.analytical);
  entry.numerical = value_in(block.numerical);
  entry.absolute = std::abs(entry.analytical - entry.numerical);
  const double scale = std::max({std::abs(entry.analytical), std::abs(entry.numerical), block.atol});
  entry.relative = entry.absolute == 0 ? 0 : entry.absolute / scale;
  entry.tolerance = block.tolerance.absolute + block.tolerance.relative * std::abs(entry.numerical);
  return entry;
}

}  // namespace

std::string number_text(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

Tensor Block::bad_entries() const {
  return at::isclose(analytical, numerical, tolerance.relative, tolerance.absolute, tolerance.equal_nan)
      .logical_not_();
}

bool summarize(const Block& block, GradcheckComparison& comparison) {
  comparison.entries = block.analytical.numel();
  if (comparison.entries == 0) {
    comparison.explanation = "nothing to compare: no elements";
    return true;
  }
  const Scan found = scan(block);
  const Tensor bad = found.bad == 0 ? Tensor() : block.bad_entries().reshape(-1);
  for (auto [entry, flat] : {std::pair{&comparison.worst_absolute, found.worst_absolute},
                             std::pair{&comparison.worst_relative, found.worst_relative}}) {
    *entry = entry_at(block, comparison, flat);
    entry->passed = !bad.defined() || !bad[flat].item<bool>();
  }
  if (found.all_zero) {
    comparison.explanation = "all zero: the output does not depend on the input here";
  }
  return found.bad == 0;
}

void list_bad_entries(const Block& block, const Tensor& bad, const Tensor& kinks,
                      GradcheckComparison& comparison) {
  constexpr std::int64_t kMaxEntries = 100;
  comparison.bad = bad.sum().item<std::int64_t>();
  Tensor excess = (block.analytical - block.numerical).abs() /
                  (block.numerical.abs() * block.tolerance.relative + block.tolerance.absolute);
  excess.masked_fill_(excess.isnan(), std::numeric_limits<double>::infinity());
  excess.masked_fill_(bad.logical_not(), -1);
  const Tensor worst = std::get<1>(excess.view(-1).topk(std::min(comparison.bad, kMaxEntries)));
  for (std::int64_t i = 0; i < worst.numel(); ++i) {
    const std::int64_t flat = worst[i].item<std::int64_t>();
    GradcheckEntry entry = entry_at(block, comparison, flat);
    entry.passed = false;
    entry.kink = kinks.defined() && kinks.reshape(-1)[flat].item<bool>();
    comparison.bad_entries.push_back(std::move(entry));
  }
}

}  // namespace twingrad::gradcheck_detail
