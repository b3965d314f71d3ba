#include "twingrad/gradcheck/detail/gradient_check.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace twingrad::gradcheck_detail {
namespace {

bool has_gradient_dtype(const Tensor& tensor) {
  return tensor.defined() && (tensor.is_floating_point() || tensor.is_complex());
}

at::ScalarType float64_dtype(const Tensor& like) {
  return like.is_complex() ? at::kComplexDouble : at::kDouble;
}

/// A float64 copy with the strides of a dense tensor; other dtypes are returned unchanged.
Tensor float64_copy(const Tensor& tensor) {
  if (!has_gradient_dtype(tensor)) {
    return tensor;
  }
  return tensor.detach()
      .to(float64_dtype(tensor), /*non_blocking=*/false, /*copy=*/true)
      .requires_grad_(tensor.requires_grad());
}

double largest_distance(const Tensor& a, const Tensor& b) {
  double largest = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    largest = std::max(largest, distance(a.data_ptr<double>()[i], b.data_ptr<double>()[i]));
  }
  return largest;
}

}  // namespace

std::string message_of(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
}

GradientCheck::GradientCheck(GradcheckResult::Check check, const GradcheckFunction& fn, const Tensors& inputs,
                             const GradcheckOptions& options)
    : fn_(fn), inputs_(inputs), options_(options) {
  result_.check = check;
  result_.mode = options.mode;
  result_.eps = options.eps;
  result_.atol = options.atol;
  result_.rtol = options.rtol;
}

GradcheckResult GradientCheck::run(const std::function<void()>& steps) {
  try {
    validate_options();
    steps();
    check_inputs_unchanged();
  } catch (const CheckStopped& error) {
    fail(error.what());
  } catch (const std::exception& error) {
    fail(step_, " threw: ", message_of(error));
  }
  if (result_.comparisons.empty() && result_.failures.empty()) {
    fail("nothing was compared");
  }
  result_.passed = result_.failures.empty() &&
                   std::all_of(result_.comparisons.begin(), result_.comparisons.end(),
                               [](const GradcheckComparison& comparison) { return comparison.passed; });
  return std::move(result_);
}

void GradientCheck::validate_options() const {
  if (!(std::isfinite(options_.eps) && options_.eps > 0)) {
    throw CheckStopped("options: eps must be positive");
  }
  if (!(options_.atol >= 0 && options_.rtol >= 0 && options_.nondet_tol >= 0)) {
    throw CheckStopped("options: atol, rtol and nondet_tol must be zero or positive");
  }
  for (const std::size_t input : options_.batched_inputs) {
    if (input >= inputs_.size() || !inputs_[input].defined() || inputs_[input].dim() == 0) {
      throw CheckStopped("options: batched_inputs names input ", input,
                         ", which does not exist or has no rows");
    }
  }
}

std::string GradientCheck::input_name(std::size_t input) const {
  return name_at(options_.input_names, "input", input);
}

void GradientCheck::choose_inputs(bool or_all) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].defined()) {
      throw CheckStopped(input_name(i), " is undefined");
    }
  }
  const auto requires_grad = [](const Tensor& input) { return input.requires_grad(); };
  const bool all = or_all && std::none_of(inputs_.begin(), inputs_.end(), requires_grad);
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (all ? has_gradient_dtype(inputs_[i]) : requires_grad(inputs_[i])) {
      checked_.push_back({i, inputs_[i], input_name(i)});
    }
  }
  if (checked_.empty()) {
    throw CheckStopped(or_all ? "no input has a floating-point or complex dtype"
                              : "no input requires a gradient");
  }
  for (const CheckedInput& input : checked_) {
    validate_input(input);
    if (input.tensor.scalar_type() != float64_dtype(input.tensor)) {
      in_float64_ = in_float64_ || options_.numerical_in_float64;
      warn(input.name, " is ", input.tensor.scalar_type(),
           (options_.numerical_in_float64
                ? ": numerical gradients are computed on a float64 copy"
                : ": numerical gradients in less than double precision are likely to fail"));
    }
  }
  for (const Tensor& input : inputs_) {
    originals_.push_back(input.layout() == at::kStrided ? input.detach().clone() : Tensor());
  }
}

