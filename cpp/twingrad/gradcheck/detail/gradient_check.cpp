#include "twingrad/gradcheck/detail/gradient_check.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Type.h>
#include <cxxabi.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace twingrad::gradcheck_detail {
namespace {

bool has_gradient_dtype(const Tensor& tensor) {
  return tensor.defined() && (tensor.is_floating_point() || tensor.is_complex());
}

at::ScalarType float64_dtype(const Tensor& like) {
  return like.is_complex() ? at::kComplexDouble : at::kDouble;
}

/// Copies of the floating-point and complex tensors with this precision and the strides of dense tensors.
/// A tensor that occurs twice is copied once.
Tensors copies_as(at::ScalarType precision, const Tensors& tensors) {
  Tensors copies = tensors;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[i];
    const auto first = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const Tensor& other) { return other.is_same(tensor); });
    if (first < tensors.begin() + static_cast<std::ptrdiff_t>(i)) {
      copies[i] = copies[first - tensors.begin()];
    } else if (has_gradient_dtype(tensor)) {
      const auto dtype = tensor.is_complex() ? c10::toComplexType(precision) : precision;
      copies[i] = tensor.detach()
                      .to(dtype, /*non_blocking=*/false, /*copy=*/true)
                      .requires_grad_(tensor.requires_grad());
    }
  }
  return copies;
}

constexpr int kCallsIfSeldomRandom = 32;

double largest_distance(const Tensor& a, const Tensor& b) {
  const double *of_a = a.data_ptr<double>(), *of_b = b.data_ptr<double>();
  double largest = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    largest = std::max(largest, distance(of_a[i], of_b[i]));
  }
  return largest;
}

/// What to do if a function does not accept inputs of float64, but of this lower precision.
std::string advice_for(at::ScalarType precision) {
  const char* name = precision == at::kHalf ? "float16" : precision == at::kBFloat16 ? "bfloat16" : "float32";
  return c10::str("; fn uses ", name,
                  " tensors that do not follow its inputs: convert them, for example with ",
                  "module->to(torch::kDouble)");
}

}  // namespace

std::string current_exception_message() {
  try {
    throw;
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return error.what();
  } catch (const std::string& text) {
    return text;
  } catch (const char* text) {
    return text;
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return "an exception of type " + (type == nullptr ? "unknown" : c10::demangle(type->name()));
  }
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
  } catch (...) {
    fail(step_, " threw: ", current_exception_message());
  }
  if (result_.comparisons.empty() && result_.failures.empty()) {
    fail("nothing was compared");
  }
  result_.passed = passes();
  return std::move(result_);
}

bool GradientCheck::passes() const {
  return result_.failures.empty() &&
         std::all_of(result_.comparisons.begin(), result_.comparisons.end(),
                     [](const GradcheckComparison& comparison) { return comparison.passed; });
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

void GradientCheck::warn_once(const std::string& message) {
  if (std::find(result_.warnings.begin(), result_.warnings.end(), message) == result_.warnings.end()) {
    warn(message);
  }
}

void GradientCheck::choose_inputs(bool by_hand) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].defined()) {
      throw CheckStopped(input_name(i), " is undefined");
    }
  }
  const auto requires_grad = [](const Tensor& input) { return input.requires_grad(); };
  const bool all = by_hand && std::none_of(inputs_.begin(), inputs_.end(), requires_grad);
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (all ? has_gradient_dtype(inputs_[i]) : requires_grad(inputs_[i])) {
      checked_.push_back({i, inputs_[i], input_name(i), 0});
    }
  }
  if (checked_.empty()) {
    throw CheckStopped(by_hand ? "no input has a floating-point or complex dtype"
                               : "no input requires a gradient");
  }
  for (CheckedInput& input : checked_) {
    validate_input(input);
    validate_memory(input, by_hand);
    input.step = step_for(input.tensor);
    if (input.tensor.scalar_type() != float64_dtype(input.tensor)) {
      in_float64_ = in_float64_ || options_.numerical_in_float64;
      warn(input.name, " is ", input.tensor.scalar_type(),
           (options_.numerical_in_float64
                ? ": numerical gradients are computed on a float64 copy"
                : ": numerical gradients in less than double precision are likely to fail"));
    }
  }
  warn_about_inputs();
  for (const Tensor& input : inputs_) {
    originals_.push_back(input.layout() == at::kStrided ? input.detach().clone() : Tensor());
  }
}

double GradientCheck::step_for(const Tensor& input) const {
  if (!options_.scale_eps || input.numel() == 0) {
    return options_.eps;
  }
  const double epsilon = precision_of(input).epsilon, of_double = std::numeric_limits<double>::epsilon();
  return options_.eps * size_of(reals_of(input)) *
         (options_.numerical_in_float64 ? 1 : std::cbrt(epsilon / of_double));
}

double GradientCheck::value_bound() const {
  const auto smaller = [](const CheckedInput& a, const CheckedInput& b) { return a.step < b.step; };
  return 2 * std::min_element(checked_.begin(), checked_.end(), smaller)->step * options_.atol;
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

/// Autograd gives one gradient for a tensor that is two inputs. A backward by hand gives two.
void GradientCheck::validate_memory(const CheckedInput& input, bool by_hand) const {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const bool same_allowed = !by_hand && inputs_[i].is_same(input.tensor);
    if (i != input.index && !same_allowed && share_memory(input.tensor, inputs_[i])) {
      throw CheckStopped(input_name(std::min(i, input.index)), " and ", input_name(std::max(i, input.index)),
                         " share memory: perturbing one changes the other; call clone() on one of them");
    }
  }
}

