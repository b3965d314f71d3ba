#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "twingrad/gradcheck/detail/gradient_check.h"
#include "twingrad/gradcheck/detail/opinion.h"
#include "twingrad/gradcheck/detail/rounding.h"

// How a GradientCheck judges a Jacobian: bad entries, kinks and jumps, rounding, and the cause.
namespace twingrad::gradcheck_detail {
namespace {

using Part = GradcheckComparison::Part;

/// Where the one-sided slopes differ.
struct SlopeMasks {
  Tensor kink;     // [M, K] they differ at every step size
  Tensor jump;     // [M, K] the difference grows as the step shrinks: the function is not continuous
  Tensor between;  // [M, K] the analytical value is between the two slopes
};

/// Compares the one-sided slopes [M, K] for step h with those for h/10.
SlopeMasks compare_slopes(const Slopes& wide, const Slopes& narrow, const Tensor& analytical,
                          const Tolerance& tolerances) {
  const Tensor difference = (wide.right - wide.left).abs();
  const Tensor ratio = (narrow.right - narrow.left).abs() / difference;
  const Tensor low = at::minimum(wide.left, wide.right);
  const Tensor high = at::maximum(wide.left, wide.right);
  const Tensor tolerance = at::maximum(low.abs(), high.abs()) * tolerances.relative + tolerances.absolute;
  // Where f'' exists, the slopes differ by h f'': a tenth of the step leaves a tenth of the difference. At a
  // kink the difference stays the same, near one it vanishes, and at a jump it is ten times as large.
  const Tensor differ = difference > tolerance;
  const Tensor smooth = (ratio > 0.05) & (ratio < 0.2);
  const Tensor jump = ratio > 5;
  return {differ & smooth.logical_not() & jump.logical_not(), differ & jump,
          (analytical >= low - tolerance) & (analytical <= high + tolerance)};
}

/// The position in row-major order.
std::int64_t flat_index(const std::vector<std::int64_t>& index, const std::vector<std::int64_t>& shape) {
  std::int64_t flat = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    flat = flat * shape[d] + index[d];
  }
  return flat;
}

}  // namespace

std::string GradientCheck::step_text(const CheckedInput& input) const {
  const std::string eps = "eps " + number_text(options_.eps);
  return options_.scale_eps ? eps + " (a step of " + number_text(input.step) + ")" : eps;
}

/// Marks the bad entries that rounding errors can explain.
void GradientCheck::find_rounding(const Block& block, const OutputSlot& slot, Part part, Elements& elements,
                                  double step, BadEntries& entries) const {
  const RoundingErrors errors = rounding_errors(*evaluate_, elements, slot, part, entries.bad, step);
  const double epsilon = precision_of(in_float64_ ? evaluate_->layout().slots[0].like : slot.like).epsilon;
  const Tensor values =
      rows_of_part((*evaluate_)().narrow(0, slot.offset, slot.length).unsqueeze(1), slot, part);
  const Tensor last_digit = values.abs().nan_to_num(0, 0) * epsilon;
  entries.rounding = rounding_mask(block, errors, last_digit, step) & entries.bad;
  entries.rounding_error =
      std::max({errors.noise, errors.step, (last_digit * entries.rounding).max().item<double>()});
  entries.kink &= entries.rounding.logical_not();
}

/// Evaluates the function around the columns with bad entries.
BadEntries GradientCheck::find_kinks(const Block& block, const Tensor& bad, const CheckedInput& input,
                                     const OutputSlot& slot, Part part) {
  set_step("the forward, perturbed to one side to find kinks,");
  Elements elements(evaluate_->point()[input.index]);
  const Tensor columns = bad.any(0).nonzero().view(-1);
  const auto scattered = [&](const Tensor& mask) {  // [M, K] to [M, N]
    return at::zeros_like(bad).index_copy(1, columns, mask);
  };
  BadEntries found{bad, at::zeros_like(bad), at::zeros_like(bad), at::zeros_like(bad), {}};
  if (!block.analytical.is_complex()) {
    const auto slopes = [&](double step) {
      const Slopes all = one_sided_slopes(*evaluate_, elements, columns, step);
      const auto of_part = [&](const Tensor& side) {  // [K, R] to [M, K]
        return rows_of_part(side.t().narrow(0, slot.offset, slot.length), slot, part);
      };
      return Slopes{of_part(all.left), of_part(all.right)};
    };
    const Slopes wide = slopes(input.step), narrow = slopes(input.step / 10);
    const SlopeMasks masks =
        compare_slopes(wide, narrow, block.analytical.index_select(1, columns), block.tolerance);
    found.kink = scattered(masks.kink);
    found.jump = scattered(masks.jump);
    found.between = scattered(masks.between);
  }
  find_rounding(block, slot, part, elements, input.step, found);
  return found;
}

