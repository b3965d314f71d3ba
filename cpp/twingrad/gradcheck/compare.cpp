#include "twingrad/gradcheck/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

namespace twingrad::gradcheck_detail {
namespace {

using torch::Tensor;
using Shape = std::vector<std::int64_t>;

/// What one pass over a block finds.
struct Scan {
  std::int64_t bad = 0;
  std::int64_t worst_absolute = 0, worst_relative = 0;  // flat indices; NaN counts as the worst
  bool all_zero = true;
};

/// One pass instead of ten tensor operations: the blocks of a full check are large, and memory is what costs.
template <typename Value>
Scan scan_values(const Value* ours, const Value* numeric, std::int64_t count, const Tolerance& tolerance,
                 double atol) {
  Scan scan;
  double absolute = -1, relative = 0;
  const auto is_nan = [](const Value& value) { return value != value; };
  for (std::int64_t i = 0; i < count; ++i) {
    const double our_size = std::abs(ours[i]);
    const double size = std::abs(numeric[i]);
    double error = std::abs(ours[i] - numeric[i]);
    if (!std::isfinite(error) &&
        (ours[i] == numeric[i] || (tolerance.equal_nan && is_nan(ours[i]) && is_nan(numeric[i])))) {
      error = 0;
    }
    scan.bad += !(error <= tolerance.absolute + tolerance.relative * size || error == 0);
    scan.all_zero = scan.all_zero && our_size == 0 && size == 0;
    if (!(error <= absolute) && !std::isnan(absolute)) {
      absolute = error;
      scan.worst_absolute = i;
    }
    const double scale = std::max(std::max(our_size, size), atol);
    if (error > 0 && !(error <= relative * scale) && !std::isnan(relative)) {
      relative = error / scale;
      scan.worst_relative = i;
    }
  }
  return scan;
}

Scan scan(const Block& block) {
  const Tensor ours = block.ours.contiguous();
  const Tensor numeric = block.numeric.contiguous();
  if (ours.is_complex()) {
    return scan_values(ours.data_ptr<c10::complex<double>>(), numeric.data_ptr<c10::complex<double>>(),
                       ours.numel(), block.tolerance, block.atol);
  }
  return scan_values(ours.data_ptr<double>(), numeric.data_ptr<double>(), ours.numel(), block.tolerance,
                     block.atol);
}

Shape unravel(std::int64_t flat, const Shape& shape) {
  Shape index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

std::complex<double> value_at(const Tensor& matrix, std::int64_t row, std::int64_t column) {
  const Tensor value = matrix.select(0, row).select(0, column);
  if (!value.is_complex()) {
    return value.item<double>();
  }
  const Tensor parts = at::view_as_real(value);
  return {parts.select(0, 0).item<double>(), parts.select(0, 1).item<double>()};
}

Entry entry_at(const Block& block, const Comparison& comparison, std::int64_t flat) {
  const std::int64_t row = flat / block.ours.size(1);
  const std::int64_t column = flat % block.ours.size(1);
  Entry entry;
  if (comparison.kind != Comparison::Kind::projection) {  // which mixes all elements
    entry.output_index = unravel(row, comparison.output_shape);
    entry.input_index = unravel(column, comparison.input_shape);
  }
  entry.ours = value_at(block.ours, row, column);
  entry.numeric = value_at(block.numeric, row, column);
  entry.absolute = std::abs(entry.ours - entry.numeric);
  const double scale = std::max({std::abs(entry.ours), std::abs(entry.numeric), block.atol});
  entry.relative = entry.absolute == 0 ? 0 : entry.absolute / scale;
  entry.tolerance = block.tolerance.absolute + block.tolerance.relative * std::abs(entry.numeric);
  entry.passed =
      entries_within(block.ours[row][column], block.numeric[row][column], block.tolerance).item<bool>();
  return entry;
}

bool everywhere(const Tensor& mask) { return mask.all().item<bool>(); }
double largest(const Tensor& values) { return values.numel() == 0 ? 0 : values.abs().max().item<double>(); }

/// Whether two matrices agree as far as a cause is concerned: to rtol, and to a thousandth of the largest
/// entry.
bool alike(const Tensor& ours, const Tensor& expected, const Tolerance& tolerance) {
  return ours.numel() > 0 &&
         everywhere(entries_within(
             ours, expected,
             {std::min(tolerance.absolute, 1e-3 * largest(expected)), tolerance.relative, false}));
}

bool near(double value, double expected) { return std::abs(value - expected) <= 2e-3 * std::abs(expected); }

/// The k that minimizes Σ|ours − k · numeric|², if ours is k · numeric.
std::optional<double> common_factor(const Tensor& ours, const Tensor& numeric, const Tolerance& tolerance) {
  const double square = (numeric * numeric.conj()).sum().abs().item<double>();
  const double product = at::real((ours * numeric.conj()).sum()).item<double>();
  const double factor = product / square;
  if (!std::isfinite(factor) || factor == 0 || !alike(ours / factor, numeric, tolerance)) {
    return std::nullopt;
  }
  return factor;
}

/// A size of the input or output that is n, in words; empty if there is none.
std::string size_in_words(double n, const Comparison& comparison) {
  for (const auto& [name, shape] : {std::pair{&comparison.output_name, &comparison.output_shape},
                                    std::pair{&comparison.input_name, &comparison.input_shape}}) {
    std::int64_t elements = 1;
    for (std::size_t d = 0; d < shape->size(); ++d) {
      elements *= (*shape)[d];
      if ((*shape)[d] > 1 && near(n, static_cast<double>((*shape)[d]))) {
        return *name + ".size(" + std::to_string(d) + ")";
      }
    }
    if (elements > 1 && near(n, static_cast<double>(elements))) {
      return *name + ".numel()";
    }
  }
  return {};
}

void set(Comparison& comparison, Cause cause, std::string explanation, double factor = 1) {
  comparison.cause = cause;
  comparison.explanation = std::move(explanation);
  comparison.factor = factor;
}

bool explain_factor(double factor, const std::string& where, Comparison& comparison) {
  const std::string times = number_text(factor) + " x numeric" + where;
  const std::string size = size_in_words(factor, comparison);
  const std::string inverse_size = size_in_words(1 / factor, comparison);
  if (near(factor, -1)) {
    set(comparison, Cause::sign, "sign: ours = -1 x numeric" + where, factor);
  } else if (near(factor, 2)) {
    set(comparison, Cause::factor,
        "factor 2: ours = " + times + "; a forgotten 1/2" + (size.empty() ? "" : ", or 1/" + size), factor);
  } else if (near(factor, 0.5)) {
    set(comparison, Cause::factor,
        "factor 1/2: ours = " + times + "; a forgotten 2, or one of two equal shares" +
            (inverse_size.empty() ? "" : ", or a second 1/" + inverse_size),
        factor);
  } else if (!size.empty()) {
    set(comparison, Cause::missing_mean,
        "missing 1/N: ours = " + times + ", N = " + size + "; a sum instead of a mean", factor);
  } else if (!inverse_size.empty()) {
    set(comparison, Cause::extra_mean,
        "1/N too many: ours = " + times + ", N = " + inverse_size + "; a mean instead of a sum", factor);
  } else if (comparison.entries > 1) {  // one number is always some multiple of another
    set(comparison, Cause::factor, "factor: ours = " + times, factor);
  } else {
    return false;
  }
  return true;
}

bool find_non_finite(const Block& block, const Tensor& bad, Comparison& comparison) {
  const auto count = [&](const Tensor& matrix) {
    return (matrix.isfinite().logical_not() & bad).sum().item<std::int64_t>();
  };
  const std::int64_t ours = count(block.ours);
  const std::int64_t numeric = count(block.numeric);
  if (ours == 0 && numeric == 0) {
    return false;
  }
  set(comparison, Cause::non_finite,
      "not finite: ours at " + std::to_string(ours) + ", numeric at " + std::to_string(numeric) + " of " +
          std::to_string(comparison.entries) + " entries");
  return true;
}

/// Zeros where there should be none.
bool find_missing(const Block& block, const Tensor& bad, Comparison& comparison) {
  const Tensor zero = block.ours == 0;
  if (!everywhere(zero | bad.logical_not())) {
    return false;
  }
  const Tensor zero_rows = zero.all(1, /*keepdim=*/true);
  const Tensor zero_columns = zero.all(0, /*keepdim=*/true);
  const auto explains = [&](const Tensor& mask) { return everywhere(mask | bad.logical_not()); };
  const bool square = block.ours.size(0) == block.ours.size(1);
  if (everywhere(zero)) {
    set(comparison, Cause::not_filled, "not filled: ours is zero everywhere");
  } else if (explains(zero_columns)) {
    set(comparison, Cause::not_filled,
        "not filled: zero for " + std::to_string(zero_columns.sum().item<std::int64_t>()) + " of " +
            std::to_string(zero_columns.numel()) + " input elements");
  } else if (square && explains(at::eye(block.ours.size(0), at::kBool).logical_not()) &&
             everywhere(zero | at::eye(block.ours.size(0), at::kBool))) {
    set(comparison, Cause::diagonal_only,
        "diagonal only: d y_i / d x_j is zero for all i != j; a sum, mean or maximum taken for a constant?");
  } else if (explains(zero_rows)) {
    set(comparison, Cause::overwritten,
        "overwritten instead of accumulated: right from " +
            std::to_string(zero_rows.logical_not().sum().item<std::int64_t>()) + " of " +
            std::to_string(zero_rows.numel()) + " output elements, zero from the others");
  } else {
    set(comparison, Cause::not_filled, "not filled: ours is zero at every bad entry");
  }
  return true;
}

bool find_transposed(const Block& block, Comparison& comparison) {
  const Shape& shape = comparison.input_shape;
  if (shape.size() >= 2) {
    Shape reversed = shape;
    std::swap(reversed[shape.size() - 1], reversed[shape.size() - 2]);
    reversed.insert(reversed.begin(), block.ours.size(0));
    const Tensor swapped = block.ours.reshape(reversed).transpose(-1, -2).reshape(block.ours.sizes());
    if (alike(swapped, block.numeric, block.tolerance)) {
      set(comparison, Cause::transposed,
          "transposed: ours holds the right numbers for the gradient's transpose");
      return true;
    }
  }
  if (block.ours.size(0) == block.ours.size(1) && alike(block.ours.t(), block.numeric, block.tolerance)) {
    set(comparison, Cause::transposed,
        "transposed: ours is J instead of J^T times the upstream gradient; a matrix used as it is in the "
        "forward?");
    return true;
  }
  return false;
}

}  // namespace

std::string number_text(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

Tensor entries_within(const Tensor& ours, const Tensor& numeric, const Tolerance& tolerance) {
  Tensor within = (ours - numeric).abs() <= numeric.abs().mul_(tolerance.relative).add_(tolerance.absolute);
  if (!everywhere(within)) {
    within |= ours == numeric;
    if (tolerance.equal_nan) {
      within |= ours.isnan() & numeric.isnan();
    }
  }
  return within;
}

bool summarize(const Block& block, Comparison& comparison) {
  comparison.entries = block.ours.numel();
  if (comparison.entries == 0) {
    comparison.explanation = "nothing to compare: no elements";
    return true;
  }
  const Scan found = scan(block);
  comparison.worst_absolute = entry_at(block, comparison, found.worst_absolute);
  comparison.worst_relative = entry_at(block, comparison, found.worst_relative);
  if (found.all_zero) {
    comparison.explanation = "all zero: the output does not depend on the input here";
  }
  return found.bad == 0;
}

void list_bad_entries(const Block& block, const Tensor& bad, const Tensor& kinks, Comparison& comparison) {
  constexpr std::int64_t kMostEntries = 100;
  comparison.bad = bad.sum().item<std::int64_t>();
  Tensor excess = (block.ours - block.numeric).abs() /
                  (block.numeric.abs() * block.tolerance.relative + block.tolerance.absolute);
  excess = at::where(excess.isnan(), at::full_like(excess, std::numeric_limits<double>::infinity()), excess);
  excess.masked_fill_(bad.logical_not(), -1);
  const Tensor worst = std::get<1>(excess.view(-1).topk(std::min(comparison.bad, kMostEntries)));
  for (std::int64_t i = 0; i < worst.numel(); ++i) {
    const std::int64_t flat = worst[i].item<std::int64_t>();
    Entry entry = entry_at(block, comparison, flat);
    entry.passed = false;
    entry.kink = kinks.defined() && kinks.reshape(-1)[flat].item<bool>();
    comparison.bad_entries.push_back(std::move(entry));
  }
}

void find_cause(const Block& block, const Tensor& bad, Comparison& comparison) {
  if (find_non_finite(block, bad, comparison) || find_missing(block, bad, comparison)) {
    return;
  }
  if (const auto factor = common_factor(block.ours, block.numeric, block.tolerance);
      factor && explain_factor(*factor, "", comparison)) {
    return;
  }
  if (find_transposed(block, comparison)) {
    return;
  }
  if (block.ours.is_complex() && alike(block.ours.conj(), block.numeric, block.tolerance)) {
    set(comparison, Cause::conjugated, "conjugated: ours is the complex conjugate of the gradient");
    return;
  }
  const Tensor bad_ours = block.ours.masked_select(bad);
  if (bad_ours.numel() > 1) {
    const auto factor = common_factor(bad_ours, block.numeric.masked_select(bad), block.tolerance);
    if (factor && explain_factor(*factor, " at every bad entry", comparison)) {
      return;
    }
  }
  set(comparison, Cause::unknown, "no known pattern");
}

KinkMasks find_kinks(const Block& block, const std::vector<std::int64_t>& columns, const Slopes& wide,
                     const Slopes& narrow) {
  const Tensor at_columns = at::tensor(columns, at::kLong);
  const Tensor ours = block.ours.index_select(1, at_columns).t();
  const Tensor difference = (wide.right - wide.left).abs();
  const Tensor ratio = (narrow.right - narrow.left).abs() / difference;
  const Tensor low = at::minimum(wide.left, wide.right);
  const Tensor high = at::maximum(wide.left, wide.right);
  const Tensor tolerance =
      at::maximum(low.abs(), high.abs()) * block.tolerance.relative + block.tolerance.absolute;
  // Where f'' exists the slopes differ by h f'', so a tenth of the step leaves a tenth of the difference. At
  // a kink it stays as it is, near one it vanishes, at a jump it is tenfold.
  const Tensor differ = difference > tolerance;
  const Tensor smooth = (ratio > 0.05) & (ratio < 0.2);
  const Tensor jump = ratio > 5;
  const Tensor between = (ours >= low - tolerance) & (ours <= high + tolerance);
  const auto scattered = [&](const Tensor& mask) {
    return at::zeros(block.ours.sizes(), at::kBool).index_copy(1, at_columns, mask.t());
  };
  return {scattered(differ & smooth.logical_not() & jump.logical_not()), scattered(differ & jump),
          scattered(between)};
}

}  // namespace twingrad::gradcheck_detail
