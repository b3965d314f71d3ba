#include "twingrad/gradcheck/check.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

namespace twingrad::gradcheck_detail {
namespace {

using torch::Tensor;

bool is_differentiable(const Tensor& tensor) {
  return tensor.defined() && (tensor.is_floating_point() || tensor.is_complex());
}

bool is_double(const Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble || tensor.scalar_type() == at::kComplexDouble;
}

/// The distance from 1 to the next number of the dtype.
double machine_epsilon(const Tensor& tensor) {
  switch (c10::toRealValueType(tensor.scalar_type())) {
    case at::kDouble:
      return std::numeric_limits<double>::epsilon();
    case at::kFloat:
      return std::numeric_limits<float>::epsilon();
    case at::kHalf:
      return 0x1p-10;
    default:  // bfloat16
      return 0x1p-7;
  }
}

/// torch.testing.assert_close's.
Tolerance value_tolerance(const Tensor& output, bool equal_nan) {
  switch (c10::toRealValueType(output.scalar_type())) {
    case at::kDouble:
      return {1e-7, 1e-7, equal_nan};
    case at::kFloat:
      return {1e-5, 1.3e-6, equal_nan};
    case at::kHalf:
      return {1e-5, 1e-3, equal_nan};
    default:
      return {1e-5, 1.6e-2, equal_nan};
  }
}

double largest_finite(const Tensor& values) {
  if (values.numel() == 0) {
    return 0;
  }
  const Tensor sizes = values.abs();
  return sizes.masked_fill(sizes.isfinite().logical_not(), 0).max().item<double>();
}

/// A float64 copy that keeps the strides of a dense tensor.
Tensor twin_of(const Tensor& tensor) {
  if (!is_differentiable(tensor)) {
    return tensor;
  }
  const at::ScalarType dtype = tensor.is_complex() ? at::kComplexDouble : at::kDouble;
  return tensor.detach()
      .to(dtype, /*non_blocking=*/false, /*copy=*/true)
      .requires_grad_(tensor.requires_grad());
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double distance = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
    const double difference = same ? 0 : std::abs(a[i] - b[i]);
    distance = std::isnan(difference) ? INFINITY : std::max(distance, difference);
  }
  return distance;
}

/// Random, non-negative, of norm 1.
std::vector<double> random_direction(std::int64_t count, std::mt19937_64& random) {
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<double> direction(count);
  double square = 0;
  for (double& entry : direction) {
    entry = uniform(random);
    square += entry * entry;
  }
  for (double& entry : direction) {
    entry /= std::sqrt(square);
  }
  return direction;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double dot(const std::vector<double>& a, const double* b) {
  return std::inner_product(a.begin(), a.end(), b, 0.0);
}

/// The real numbers `values` as a tensor of the shape, dtype and device of `like`.
Tensor from_reals(const std::vector<double>& values, const Tensor& like) {
  Tensor tensor = at::tensor(values, at::kDouble);
  if (like.is_complex()) {
    tensor = at::view_as_complex(tensor.view({-1, 2}));
  }
  return tensor.view(like.sizes()).to(like.options().requires_grad(false));
}

Tensor bad_entries(const Block& block) {
  return entries_within(block.ours, block.numeric, block.tolerance).logical_not();
}

/// The rows of an output's real or imaginary part (0 or 1); of a real output, all.
Tensor rows_of_part(const Tensor& rows, const OutputSlot& slot, int part) {
  return slot.like.is_complex() ? rows.reshape({slot.like.numel(), 2, rows.size(1)}).select(1, part) : rows;
}

}  // namespace

std::string message_of(const std::exception& error) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  return of_torch != nullptr ? of_torch->what_without_backtrace() : error.what();
}

Check::Check(std::string name, const Function& fn, const std::vector<Tensor>& inputs, const Options& options)
    : fn_(fn), inputs_(inputs), options_(options) {
  verdict_.check = std::move(name);
  verdict_.mode = options.mode == Mode::full ? "full" : "fast";
  verdict_.eps = options.eps;
  verdict_.atol = options.atol;
  verdict_.rtol = options.rtol;
}