void GradientCheck::validate_input(const CheckedInput& input) const {
  const Tensor& tensor = input.tensor;
  if (tensor.layout() != at::kStrided) {
    throw CheckStopped(input.name, " is not strided: sparse and other layouts are not supported");
  }
  if (tensor.is_conj() || tensor.is_neg()) {
    throw CheckStopped(input.name,
                       " is a lazy conjugate or negative: call resolve_conj().resolve_neg() on it");
  }
  if (overlaps_itself(tensor)) {
    throw CheckStopped(input.name, " overlaps itself in memory, with strides ", tensor.strides(),
                       ": perturbing one element changes others; call contiguous() on it");
  }
}

void GradientCheck::set_outputs(const Tensors& outputs, bool all_differentiable) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].defined() && outputs[i].layout() != at::kStrided) {
      throw CheckStopped(name_at(options_.output_names, "output", i),
                         " is not strided: call to_dense() on it");
    }
  }
  layout_ = OutputLayout(outputs, options_.output_names);
  if (layout_.slots.empty()) {
    throw CheckStopped("nothing to compare: the function returned no floating-point or complex tensor");
  }
  for (OutputSlot& slot : layout_.slots) {
    slot.differentiable = slot.differentiable || all_differentiable;
  }
}

void GradientCheck::prepare_evaluation(bool with_autograd) {
  set_step("the second forward call");
  Tensors point = inputs_;
  OutputLayout layout = layout_;
  if (in_float64_) {
    set_step("the forward on float64 copies of the inputs (see GradcheckOptions::numerical_in_float64)");
    std::transform(inputs_.begin(), inputs_.end(), point.begin(), float64_copy);
    for (OutputSlot& slot : layout.slots) {
      slot.like = slot.like.detach().to(float64_dtype(slot.like));
    }
  }
  evaluate_ = std::make_unique<Evaluator>(fn_, std::move(point), std::move(layout), with_autograd);
  const Tensor values = (*evaluate_)();
  // If a value is off by this, an entry of a Jacobian is off by atol.
  const double bound = 2 * options_.eps * options_.atol;
  const double change = largest_distance(values, (*evaluate_)());
  if (change > bound) {
    fail("the forward is not deterministic: two calls with the same inputs differ by ", number_text(change));
  }
  try {
    evaluate_->with_autograd = false;
    evaluate_->with_autograd = with_autograd && largest_distance(values, (*evaluate_)()) > bound;
  } catch (const std::exception&) {
    evaluate_->with_autograd = with_autograd;  // fn calls autograd itself
  }
}

void GradientCheck::check_zero_upstream(const Vjp& vjp) {
  set_step("the backward for a zero upstream gradient");
  Tensors upstream;
  for (const OutputSlot& slot : layout_.slots) {
    upstream.push_back(slot.differentiable ? slot.zeros() : Tensor());
  }
  const Tensors gradients = vjp(upstream);
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    if (!all_zero(gradients[i])) {
      fail("the gradient of ", checked_[i].name,
           " is not zero for a zero upstream gradient: the backward is not linear in the upstream gradient "
           "or ignores it");
    }
  }
}

void GradientCheck::check_inputs_unchanged() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < originals_.size(); ++i) {
    const Tensor& original = originals_[i];
    if (!original.defined()) {
      continue;
    }
    const Tensor current = inputs_[i].detach();
    const Tensor same = (current == original) | ((current != current) & (original != original));
    if (!same.all().item<bool>()) {
      fail("the function changed ", input_name(i), " in place");
      inputs_[i].variable_data().copy_(original);
    }
  }
}

}  // namespace twingrad::gradcheck_detail
