#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "twingrad/gradcheck/detail/compare.h"

namespace twingrad::gradcheck_detail {
namespace {

bool everywhere(const Tensor& mask) { return mask.all().item<bool>(); }

/// Whether two matrices are equal for the purpose of finding a cause: to rtol, and to a thousandth of the
/// largest entry.
bool alike(const Tensor& analytical, const Tensor& expected, const Tolerance& tolerance) {
  const double largest = expected.abs().max().item<double>();
  const double absolute = std::min(tolerance.absolute, 1e-3 * largest);
  return everywhere(at::isclose(analytical, expected, tolerance.relative, absolute));
}

bool near(double value, double expected) { return std::abs(value - expected) <= 2e-3 * std::abs(expected); }

/// The k that minimizes Σ|analytical − k · numerical|², if analytical = k · numerical.
std::optional<double> common_factor(const Tensor& analytical, const Tensor& numerical,
                                    const Tolerance& tolerance) {
  const double square = (numerical * numerical.conj()).sum().abs().item<double>();
  const double product = at::real((analytical * numerical.conj()).sum()).item<double>();
  const double factor = product / square;
  if (!std::isfinite(factor) || factor == 0 || !alike(analytical / factor, numerical, tolerance)) {
    return std::nullopt;
  }
  return factor;
}

/// The expression for a size of the output or input that equals n, such as "x.size(0)"; empty if there is
/// none.
std::string size_expression(double n, const GradcheckComparison& comparison) {
  for (const auto& [name, shape] : {std::pair{&comparison.output_name, &comparison.output_shape},
                                    std::pair{&comparison.input_name, &comparison.input_shape}}) {
    std::int64_t elements = 1;
    for (std::size_t d = 0; d < shape->size(); ++d) {
      const std::int64_t size = (*shape)[d];
      elements *= size;
      if (size > 1 && near(n, static_cast<double>(size))) {
        return *name + ".size(" + std::to_string(d) + ")";
      }
    }
    if (elements > 1 && near(n, static_cast<double>(elements))) {
      return *name + ".numel()";
    }
  }
  return {};
}

bool explain_factor(double factor, const std::string& where, GradcheckComparison& comparison) {
  const std::string equation = "analytical = " + number_text(factor) + " x numerical" + where;
  const std::string size = size_expression(factor, comparison);
  const std::string inverse_size = size_expression(1 / factor, comparison);
  const auto set = [&](GradcheckCause cause, const std::string& explanation) {
    set_cause(comparison, cause, explanation, factor);
    return true;
  };
  if (near(factor, -1)) {
    return set(GradcheckCause::sign, "sign: analytical = -1 x numerical" + where);
  }
  if (near(factor, 2)) {
    return set(GradcheckCause::factor,
               "factor 2: " + equation + "; a forgotten 1/2" + (size.empty() ? "" : ", or 1/" + size));
  }
  if (near(factor, 0.5)) {
    return set(GradcheckCause::factor, "factor 1/2: " + equation +
                                           "; a forgotten 2, or one of two equal terms" +
                                           (inverse_size.empty() ? "" : ", or a second 1/" + inverse_size));
  }
  if (!size.empty()) {
    return set(GradcheckCause::missing_mean,
               "missing 1/N: " + equation + ", N = " + size + "; a sum instead of a mean");
  }
  if (!inverse_size.empty()) {
    return set(GradcheckCause::extra_mean,
               "extra 1/N: " + equation + ", N = " + inverse_size + "; a mean instead of a sum");
  }
  // One number is always some multiple of another.
  return comparison.entries > 1 && set(GradcheckCause::factor, "factor: " + equation);
}

bool find_non_finite(const Block& block, const Tensor& bad, GradcheckComparison& comparison) {
  const auto count = [&](const Tensor& matrix) {
    return (matrix.isfinite().logical_not() & bad).sum().item<std::int64_t>();
  };
  const std::int64_t analytical = count(block.analytical);
  const std::int64_t numerical = count(block.numerical);
  if (analytical == 0 && numerical == 0) {
    return false;
  }
  set_cause(comparison, GradcheckCause::non_finite,
            c10::str("not finite: analytical at ", analytical, ", numerical at ", numerical, " of ",
                     comparison.entries, " entries"));
  return true;
}

/// Finds zeros where the numerical gradient is not zero.
bool find_missing(const Block& block, const Tensor& bad, GradcheckComparison& comparison) {
  const Tensor zero = block.analytical == 0;
  const auto explains = [&](const Tensor& mask) { return everywhere(mask | bad.logical_not()); };
  if (!explains(zero)) {
    return false;
  }
  const Tensor zero_rows = zero.all(1, /*keepdim=*/true);
  const Tensor zero_columns = zero.all(0, /*keepdim=*/true);
  const std::int64_t rows = zero.size(0), columns = zero.size(1);
  const Tensor diagonal = at::eye(rows, columns, at::kBool);
  const auto count = [](const Tensor& mask) { return mask.sum().item<std::int64_t>(); };
  if (everywhere(zero)) {
    set_cause(comparison, GradcheckCause::not_filled, "not filled: analytical is zero everywhere");
  } else if (explains(zero_columns)) {
    set_cause(comparison, GradcheckCause::not_filled,
              c10::str("not filled: zero for ", count(zero_columns), " of ", columns, " input elements"));
  } else if (rows == columns && explains(diagonal.logical_not()) && everywhere(zero | diagonal)) {
    set_cause(comparison, GradcheckCause::diagonal_only,
              "diagonal only: d y_i / d x_j is zero for all i != j; was a sum, mean or maximum treated as a "
              "constant?");
  } else if (explains(zero_rows)) {
    set_cause(comparison, GradcheckCause::overwritten,
              c10::str("overwritten instead of accumulated: right from ", count(zero_rows.logical_not()),
                       " of ", rows, " output elements, zero from the others"));
  } else {
    set_cause(comparison, GradcheckCause::not_filled, "not filled: analytical is zero at every bad entry");
  }
  return true;
}

bool find_transposed(const Block& block, GradcheckComparison& comparison) {
  const std::vector<std::int64_t>& shape = comparison.input_shape;
  const Tensor& analytical = block.analytical;
  if (shape.size() >= 2) {
    std::vector<std::int64_t> reversed = shape;
    std::swap(reversed[shape.size() - 1], reversed[shape.size() - 2]);
    reversed.insert(reversed.begin(), analytical.size(0));
    const Tensor swapped = analytical.reshape(reversed).transpose(-1, -2).reshape(analytical.sizes());
    if (alike(swapped, block.numerical, block.tolerance)) {
      set_cause(comparison, GradcheckCause::transposed,
                "transposed: analytical is the transpose of the right gradient");
      return true;
    }
  }
  if (analytical.size(0) == analytical.size(1) && alike(analytical.t(), block.numerical, block.tolerance)) {
    set_cause(comparison, GradcheckCause::transposed,
              "transposed: analytical is J instead of J^T times the upstream gradient; was a matrix not "
              "transposed in the backward?");
    return true;
  }
  return false;
}

}  // namespace

void set_cause(GradcheckComparison& comparison, GradcheckCause cause, std::string explanation,
               double factor) {
  comparison.cause = cause;
  comparison.explanation = std::move(explanation);
  comparison.factor = factor;
}

void find_cause(const Block& block, const Tensor& bad, GradcheckComparison& comparison) {
  const auto explained_by_factor = [&](const Tensor& analytical, const Tensor& numerical, const char* where) {
    const auto factor = common_factor(analytical, numerical, block.tolerance);
    return factor && explain_factor(*factor, where, comparison);
  };
  if (find_non_finite(block, bad, comparison) || find_missing(block, bad, comparison) ||
      explained_by_factor(block.analytical, block.numerical, "") || find_transposed(block, comparison)) {
    return;
  }
  if (block.analytical.is_complex() && alike(block.analytical.conj(), block.numerical, block.tolerance)) {
    set_cause(comparison, GradcheckCause::conjugated,
              "conjugated: analytical is the complex conjugate of the gradient");
    return;
  }
  const Tensor bad_analytical = block.analytical.masked_select(bad);
  if (bad_analytical.numel() > 1 &&
      explained_by_factor(bad_analytical, block.numerical.masked_select(bad), " at every bad entry")) {
    return;
  }
  set_cause(comparison, GradcheckCause::unknown, "no known pattern");
}

}  // namespace twingrad::gradcheck_detail