void Check::validate_options() const {
  const auto expect = [](bool valid, const char* sentence) {
    if (!valid) {
      throw CheckFailed(sentence);
    }
  };
  expect(std::isfinite(options_.eps) && options_.eps > 0, "options: eps must be positive");
  expect(options_.atol >= 0 && options_.rtol >= 0 && options_.nondet_tol >= 0,
         "options: atol, rtol and nondet_tol must be zero or positive");
  for (const std::size_t input : options_.batched_inputs) {
    if (input >= inputs_.size() || !inputs_[input].defined() || inputs_[input].dim() == 0) {
      throw CheckFailed("options: batched_inputs names input " + std::to_string(input) +
                        ", which does not exist or has no rows");
    }
  }
}

std::string Check::input_name(std::size_t input) const {
  return input < options_.input_names.size() ? options_.input_names[input] : "input " + std::to_string(input);
}

std::string Check::output_name(std::size_t output) const {
  return output < options_.output_names.size() ? options_.output_names[output]
                                               : "output " + std::to_string(output);
}

void Check::finish() {
  if (verdict_.comparisons.empty() && verdict_.failures.empty()) {
    fail("nothing was compared");
  }
  verdict_.passed = verdict_.failures.empty() &&
                    std::all_of(verdict_.comparisons.begin(), verdict_.comparisons.end(),
                                [](const Comparison& comparison) { return comparison.passed; });
}

void Check::choose_inputs(bool or_all) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].defined()) {
      throw CheckFailed(input_name(i) + " is undefined");
    }
    if (inputs_[i].requires_grad()) {
      checked_.push_back(i);
    }
  }
  const bool take_all = or_all && checked_.empty();
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (take_all && is_differentiable(inputs_[i])) {
      checked_.push_back(i);
    }
  }
  if (checked_.empty()) {
    throw CheckFailed(or_all ? "no input has a floating or complex dtype" : "no input requires a gradient");
  }
  for (const std::size_t i : checked_) {
    const Tensor& input = inputs_[i];
    if (input.layout() != at::kStrided) {
      throw CheckFailed(input_name(i) + " is not strided: sparse and other layouts are not supported");
    }
    if (input.is_conj() || input.is_neg()) {
      throw CheckFailed(input_name(i) +
                        " is a lazy conjugate or negative: call resolve_conj().resolve_neg()");
    }
    if (overlaps_itself(input)) {
      throw CheckFailed(input_name(i) + " overlaps itself in memory, with strides " +
                        shape_text(input.strides()) + ": moving one element moves others; call contiguous()");
    }
    if (!is_double(input)) {
      twin_ = twin_ || options_.float64_twin;
      warn(input_name(i) + " is " + at::toString(input.scalar_type()) +
           (options_.float64_twin ? ": differences are taken at a float64 twin"
                                  : ": differences in less than double precision will likely fail"));
    }
    checked_inputs_.push_back(input);
    checked_names_.push_back(input_name(i));
  }
  for (const Tensor& input : inputs_) {
    originals_.push_back(input.layout() == at::kStrided ? input.detach().clone() : Tensor());
  }
}

void Check::set_outputs(const std::vector<Tensor>& outputs, bool all_differentiable) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].defined() && outputs[i].layout() != at::kStrided) {
      throw CheckFailed(output_name(i) + " is not strided: call to_dense() on it");
    }
  }
  layout_ = OutputLayout(outputs);
  if (layout_.slots.empty()) {
    throw CheckFailed("nothing to compare: the function returned no tensor of floating or complex dtype");
  }
  for (OutputSlot& slot : layout_.slots) {
    slot.differentiable = slot.differentiable || all_differentiable;
  }
}