void GradientCheck::judge(const Block& block, const CheckedInput& input, const OutputSlot& slot,
                          GradcheckComparison& comparison) {
  BadEntries entries = find_kinks(block, block.bad_entries(), input, slot, comparison.part);
  comparison.kinks = entries.kink.sum().item<std::int64_t>();
  if (options_.kinks == GradcheckKinks::report) {
    entries.bad &= (entries.kink & entries.between).logical_not();
  }
  list_bad_entries(block, entries.bad, entries.kink, comparison);
  comparison.passed = comparison.bad == 0;
  const Tensor other = entries.bad & (entries.kink | entries.jump | entries.rounding).logical_not();
  if (comparison.passed) {
    set_cause(comparison, GradcheckCause::kink, c10::str("kink: excused at ", comparison.kinks, " entries"));
  } else if (other.any().item<bool>()) {
    find_cause(block, other, comparison);
  } else if (entries.rounding.any().item<bool>()) {
    set_cause(comparison, GradcheckCause::rounding,
              c10::str("rounding: the forward is rounded by about ", number_text(entries.rounding_error, 1),
                       ", too much for ", step_text(input), "; increase eps or compute in float64"));
  } else if ((entries.bad & entries.jump).any().item<bool>()) {
    set_cause(comparison, GradcheckCause::discontinuity, "discontinuity: the function jumps here");
  } else {
    const bool between = (entries.between | entries.bad.logical_not()).all().item<bool>();
    set_cause(comparison, GradcheckCause::kink,
              std::string("kink: the left and right slopes differ; analytical is ") +
                  (between ? "between them" : "not even between them"));
  }
  if (!comparison.passed && comparison.cause != GradcheckCause::non_finite && other.any().item<bool>()) {
    ask_second_opinions(input, slot, comparison);
  }
}

/// The derivative of a real output by an element of a real input, Im y(x + ih) / h. NaN if the function does
/// not take complex numbers, returns real ones for them, or calls autograd.
double GradientCheck::complex_step(const CheckedInput& input, std::int64_t element, const OutputSlot& slot,
                                   std::int64_t row) const {
  const double h = 1e-20 * size_of(reals_of(input.tensor));  // so small that h² is lost to rounding
  try {
    const c10::NoGradGuard no_grad;
    const Tensor& real = evaluate_->point()[input.index];
    const Tensor moved =
        real.detach().to(at::kComplexDouble, false, /*copy=*/true, at::MemoryFormat::Contiguous);
    moved.view({-1})[element] += c10::complex<double>(0, h);
    Tensors point;
    for (const Tensor& tensor : evaluate_->point()) {
      point.push_back(tensor.is_same(real)         ? moved
                      : tensor.is_floating_point() ? tensor.detach().to(at::kComplexDouble)
                                                   : tensor);
    }
    const Tensor y = fn_(point).at(slot.output);
    return y.is_complex() ? at::imag(y).reshape({-1})[row].item<double>() / h : NAN;
  } catch (...) {
    return NAN;
  }
}

/// Asks for opinions on the worst entries. If all of them are right, the step is to blame.
void GradientCheck::ask_second_opinions(const CheckedInput& input, const OutputSlot& slot,
                                        GradcheckComparison& comparison) {
  constexpr std::size_t kMaxOpinions = 10;
  if (input.tensor.is_complex() || !options_.second_opinions) {
    return;
  }
  set_step("the forward, perturbed by many steps for a second opinion,");
  Elements elements(evaluate_->point()[input.index]);
  const bool complex_output = slot.like.is_complex();
  for (const GradcheckEntry& entry : comparison.bad_entries) {
    if (comparison.opinions.size() == kMaxOpinions) {
      break;
    }
    const std::int64_t c = flat_index(entry.input_index, comparison.input_shape);
    const std::int64_t row = flat_index(entry.output_index, comparison.output_shape);
    const std::int64_t r =
        slot.offset + (complex_output ? 2 * row + (comparison.part == Part::imaginary ? 1 : 0) : row);
    const auto function = [&](double h) {
      const double moved = elements.set(c, elements[c] + h) - elements[c];
      double y = NAN;
      try {
        y = (*evaluate_)()[r].item<double>();
      } catch (...) {  // the step may leave the domain of the function
      }
      elements.restore(c);
      return Sample{moved, y};
    };
    const double size = std::abs(elements[c]) > 0 ? std::abs(elements[c]) : size_of(elements.values());
    comparison.opinions.push_back(second_opinion(function, size, input.step, entry.analytical.real(),
                                                 options_.rtol,
                                                 complex_output ? NAN : complex_step(input, c, slot, row)));
    comparison.opinions.back().entry = entry;
  }
  const auto blames_step = [](const GradcheckOpinion& opinion) {
    return opinion.blame == GradcheckOpinion::Blame::step;
  };
  if (std::all_of(comparison.opinions.begin(), comparison.opinions.end(), blames_step)) {
    set_cause(
        comparison, GradcheckCause::step,
        c10::str("step: the gradient is right; ", step_text(input), " does not fit this function; try eps ",
                 number_text(std::cbrt(precision_of(slot.like).epsilon) * size_of(elements.values()) *
                                 options_.eps / input.step,
                             1)));
  }
}

}  // namespace twingrad::gradcheck_detail
