#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "twingrad/gradcheck/detail/gradient_check.h"

// The comparisons of a GradientCheck: values, full Jacobians, projections.
namespace twingrad::gradcheck_detail {
namespace {

using Part = GradcheckComparison::Part;

/// Random, positive, of norm 1 [count]. No number is so small that a step along it vanishes by rounding.
Tensor random_direction(std::int64_t count, const at::Generator& generator) {
  const Tensor direction = at::rand({count}, generator, at::kDouble).clamp_min_(0.01);
  return direction / direction.norm();
}

/// How much two numbers differ, if that is not visible in nine digits.
std::string difference_text(double a, double b) {
  return number_text(a, 9) == number_text(b, 9) && a != b
             ? " (a difference of " + number_text(std::abs(a - b), 2) + ")"
             : "";
}

bool all_passed(const std::vector<GradcheckComparison>& comparisons) {
  return std::all_of(comparisons.begin(), comparisons.end(),
                     [](const GradcheckComparison& comparison) { return comparison.passed; });
}

/// Fills in a comparison whose bad entries have only one possible cause.
void judge_as(GradcheckCause cause, const char* explanation, const Block& block,
              GradcheckComparison& comparison) {
  comparison.passed = summarize(block, comparison).passed;
  if (!comparison.passed) {
    list_bad_entries(block, block.bad_entries(), /*kinks=*/{}, comparison);
    set_cause(comparison, cause, explanation);
  }
}

}  // namespace

void GradientCheck::compare_values() {
  if (!options_.reference) {
    return;
  }
  set_step("the reference function");
  const c10::NoGradGuard no_grad;
  const Tensors expected = options_.reference(inputs_);
  if (expected.size() != layout_.output_count) {
    throw CheckStopped("the reference returned ", expected.size(), " tensors, the function ",
                       layout_.output_count);
  }
  const Tensors outputs = fn_(inputs_);
  for (const OutputSlot& slot : layout_.slots) {
    compare_value(slot, outputs[slot.output], expected[slot.output]);
  }
}

void GradientCheck::compare_value(const OutputSlot& slot, const Tensor& output, const Tensor& expected) {
  if (!expected.defined() || expected.sizes() != output.sizes() ||
      expected.is_complex() != output.is_complex()) {
    throw CheckStopped("the reference's ", slot.name, " is ", type_text(expected), ", the function's is ",
                       type_text(output));
  }
  GradcheckComparison comparison;
  comparison.kind = GradcheckComparison::Kind::value;
  comparison.output = slot.output;
  comparison.output_name = slot.name;
  comparison.output_shape = output.sizes().vec();
  const auto column = [](const Tensor& values) {
    return (values.layout() == at::kStrided ? values : values.to_dense())
        .detach()
        .resolve_conj()
        .resolve_neg()
        .to(at::kCPU, values.is_complex() ? at::kComplexDouble : at::kDouble)
        .reshape({-1, 1});
  };
  const Precision precision = precision_of(output);
  const Tolerance tolerance{precision.absolute, precision.relative, options_.equal_nan};
  judge_as(GradcheckCause::unknown, "the forward's value is wrong",
           {column(output), column(expected), tolerance, options_.atol}, comparison);
  result_.comparisons.push_back(std::move(comparison));
}

Tensor GradientCheck::numerical_for(const CheckedInput& input) {
  set_step("the forward with " + input.name + " perturbed");
  Elements elements(evaluate_->point()[input.index]);
  const auto& batched = options_.batched_inputs;
  if (std::find(batched.begin(), batched.end(), input.index) == batched.end()) {
    return numerical_jacobian(*evaluate_, elements, input.step);
  }
  const std::int64_t rows = input.tensor.size(0);
  check_rows_independent(*evaluate_, elements, rows, input.name, input.step, options_);
  return batched_numerical_jacobian(*evaluate_, elements, rows, input.step);
}

void GradientCheck::compare_gradients(const Vjp& vjp) {
  AnalyticalRows rows(vjp, layout_, checked_);
  std::vector<GradcheckComparison> projections;
  const bool fast = options_.mode == GradcheckMode::fast;
  if (fast) {
    projections = compare_projections(rows);
  }
  const bool full = !fast || !all_passed(projections);
  const std::string too_large = full ? memory_shortage() : "";
  if (full && too_large.empty()) {
    set_step("the backward");
    compare_jacobians(rows.jacobians());
    report_projections(projections, "; in full mode:");
  } else if (fast) {
    for (const GradcheckComparison& projection : projections) {
      warn_if_zeros_pass(
          projection, projection.worst_absolute.tolerance >= std::abs(projection.worst_absolute.numerical));
      result_.comparisons.push_back(projection);
    }
    report_projections(projections, "; " + too_large);
  } else {
    throw CheckStopped(too_large, ": use GradcheckMode::fast or smaller inputs");
  }
  find_overwritten();
  withdraw_causes_if_random();
  report_rows(rows);
}

/// Why the Jacobians do not fit in memory. Empty if they do.
std::string GradientCheck::memory_shortage() const {
  std::int64_t columns = 0;
  for (const CheckedInput& input : checked_) {
    columns += count_reals(input.tensor);
  }
  const double bytes = 8.0 * static_cast<double>(layout_.length) * static_cast<double>(columns);
  if (fits_in_memory(3 * bytes)) {  // the analytical one, the numerical one, and its transpose
    return {};
  }
  return c10::str("the Jacobian of ", layout_.length, " x ", columns, " numbers takes ",
                  number_text(bytes / 1e9), " GB, too much for this machine");
}

/// Makes each failed projection a failure, unless the Jacobian has shown that a kink excuses it.
void GradientCheck::report_projections(const std::vector<GradcheckComparison>& projections,
                                       const std::string& end) {
  for (const GradcheckComparison& projection : projections) {
    const auto excuses = [&](const GradcheckComparison& c) {
      return c.passed && c.kinks > 0 && c.output == projection.output && c.input == projection.input;
    };
    if (!projection.passed && std::none_of(result_.comparisons.begin(), result_.comparisons.end(), excuses)) {
      const double analytical = projection.worst_absolute.analytical.real();
      const double numerical = projection.worst_absolute.numerical.real();
      fail("fast mode: v^T J u of ", projection.output_name, " by ", projection.input_name, " is ",
           number_text(analytical, 9), " analytically, ", number_text(numerical, 9), " numerically",
           difference_text(analytical, numerical), end);
    }
  }
}

void GradientCheck::compare_jacobians(const Tensors& analytical) {
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    const Tensor numerical = numerical_for(checked_[i]);
    for (const OutputSlot& slot : layout_.slots) {
      compare_pair(checked_[i], slot, analytical[i].narrow(0, slot.offset, slot.length),
                   numerical.narrow(0, slot.offset, slot.length));
    }
  }
}