void Check::prepare_evaluation(bool by_autograd) {
  now("the forward, called again,");
  OutputLayout layout = layout_;
  if (twin_) {
    now("the forward, called with float64 twins of the inputs (see Options::float64_twin),");
    std::transform(inputs_.begin(), inputs_.end(), std::back_inserter(point_), twin_of);
    for (OutputSlot& slot : layout.slots) {
      slot.like = slot.like.detach().to(slot.like.is_complex() ? at::kComplexDouble : at::kDouble);
    }
  }
  evaluate_ = std::make_unique<Evaluator>(fn_, twin_ ? point_ : inputs_, std::move(layout));
  using Autograd = Evaluator::Autograd;
  evaluate_->autograd = by_autograd ? Autograd::enabled : Autograd::no_grad;
  const std::vector<double> values = (*evaluate_)();
  // An entry of a Jacobian is off by atol if a value is off by this.
  const double bound = 2 * options_.eps * options_.atol;
  const double change = distance(values, (*evaluate_)());
  if (change > bound) {
    fail("the forward is not deterministic: two calls with the same inputs differ by " + number_text(change));
  }
  const Autograd sufficient = evaluate_->autograd;
  const auto suffices = [&](Autograd less) {
    evaluate_->autograd = less;
    try {
      return distance(values, (*evaluate_)()) <= bound;
    } catch (const std::exception&) {
      return false;  // the function takes gradients itself
    }
  };
  if (!suffices(Autograd::absent) && !suffices(Autograd::no_grad)) {
    evaluate_->autograd = sufficient;
  }
}

void Check::compare_values() {
  if (!options_.reference) {
    return;
  }
  now("the reference function");
  const at::NoGradGuard no_grad;
  const std::vector<Tensor> expected = options_.reference(inputs_);
  if (expected.size() != layout_.output_count) {
    throw CheckFailed("the reference returned " + std::to_string(expected.size()) +
                      " tensors, the function " + std::to_string(layout_.output_count));
  }
  const std::vector<Tensor> outputs = fn_(inputs_);
  for (const OutputSlot& slot : layout_.slots) {
    const Tensor& ours = outputs[slot.output];
    const Tensor& theirs = expected[slot.output];
    if (!theirs.defined() || theirs.sizes() != ours.sizes() || theirs.is_complex() != ours.is_complex()) {
      throw CheckFailed(
          "the reference's " + output_name(slot.output) +
          (theirs.defined() ? " is " + shape_text(theirs.sizes()) + " " + at::toString(theirs.scalar_type())
                            : std::string(" is undefined")) +
          ", the function's is " + shape_text(ours.sizes()) + " " + at::toString(ours.scalar_type()));
    }
    Comparison comparison;
    comparison.kind = Comparison::Kind::value;
    comparison.output = slot.output;
    comparison.output_name = output_name(slot.output);
    comparison.output_shape = ours.sizes().vec();
    const auto column = [](const Tensor& values) { return twin_of(values.detach()).cpu().reshape({-1, 1}); };
    const Block block{column(ours), column(theirs), value_tolerance(ours, options_.equal_nan), options_.atol};
    comparison.passed = summarize(block, comparison);
    if (!comparison.passed) {
      list_bad_entries(block, bad_entries(block), /*kinks=*/{}, comparison);
      comparison.cause = Cause::unknown;
      comparison.explanation = "the forward's value is wrong";
    }
    verdict_.comparisons.push_back(std::move(comparison));
  }
}

const Tensor& Check::moved_input(std::size_t checked_index) const {
  return (twin_ ? point_ : inputs_)[checked_[checked_index]];
}

Tensor Check::numeric_of(std::size_t checked_index) {
  const std::size_t input = checked_[checked_index];
  Elements elements(moved_input(checked_index));
  const auto& batched = options_.batched_inputs;
  if (std::find(batched.begin(), batched.end(), input) == batched.end()) {
    return numeric_jacobian(*evaluate_, elements, options_.eps);
  }
  const std::int64_t rows = inputs_[input].size(0);
  check_rows_independent(*evaluate_, elements, rows, input_name(input), options_);
  return batched_numeric_jacobian(*evaluate_, elements, rows, options_.eps);
}