/// Warns about inputs of equal elements, such as zeros or ones.
void GradientCheck::warn_about_inputs() {
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const Tensor& input = inputs_[i];
    if (!has_gradient_dtype(input) || input.layout() != at::kStrided || input.numel() == 0) {
      continue;
    }
    const c10::complex<double> first = input.reshape({-1})[0].item().toComplexDouble();
    const bool special = input.numel() > 1 || first == 0.0 || first == 1.0;
    if (special && input.eq(input.reshape({-1})[0]).all().item<bool>()) {
      warn(input_name(i), " is ", number_text(first.real()),
           first.imag() == 0 ? "" : (first.imag() < 0 ? "" : "+") + number_text(first.imag()) + "i",
           " everywhere: many wrong gradients are right there; use random values");
    }
  }
}

Tensors GradientCheck::first_outputs() {
  try {
    return fn_(inputs_);
  } catch (const CheckStopped&) {
    throw;
  } catch (...) {
    const std::string message = current_exception_message();
    throw CheckStopped("the forward threw: ", message, dtype_advice());
  }
}

/// For a forward that throws: what to do if it does not throw for inputs of another precision.
std::string GradientCheck::dtype_advice() const {
  const auto accepts = [&](const Tensors& inputs) {
    try {
      fn_(inputs);
      return true;
    } catch (...) {
      return false;
    }
  };
  if (accepts(inputs_)) {  // it does not always throw
    return {};
  }
  return accepts(copies_as(at::kFloat, inputs_))    ? advice_for(at::kFloat)
         : accepts(copies_as(at::kDouble, inputs_)) ? "; fn uses float64 tensors: pass float64 inputs"
                                                    : "";
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
    point = copies_as(at::kDouble, inputs_);
    for (OutputSlot& slot : layout.slots) {
      slot.like = slot.like.to(float64_dtype(slot.like));
    }
  }
  evaluate_ = std::make_unique<Evaluator>(fn_, std::move(point), std::move(layout), with_autograd);
  const Tensor values = first_evaluation();
  compare_calls(values, 1);
  try {
    evaluate_->with_autograd = false;
    evaluate_->with_autograd = with_autograd && largest_distance(values, (*evaluate_)()) > value_bound();
  } catch (...) {
    evaluate_->with_autograd = with_autograd;  // fn calls autograd itself
  }
}

Tensor GradientCheck::first_evaluation() const {
  try {
    return (*evaluate_)();
  } catch (const CheckStopped&) {
    throw;
  } catch (...) {
    if (!in_float64_) {
      throw;
    }
    const auto low = std::find_if(checked_.begin(), checked_.end(), [](const CheckedInput& input) {
      return input.tensor.scalar_type() != float64_dtype(input.tensor);
    });
    throw CheckStopped(step_, " threw: ", current_exception_message(),
                       advice_for(c10::toRealValueType(low->tensor.scalar_type())));
  }
}

/// Compares the values of more calls, each with those of the call before.
void GradientCheck::compare_calls(Tensor values, int calls) {
  for (; calls > 0 && deterministic_; --calls) {
    const Tensor next = (*evaluate_)();
    const double change = largest_distance(values, next);
    if (change > value_bound()) {
      deterministic_ = false;
      fail("the forward is not deterministic: two calls with the same inputs differ by ",
           number_text(change));
    }
    values = next;
  }
}

void GradientCheck::replace_if_random(std::size_t count) {
  const auto first = result_.failures.begin() + static_cast<std::ptrdiff_t>(count);
  const std::vector<std::string> others(first, result_.failures.end());
  result_.failures.erase(first, result_.failures.end());
  set_step("the forward, called again to compare its values,");
  compare_calls((*evaluate_)(), kCallsIfSeldomRandom);
  if (deterministic_) {
    result_.failures.insert(result_.failures.end(), others.begin(), others.end());
  }
}

/// The numbers of a random forward have no cause. One that is seldom random takes more calls to find.
void GradientCheck::withdraw_causes_if_random() {
  const auto passed = [](const GradcheckComparison& comparison) { return comparison.passed; };
  if (std::all_of(result_.comparisons.begin(), result_.comparisons.end(), passed)) {
    return;
  }
  set_step("the forward, called again to compare its values,");
  compare_calls((*evaluate_)(), kCallsIfSeldomRandom);
  for (GradcheckComparison& comparison : result_.comparisons) {
    if (!deterministic_ && !comparison.passed) {
      set_cause(comparison, GradcheckCause::unknown, "unknown: the forward is not deterministic");
      comparison.opinions.clear();
    }
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
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < originals_.size(); ++i) {
    const Tensor& original = originals_[i];
    if (!original.defined()) {
      continue;
    }
    const Tensor& current = inputs_[i];
    const Tensor same = (current == original) | ((current != current) & (original != original));
    if (!same.all().item<bool>()) {
      fail("the function changed ", input_name(i), " in place");
      inputs_[i].variable_data().copy_(original);
    }
  }
}

}  // namespace twingrad::gradcheck_detail