void GradientCheck::check_all_constant() {
  warn(
      "no output requires a gradient, so all differences must be zero. Did autograd see the inputs? A "
      "torch::autograd::Function sees tensors among its arguments, but not those inside a std::vector");
  all_constant_ = true;
  const Vjp zero = [this](const Tensors&) { return Tensors(checked_.size()); };
  compare_gradients(zero);
}

GradcheckComparison GradientCheck::comparison_of(const CheckedInput& input, const OutputSlot& slot) const {
  GradcheckComparison comparison;
  comparison.output = slot.output;
  comparison.input = input.index;
  comparison.output_name = slot.name;
  comparison.input_name = input.name;
  comparison.output_shape = slot.like.sizes().vec();
  comparison.input_shape = input.tensor.sizes().vec();
  return comparison;
}

Tolerance GradientCheck::tolerance_for(const Tensor& input, const Tensor& output,
                                       const Tensor& numerical) const {
  if (all_constant_) {
    return {};
  }
  const double epsilon = std::max(precision_of(input).epsilon, precision_of(output).epsilon);
  if (!in_float64_ || epsilon <= std::numeric_limits<double>::epsilon()) {
    return {options_.atol, options_.rtol, options_.equal_nan};
  }
  return {std::max(options_.atol, 16 * epsilon) * std::max(1.0, largest_finite(numerical)),
          std::max(options_.rtol, 16 * epsilon), options_.equal_nan};
}

void GradientCheck::warn_if_zeros_pass(const GradcheckComparison& comparison, bool zeros_pass) {
  if (zeros_pass && comparison.passed && comparison.explanation.empty()) {
    warn_once(
        c10::str("all gradients of ", comparison.output_name, " by ", comparison.input_name,
                 " are within the tolerance of 0: a backward of zeros would pass, too; decrease atol or "
                 "scale the output"));
  }
}

void GradientCheck::compare_pair(const CheckedInput& input, const OutputSlot& slot, const Tensor& analytical,
                                 const Tensor& numerical) {
  if (!slot.differentiable && !all_constant_) {
    if (largest_finite(numerical) > options_.atol) {
      warn(slot.name, " requires no gradient, but depends on ", input.name, ": not compared");
    }
    return;
  }
  const std::vector<Part> parts =
      slot.like.is_complex() ? std::vector{Part::real, Part::imaginary} : std::vector{Part::whole};
  for (const Part part : parts) {
    GradcheckComparison comparison = comparison_of(input, slot);
    comparison.part = part;
    const auto entries_of = [&](const Tensor& reals) {  // [R, C] to [M, N]
      Tensor matrix = rows_of_part(reals, slot, part);
      if (!input.tensor.is_complex()) {
        return matrix;
      }
      const Tensor pairs = matrix.reshape({matrix.size(0), matrix.size(1) / 2, 2});
      return at::complex(pairs.select(2, 0), pairs.select(2, 1));
    };
    Block block{entries_of(analytical), entries_of(numerical), {}, options_.atol};
    block.tolerance = tolerance_for(input.tensor, slot.like, block.numerical);
    const Summary summary = summarize(block, comparison);
    if (summary.passed) {
      warn_if_zeros_pass(comparison, summary.zeros_pass);
    } else if (all_constant_) {
      judge_as(GradcheckCause::not_filled,
               "not filled: the output requires no gradient, but depends on the input", block, comparison);
    } else {
      judge(block, input, slot, comparison);
    }
    result_.comparisons.push_back(std::move(comparison));
  }
}