void Check::compare_gradients(const Vjp& vjp) {
  GradientRows rows(vjp, layout_, checked_inputs_, checked_names_);
  if (options_.mode == Mode::full) {
    compare_full(rows);
  } else if (!compare_fast(rows)) {
    const std::vector<Comparison> projections = std::exchange(verdict_.comparisons, {});
    compare_full(rows);
    const bool excused = options_.kinks == Kinks::report &&
                         std::any_of(verdict_.comparisons.begin(), verdict_.comparisons.end(),
                                     [](const Comparison& c) { return c.passed && c.kinks > 0; });
    for (const Comparison& projection : projections) {
      if (!projection.passed && !excused) {
        fail("fast mode: v^T J u of " + projection.output_name + " by " + projection.input_name + " is " +
             number_text(projection.worst_absolute.ours.real(), 9) + ", numerically " +
             number_text(projection.worst_absolute.numeric.real(), 9) + "; in full mode:");
      }
    }
  }
  name_lost_shares();
  report_rows(rows);
}

void Check::compare_full(GradientRows& rows) {
  now("the backward");
  const std::vector<Tensor> ours = rows.jacobians();
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    now("the forward, with " + checked_names_[i] + " moved,");
    const Tensor numeric = numeric_of(i);
    for (const OutputSlot& slot : layout_.slots) {
      compare_pair(i, slot, ours[i].narrow(0, slot.offset, slot.length),
                   numeric.narrow(0, slot.offset, slot.length));
    }
  }
}

Comparison Check::comparison_of(std::size_t checked_index, const OutputSlot& slot) const {
  Comparison comparison;
  comparison.output = slot.output;
  comparison.input = checked_[checked_index];
  comparison.output_name = output_name(slot.output);
  comparison.input_name = checked_names_[checked_index];
  comparison.output_shape = slot.like.sizes().vec();
  comparison.input_shape = checked_inputs_[checked_index].sizes().vec();
  return comparison;
}

Tolerance Check::tolerance_for(const Tensor& input, const Tensor& output, const Tensor& numeric) const {
  const double epsilon = std::max(machine_epsilon(input), machine_epsilon(output));
  if (!twin_ || epsilon <= std::numeric_limits<double>::epsilon()) {
    return {options_.atol, options_.rtol, options_.equal_nan};
  }
  return {std::max(options_.atol, 16 * epsilon) * std::max(1.0, largest_finite(numeric)),
          std::max(options_.rtol, 16 * epsilon), options_.equal_nan};
}

void Check::compare_pair(std::size_t checked_index, const OutputSlot& slot, const Tensor& ours,
                         const Tensor& numeric) {
  const int parts = slot.like.is_complex() ? 2 : 1;
  for (int part = 0; part < parts; ++part) {
    Comparison comparison = comparison_of(checked_index, slot);
    if (parts == 2) {
      comparison.part = part == 0 ? Comparison::Part::real : Comparison::Part::imaginary;
    }
    const auto entries_of = [&](const Tensor& reals) {  // [R, C] to [M, N]
      const Tensor matrix = rows_of_part(reals, slot, part).contiguous();
      return checked_inputs_[checked_index].is_complex()
                 ? at::view_as_complex(matrix.view({matrix.size(0), matrix.size(1) / 2, 2}))
                 : matrix;
    };
    const Block block{entries_of(ours), entries_of(numeric), {}, options_.atol};
    if (slot.differentiable) {
      judge(block, checked_index, slot, comparison);
      verdict_.comparisons.push_back(std::move(comparison));
    } else if (all_constant_) {
      comparison.passed = summarize(block, comparison);
      if (!comparison.passed) {
        list_bad_entries(block, block.numeric != 0, /*kinks=*/{}, comparison);
        comparison.cause = Cause::not_filled;
        comparison.explanation = "not filled: the output requires no gradient, but it depends on the input";
      }
      verdict_.comparisons.push_back(std::move(comparison));
    } else if (largest_finite(block.numeric) > options_.atol) {
      warn(comparison.output_name + " does not require a gradient, but it depends on " +
           comparison.input_name + ": not compared");
    }
  }
}

