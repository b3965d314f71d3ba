#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "twingrad/gradcheck/detail/gradient_check.h"

// The comparisons of a GradientCheck: values, full Jacobians, projections.
namespace twingrad::gradcheck_detail {
namespace {

using Part = GradcheckComparison::Part;

struct Precision {
  double epsilon;             // the distance from 1 to the next number
  double absolute, relative;  // the tolerance of torch.testing.assert_close
};

Precision precision_of(const Tensor& tensor) {
  switch (c10::toRealValueType(tensor.scalar_type())) {
    case at::kDouble:
      return {std::numeric_limits<double>::epsilon(), 1e-7, 1e-7};
    case at::kFloat:
      return {std::numeric_limits<float>::epsilon(), 1e-5, 1.3e-6};
    case at::kHalf:
      return {0x1p-10, 1e-5, 1e-3};
    default:  // bfloat16
      return {0x1p-7, 1e-5, 1.6e-2};
  }
}

double largest_finite(const Tensor& values) {
  if (values.numel() == 0) {
    return 0;
  }
  const Tensor sizes = values.abs();
  return sizes.masked_fill(sizes.isfinite().logical_not(), 0).max().item<double>();
}

/// Random, positive, of norm 1 [count]. No number is so small that a step along it vanishes by rounding.
Tensor random_direction(std::int64_t count, const at::Generator& generator) {
  const Tensor direction = at::rand({count}, generator, at::kDouble).clamp_min_(0.01);
  return direction / direction.norm();
}

/// Real numbers as a tensor of the shape, dtype and device of `like`.
Tensor from_reals(const Tensor& reals, const Tensor& like) {
  const Tensor numbers = like.is_complex() ? at::view_as_complex(reals.view({-1, 2})) : reals;
  return numbers.view(like.sizes()).to(like.options().requires_grad(false));
}

/// The rows of one part of an output.
Tensor rows_of_part(const Tensor& rows, const OutputSlot& slot, Part part) {
  return part == Part::whole
             ? rows
             : rows.reshape({slot.like.numel(), 2, rows.size(1)}).select(1, part == Part::real ? 0 : 1);
}

bool all_passed(const std::vector<GradcheckComparison>& comparisons) {
  return std::all_of(comparisons.begin(), comparisons.end(),
                     [](const GradcheckComparison& comparison) { return comparison.passed; });
}

/// Judges a block whose bad entries have only one possible cause.
void judge_as(GradcheckCause cause, const char* explanation, const Block& block,
              GradcheckComparison& comparison) {
  comparison.passed = summarize(block, comparison);
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
  const at::NoGradGuard no_grad;
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
    return values.detach()
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
    return numerical_jacobian(*evaluate_, elements, options_.eps);
  }
  const std::int64_t rows = input.tensor.size(0);
  check_rows_independent(*evaluate_, elements, rows, input.name, options_);
  return batched_numerical_jacobian(*evaluate_, elements, rows, options_.eps);
}

void GradientCheck::compare_gradients(const Vjp& vjp) {
  AnalyticalRows rows(vjp, layout_, checked_);
  std::vector<GradcheckComparison> projections;
  if (options_.mode == GradcheckMode::fast) {
    projections = compare_projections(rows);
  }
  auto& comparisons = result_.comparisons;
  if (options_.mode == GradcheckMode::fast && all_passed(projections)) {
    comparisons.insert(comparisons.end(), projections.begin(), projections.end());
  } else {
    set_step("the backward");
    compare_jacobians(rows.jacobians());
    report_projections(projections);
  }
  find_overwritten();
  report_rows(rows);
}

/// Makes each failed projection a failure, unless the Jacobian has shown that a kink excuses it.
void GradientCheck::report_projections(const std::vector<GradcheckComparison>& projections) {
  for (const GradcheckComparison& projection : projections) {
    const auto excuses = [&](const GradcheckComparison& c) {
      return c.passed && c.kinks > 0 && c.output == projection.output && c.input == projection.input;
    };
    if (!projection.passed && std::none_of(result_.comparisons.begin(), result_.comparisons.end(), excuses)) {
      fail("fast mode: v^T J u of ", projection.output_name, " by ", projection.input_name, " is ",
           number_text(projection.worst_absolute.analytical.real(), 9), " analytically, ",
           number_text(projection.worst_absolute.numerical.real(), 9), " numerically; in full mode:");
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
  Tensors zeros;
  for (const CheckedInput& input : checked_) {
    zeros.push_back(at::zeros({layout_.length, count_reals(input.tensor)}, at::kDouble));
  }
  compare_jacobians(zeros);
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
  const double epsilon = std::max(precision_of(input).epsilon, precision_of(output).epsilon);
  if (!in_float64_ || epsilon <= std::numeric_limits<double>::epsilon()) {
    return {options_.atol, options_.rtol, options_.equal_nan};
  }
  return {std::max(options_.atol, 16 * epsilon) * std::max(1.0, largest_finite(numerical)),
          std::max(options_.rtol, 16 * epsilon), options_.equal_nan};
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
      const Tensor matrix = rows_of_part(reals, slot, part);
      if (!input.tensor.is_complex()) {
        return matrix;
      }
      const Tensor pairs = matrix.reshape({matrix.size(0), matrix.size(1) / 2, 2});
      return at::complex(pairs.select(2, 0), pairs.select(2, 1));
    };
    const Block block{entries_of(analytical), entries_of(numerical), {}, options_.atol};
    if (all_constant_) {
      judge_as(GradcheckCause::not_filled,
               "not filled: the output requires no gradient, but depends on the input", block, comparison);
    } else {
      judge(block, input, slot, comparison);
    }
    result_.comparisons.push_back(std::move(comparison));
  }
}

void GradientCheck::judge(Block block, const CheckedInput& input, const OutputSlot& slot,
                          GradcheckComparison& comparison) {
  block.tolerance = tolerance_for(input.tensor, slot.like, block.numerical);
  if (summarize(block, comparison)) {
    return;
  }
  Tensor bad = block.bad_entries();
  const KinkMasks masks = find_kinks(block, bad, input, slot, comparison.part);
  comparison.kinks = masks.kink.sum().item<std::int64_t>();
  if (options_.kinks == GradcheckKinks::report) {
    bad &= (masks.kink & masks.between).logical_not();
  }
  list_bad_entries(block, bad, masks.kink, comparison);
  comparison.passed = comparison.bad == 0;
  const Tensor other = bad & (masks.kink | masks.jump).logical_not();
  if (comparison.passed) {
    set_cause(comparison, GradcheckCause::kink, c10::str("kink: excused at ", comparison.kinks, " entries"));
  } else if (other.any().item<bool>()) {
    find_cause(block, other, comparison);
  } else if ((bad & masks.jump).any().item<bool>()) {
    set_cause(comparison, GradcheckCause::discontinuity, "discontinuity: the function jumps here");
  } else {
    const bool between = (masks.between | bad.logical_not()).all().item<bool>();
    set_cause(comparison, GradcheckCause::kink,
              std::string("kink: the left and right slopes differ; analytical is ") +
                  (between ? "between them" : "not even between them"));
  }
}

/// Compares the one-sided slopes for step h with those for h/10, in the columns with bad entries.
KinkMasks GradientCheck::find_kinks(const Block& block, const Tensor& bad, const CheckedInput& input,
                                    const OutputSlot& slot, Part part) {
  if (block.analytical.is_complex()) {
    const Tensor none = at::zeros_like(bad);
    return {none, none, none};
  }
  set_step("the forward, perturbed to one side to find kinks,");
  Elements elements(evaluate_->point()[input.index]);
  const Tensor columns = bad.any(0).nonzero().view(-1);
  const auto slopes = [&](double step) {
    const Slopes all = one_sided_slopes(*evaluate_, elements, columns, step);
    const auto of_part = [&](const Tensor& side) {  // [K, R] to [M, K]
      return rows_of_part(side.t().narrow(0, slot.offset, slot.length), slot, part);
    };
    return Slopes{of_part(all.left), of_part(all.right)};
  };
  const Slopes wide = slopes(options_.eps), narrow = slopes(options_.eps / 10);
  const Tensor analytical = block.analytical.index_select(1, columns);
  const Tensor difference = (wide.right - wide.left).abs();
  const Tensor ratio = (narrow.right - narrow.left).abs() / difference;
  const Tensor low = at::minimum(wide.left, wide.right);
  const Tensor high = at::maximum(wide.left, wide.right);
  const Tensor tolerance =
      at::maximum(low.abs(), high.abs()) * block.tolerance.relative + block.tolerance.absolute;
  // Where f'' exists, the slopes differ by h f'': a tenth of the step leaves a tenth of the difference. At a
  // kink the difference stays the same, near one it vanishes, and at a jump it is ten times as large.
  const Tensor differ = difference > tolerance;
  const Tensor smooth = (ratio > 0.05) & (ratio < 0.2);
  const Tensor jump = ratio > 5;
  const Tensor between = (analytical >= low - tolerance) & (analytical <= high + tolerance);
  const auto scattered = [&](const Tensor& mask) {  // [M, K] to [M, N]
    return at::zeros_like(bad).index_copy(1, columns, mask);
  };
  return {scattered(differ & smooth.logical_not() & jump.logical_not()), scattered(differ & jump),
          scattered(between)};
}

/// Compares vᵀJu of each differentiable output for each checked input.
std::vector<GradcheckComparison> GradientCheck::compare_projections(AnalyticalRows& rows) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(options_.seed);
  Tensors u, products;  // products: J u, where u is rounded as the steps along it are
  for (const CheckedInput& input : checked_) {
    set_step("the forward with " + input.name + " perturbed");
    Elements elements(evaluate_->point()[input.index]);
    const Tensor direction = random_direction(elements.size(), generator);
    const auto [outputs, steps] = difference_along(*evaluate_, elements, direction, options_.eps);
    u.push_back(steps.masked_fill(steps == 0, NAN) / (2 * options_.eps));  // without a step, nothing passes
    products.push_back(outputs / (2 * options_.eps));
  }
  set_step("the backward");
  std::vector<GradcheckComparison> projections;
  for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
    const OutputSlot& slot = layout_.slots[s];
    if (!slot.differentiable) {
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
  comparison.passed = summarize(block, comparison);
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
           number_text(change.first, 9),
           (doubled ? "; it is added to the result of the first run: accumulated instead of overwritten"
                    : "; the backward is not deterministic or keeps state between runs"));
    }
  }
}

}  // namespace twingrad::gradcheck_detail