/// Compares vᵀJu of each differentiable output for each checked input.
std::vector<GradcheckComparison> GradientCheck::compare_projections(AnalyticalRows& rows) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(options_.seed);
  Tensors u, products;  // products: J u, where u is rounded as the steps along it are
  for (const CheckedInput& input : checked_) {
    set_step("the forward with " + input.name + " perturbed");
    Elements elements(evaluate_->point()[input.index]);
    const Tensor direction = random_direction(elements.size(), generator);
    const auto [outputs, steps] = difference_along(*evaluate_, elements, direction, input.step);
    u.push_back(steps.masked_fill(steps == 0, NAN) / (2 * input.step));  // without a step, nothing passes
    products.push_back(outputs / (2 * input.step));
  }
  set_step("the backward");
  std::vector<GradcheckComparison> projections;
  for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
    const OutputSlot& slot = layout_.slots[s];
    if (!slot.differentiable && !all_constant_) {
      continue;
    }
    const Tensor v = random_direction(slot.length, generator);
    const Tensors vt_j = rows.rows_for(s, from_reals(v, slot.like));
    for (std::size_t i = 0; i < checked_.size(); ++i) {
      projections.push_back(compare_projection(checked_[i], slot, v, u[i], vt_j[i],
                                               products[i].narrow(0, slot.offset, slot.length)));
    }
  }
  return projections;
}

/// Compares (vᵀJ) u with vᵀ (J u), given vᵀJ and J u.
GradcheckComparison GradientCheck::compare_projection(const CheckedInput& input, const OutputSlot& slot,
                                                      const Tensor& v, const Tensor& u, const Tensor& vt_j,
                                                      const Tensor& j_u) const {
  GradcheckComparison comparison = comparison_of(input, slot);
  comparison.kind = GradcheckComparison::Kind::projection;
  const std::int64_t numbers = u.numel() == 0 || v.numel() == 0 ? 0 : 1;
  const auto matrix = [&](const Tensor& value) {
    return at::full({numbers, numbers}, value.item(), at::kDouble);
  };
  Block block{matrix(vt_j.dot(u)), matrix(v.dot(j_u)), {}, options_.atol};
  block.tolerance = tolerance_for(input.tensor, slot.like, block.numerical);
  block.tolerance.absolute *= (u.sum() * v.sum()).item<double>();
  judge_as(GradcheckCause::unknown, "unknown: the full Jacobian is not computed", block, comparison);
  return comparison;
}

/// Changes the cause of a zero gradient to `overwritten` where another output's contribution is right.
void GradientCheck::find_overwritten() {
  for (GradcheckComparison& lost : result_.comparisons) {
    const auto is_right = [&](const GradcheckComparison& other) {  // and not all zero: that has a note
      return other.input == lost.input && other.output != lost.output && other.kind == lost.kind &&
             other.passed && other.explanation.empty();
    };
    const auto right = std::find_if(result_.comparisons.begin(), result_.comparisons.end(), is_right);
    if (lost.cause == GradcheckCause::not_filled && right != result_.comparisons.end()) {
      set_cause(lost, GradcheckCause::overwritten,
                "overwritten instead of accumulated: zero, but right from " + right->output_name);
    }
  }
}

void GradientCheck::report_rows(const AnalyticalRows& rows) {
  for (const std::string& message : rows.wrong_dtypes()) {
    options_.check_grad_dtypes ? fail(message) : warn(message);
  }
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    const AnalyticalRows::Change& change = rows.changes()[i];
    if (change.largest > options_.nondet_tol) {
      const bool doubled = std::abs(change.second - 2 * change.first) < 1e-6 * std::abs(change.first);
      fail("backward is not reentrant: in a second run the gradient of ", change.output, " by ",
           checked_[i].name, " is ", number_text(change.second, 9), " instead of ",
           number_text(change.first, 9), difference_text(change.second, change.first),
           (doubled ? "; it is added to the result of the first run: accumulated instead of overwritten"
                    : "; the backward is not deterministic or keeps state between runs"));
    }
  }
}

}  // namespace twingrad::gradcheck_detail