void Check::judge(Block block, std::size_t checked_index, const OutputSlot& slot, Comparison& comparison) {
  block.tolerance = tolerance_for(checked_inputs_[checked_index], slot.like, block.numeric);
  if (summarize(block, comparison)) {
    return;
  }
  Tensor bad = bad_entries(block);
  const KinkMasks masks = kinks_of(block, bad, checked_index, slot, comparison.part);
  comparison.kinks = masks.kink.sum().item<std::int64_t>();
  if (options_.kinks == Kinks::report) {
    bad &= (masks.kink & masks.between).logical_not();
  }
  list_bad_entries(block, bad, masks.kink, comparison);
  comparison.passed = comparison.bad == 0;
  const Tensor plain = bad & (masks.kink | masks.jump).logical_not();
  if (comparison.passed) {
    comparison.cause = Cause::kink;
    comparison.explanation = "kink: excused at " + std::to_string(comparison.kinks) + " entries";
  } else if (plain.any().item<bool>()) {
    find_cause(block, plain, comparison);
  } else if ((bad & masks.jump).any().item<bool>()) {
    comparison.cause = Cause::discontinuity;
    comparison.explanation = "discontinuity: the function jumps here";
  } else {
    const bool between = (masks.between | bad.logical_not()).all().item<bool>();
    comparison.cause = Cause::kink;
    comparison.explanation = std::string("kink: the slopes to the left and right differ; ours is ") +
                             (between ? "between them" : "not even between them");
  }
}

KinkMasks Check::kinks_of(const Block& block, const Tensor& bad, std::size_t checked_index,
                          const OutputSlot& slot, Comparison::Part part) {
  if (block.ours.is_complex()) {
    const Tensor none = at::zeros_like(bad);
    return {none, none, none};
  }
  const Tensor bad_columns = bad.any(0).nonzero().view(-1);
  const std::vector<std::int64_t> columns(bad_columns.data_ptr<std::int64_t>(),
                                          bad_columns.data_ptr<std::int64_t>() + bad_columns.numel());
  now("the forward, moved to one side of a suspected kink,");
  Elements elements(moved_input(checked_index));
  const auto slopes = [&](double step) {
    const Slopes all = one_sided_slopes(*evaluate_, elements, columns, step);
    const auto of_part = [&](const Tensor& slopes_of_all) {  // [K, all R] to [K, M]
      const Tensor rows = slopes_of_all.t().narrow(0, slot.offset, slot.length);
      return rows_of_part(rows, slot, part == Comparison::Part::imaginary ? 1 : 0).t();
    };
    return Slopes{of_part(all.left), of_part(all.right)};
  };
  return find_kinks(block, columns, slopes(options_.eps), slopes(options_.eps / 10));
}

bool Check::compare_fast(GradientRows& rows) {
  std::mt19937_64 random(options_.seed);
  std::vector<std::vector<double>> u, numeric;
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    now("the forward, with " + checked_names_[i] + " moved,");
    Elements elements(moved_input(i));
    u.push_back(random_direction(elements.size(), random));
    numeric.push_back(numeric_product(*evaluate_, elements, u[i], options_.eps));
  }
  now("the backward");
  for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
    const OutputSlot& slot = layout_.slots[s];
    if (!slot.differentiable) {
      continue;
    }
    const std::vector<double> v = random_direction(slot.length, random);
    const Tensor upstream = from_reals(v, slot.like);
    GradientRows::Rows first, second;
    rows.fill(first, s, upstream);
    rows.fill(second, s, upstream);
    for (std::size_t i = 0; i < checked_.size(); ++i) {
      rows.compare_runs(i, slot.output, first[i].data(), second[i].data(),
                        static_cast<std::int64_t>(first[i].size()));
      const double expected = dot(v, numeric[i].data() + slot.offset);
      Comparison comparison = comparison_of(i, slot);
      comparison.kind = Comparison::Kind::projection;
      const std::int64_t numbers = u[i].empty() || v.empty() ? 0 : 1;
      const auto matrix = [&](double value) { return at::full({numbers, numbers}, value, at::kDouble); };
      Block block{matrix(dot(u[i], first[i].data())), matrix(expected), {}, options_.atol};
      block.tolerance = tolerance_for(checked_inputs_[i], slot.like, block.numeric);
      block.tolerance.absolute *= sum(u[i]) * sum(v);
      comparison.passed = summarize(block, comparison);
      comparison.bad = comparison.passed ? 0 : 1;
      verdict_.comparisons.push_back(std::move(comparison));
    }
  }
  return std::all_of(verdict_.comparisons.begin(), verdict_.comparisons.end(),
                     [](const Comparison& comparison) { return comparison.passed; });
}

void Check::check_all_constant() {
  warn(
      "no output requires a gradient, so their differences have to be zero. Did autograd see the inputs? A "
      "torch::autograd::Function sees tensors among its arguments, but not those inside a std::vector");
  all_constant_ = true;
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    now("the forward, with " + checked_names_[i] + " moved,");
    const Tensor numeric = numeric_of(i);
    for (const OutputSlot& slot : layout_.slots) {
      const Tensor rows = numeric.narrow(0, slot.offset, slot.length);
      compare_pair(i, slot, at::zeros_like(rows), rows);
    }
  }
}

void Check::name_lost_shares() {
  for (Comparison& lost : verdict_.comparisons) {
    const auto is_right_share = [&](const Comparison& other) {
      return other.input == lost.input && other.output != lost.output && other.kind == lost.kind &&
             other.passed && std::abs(other.worst_absolute.ours) > other.worst_absolute.tolerance;
    };
    const auto share = std::find_if(verdict_.comparisons.begin(), verdict_.comparisons.end(), is_right_share);
    if (lost.cause == Cause::not_filled && share != verdict_.comparisons.end()) {
      lost.cause = Cause::overwritten;
      lost.explanation = "overwritten instead of accumulated: zero, but right from " + share->output_name;
    }
  }
}

void Check::report_rows(const GradientRows& rows) {
  for (const std::string& sentence : rows.wrong_dtypes()) {
    options_.check_grad_dtypes ? fail(sentence) : warn(sentence);
  }
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    const GradientRows::Change& change = rows.changes()[i];
    if (change.largest > options_.nondet_tol) {
      const bool doubled =
          change.first != 0 && std::abs(change.second - 2 * change.first) < 1e-6 * std::abs(change.first);
      fail("backward is not reentrant: run again, the gradient of " + output_name(change.output) + " by " +
           checked_names_[i] + " is " + number_text(change.second, 9) + " instead of " +
           number_text(change.first, 9) +
           (doubled ? "; it is added to what the first run left: accumulated instead of written"
                    : "; it is not deterministic, or keeps state from run to run"));
    }
  }
}

void Check::check_zero_upstream(const Vjp& vjp) {
  now("the backward of a zero upstream gradient");
  std::vector<Tensor> upstream;
  for (const OutputSlot& slot : layout_.slots) {
    upstream.push_back(slot.differentiable
                           ? at::zeros(slot.like.sizes(), slot.like.options().requires_grad(false))
                           : Tensor());
  }
  const std::vector<Tensor> gradients = vjp(upstream);
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    if (gradients[i].defined() && !gradients[i].eq(0).all().item<bool>()) {
      fail("a zero upstream gradient gives " + checked_names_[i] +
           " a gradient that is not zero: the backward is "
           "not linear in the upstream gradient, or not multiplied by it");
    }
  }
}

void Check::check_inputs_unchanged() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < originals_.size(); ++i) {
    const Tensor now_there = inputs_[i].detach();
    const Tensor& original = originals_[i];
    if (!original.defined()) {
      continue;
    }
    const Tensor same = (now_there == original) | ((now_there != now_there) & (original != original));
    if (!same.all().item<bool>()) {
      fail("the function changed " + input_name(i) + " in place");
      inputs_[i].variable_data().copy_(original);
    }
  }
}

}  // namespace twingrad::gradcheck_detail
