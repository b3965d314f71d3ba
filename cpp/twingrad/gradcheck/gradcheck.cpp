#include "twingrad/gradcheck/gradcheck.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/basic_ops.h>

#include <algorithm>

#include "twingrad/gradcheck/detail/contract.h"
#include "twingrad/gradcheck/detail/gradient_check.h"

namespace twingrad {
namespace {

using gradcheck_detail::CheckedInput;
using gradcheck_detail::CheckStopped;
using gradcheck_detail::Contract;
using gradcheck_detail::Differentiate;
using gradcheck_detail::GradientCheck;
using gradcheck_detail::name_at;
using gradcheck_detail::OutputSlot;
using gradcheck_detail::Tensor;
using gradcheck_detail::Tensors;
using gradcheck_detail::Vjp;

/// A copy of x. Its backward returns an undefined gradient.
Tensor with_undefined_upstream(const Tensor& x) { return torch::autograd::UndefinedGrad().apply({x}).at(0); }

bool requires_grad(const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

/// The tensors that are defined and require a gradient.
Tensors requiring_grad(const Tensors& tensors) {
  Tensors selected;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(selected), requires_grad);
  return selected;
}

/// ∂(Σ upstream · outputs) / ∂inputs by autograd, without the outputs whose upstream gradient is undefined.
Tensors autograd_vjp(const Tensors& outputs, const std::vector<CheckedInput>& inputs,
                     const Tensors& upstream) {
  Tensors used_outputs, used_upstream, wanted;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (upstream[i].defined()) {
      used_outputs.push_back(outputs[i]);
      used_upstream.push_back(upstream[i]);
    }
  }
  for (const CheckedInput& input : inputs) {
    wanted.push_back(input.tensor);
  }
  return torch::autograd::grad(used_outputs, wanted, used_upstream, /*retain_graph=*/true,
                               /*create_graph=*/false, /*allow_unused=*/true);
}

/// Runs backward with an undefined upstream gradient of the outputs selected by `is_undefined`, called
/// `which`, and zero for the others.
template <typename Predicate>
void check_undefined_upstream(GradientCheck& check, const Tensors& fn_outputs, const std::string& which,
                              const Predicate& is_undefined) {
  Tensors outputs, zeros;
  for (std::size_t i = 0; i < fn_outputs.size(); ++i) {
    if (requires_grad(fn_outputs[i])) {
      outputs.push_back(is_undefined(i) ? with_undefined_upstream(fn_outputs[i]) : fn_outputs[i]);
      zeros.push_back(at::zeros_like(fn_outputs[i]));
    }
  }
  try {
    const Tensors gradients = autograd_vjp(outputs, check.checked(), zeros);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradcheck_detail::all_zero(gradients[i])) {
        check.fail("the gradient of ", check.checked()[i].name, " is not zero when the upstream gradient of ",
                   which, " is undefined and the others are zero");
      }
    }
  } catch (...) {
    check.fail("backward does not support an undefined upstream gradient, here of ", which,
               "; test it with defined(): ", gradcheck_detail::current_exception_message());
  }
}

void check_undefined_upstreams(GradientCheck& check, const GradcheckFunction& fn, const Tensors& inputs) {
  check.set_step("the forward for undefined upstream gradients");
  check_undefined_upstream(check, fn(inputs), "all outputs", [](std::size_t) { return true; });
  const std::vector<OutputSlot>& slots = check.layout().slots;
  if (std::count_if(slots.begin(), slots.end(), [](auto& slot) { return slot.differentiable; }) < 2) {
    return;
  }
  for (const OutputSlot& slot : slots) {
    if (slot.differentiable) {
      check_undefined_upstream(check, fn(inputs), slot.name, [&](std::size_t i) { return i == slot.output; });
    }
  }
}

/// The gradients by autograd of the checked inputs that require one, at other inputs than those of the check.
/// Outputs without an upstream gradient, or that require none there, are left out.
Tensors autograd_gradients(const GradientCheck& check, const GradcheckFunction& fn, const Tensors& inputs,
                           const Tensors& upstream) {
  const Tensors outputs = fn(inputs);
  Tensors roots, used_upstream, wanted;
  for (std::size_t s = 0; s < upstream.size(); ++s) {
    const Tensor& output = outputs.at(check.layout().slots[s].output);
    if (upstream[s].defined() && requires_grad(output)) {
      roots.push_back(output);
      used_upstream.push_back(upstream[s]);
    }
  }
  for (const CheckedInput& input : check.checked()) {
    if (requires_grad(inputs[input.index])) {
      wanted.push_back(inputs[input.index]);
    }
  }
  Tensors found(wanted.size());
  if (!roots.empty() && !wanted.empty()) {
    found = torch::autograd::grad(roots, wanted, used_upstream, /*retain_graph=*/false,
                                  /*create_graph=*/false, /*allow_unused=*/true);
  }
  Tensors gradients;
  auto next = found.begin();
  for (const CheckedInput& input : check.checked()) {
    gradients.push_back(requires_grad(inputs[input.index]) ? *next++ : Tensor());
  }
  return gradients;
}

/// Calls the function in other ways, if it is right so far.
void check_contract(GradientCheck& check, GradcheckResult::Check kind, const GradcheckFunction& fn,
                    const Tensors& inputs, const GradcheckOptions& options,
                    const Differentiate& differentiate) {
  const bool by_hand = kind == GradcheckResult::Check::check_backward;
  std::vector<std::function<void(Contract&)>> steps;
  const auto add = [&](bool wanted, auto step) {
    if (wanted) {
      steps.emplace_back(step);
    }
  };
  add(options.check_strides, [](Contract& contract) { contract.check_strides(); });
  add(options.check_subsets && !by_hand, [](Contract& contract) { contract.check_subsets(); });
  add(options.check_accumulation && !by_hand, [&](Contract& contract) { contract.check_accumulation(fn); });
  add(options.check_batch_sizes && !options.batched_inputs.empty(),
      [](Contract& contract) { contract.check_batch_sizes(); });
  add(options.check_symmetry && kind == GradcheckResult::Check::gradgradcheck,
      [](Contract& contract) { contract.check_symmetry(); });
  add(options.check_forward_ad && !by_hand, [&](Contract& contract) { contract.check_forward_ad(fn); });
  add(options.check_batched_grad && !by_hand, [&](Contract& contract) { contract.check_batched_grad(fn); });
  add(options.check_parity && options.reference, [&](Contract& contract) { contract.check_parity(fn); });
  add(options.threads > 0, [](Contract& contract) { contract.check_threads(); });
  if (steps.empty() || !check.passes()) {
    return;
  }
  const std::size_t before = check.failure_count();
  Contract contract(check, inputs, options, differentiate);
  for (const auto& step : steps) {
    step(contract);
  }
  if (check.failure_count() > before) {
    check.replace_if_random(before);
  }
}

GradcheckResult check_autograd(GradcheckResult::Check kind, const GradcheckFunction& fn,
                               const Tensors& inputs, const GradcheckOptions& options) {
  const c10::AutoGradMode grad_mode(true);
  GradientCheck check(kind, fn, inputs, options);
  return check.run([&] {
    check.choose_inputs(/*by_hand=*/false);
    check.set_outputs(check.first_outputs(), /*all_differentiable=*/false);
    check.prepare_evaluation(/*with_autograd=*/true);
    check.compare_values();
    Tensors outputs;
    for (const OutputSlot& slot : check.layout().slots) {
      outputs.push_back(slot.like);
    }
    if (requiring_grad(outputs).empty()) {
      check.check_all_constant();
      return;
    }
    const Vjp vjp = [&](const Tensors& upstream) { return autograd_vjp(outputs, check.checked(), upstream); };
    check.compare_gradients(vjp);
    check.check_zero_upstream(vjp);
    if (options.check_undefined_grad) {
      check_undefined_upstreams(check, fn, inputs);
    }
    check_contract(check, kind, fn, inputs, options, [&](const Tensors& at, const Tensors& upstream) {
      return autograd_gradients(check, fn, at, upstream);
    });
  });
}

/// vᵀJ by a hand-written backward pass, called after its forward pass.
Tensors manual_vjp(GradientCheck& check, const GradcheckFunction& forward, const GradcheckBackward& backward,
                   const Tensors& inputs, const Tensors& upstream) {
  const Tensors outputs = forward(inputs);
  const std::vector<OutputSlot>& slots = check.layout().slots;
  Tensors grad_outputs(outputs.size());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    grad_outputs[slots[i].output] = upstream[i].defined() ? upstream[i] : slots[i].zeros();
  }
  const Tensors gradients = backward(inputs, outputs, grad_outputs);
  if (gradients.size() != inputs.size()) {
    throw CheckStopped("the backward returned ", gradients.size(), " gradients for ", inputs.size(),
                       " inputs; return an undefined tensor for no gradient");
  }
  Tensors checked;
  for (const CheckedInput& input : check.checked()) {
    checked.push_back(gradients[input.index]);
  }
  return checked;
}

/// (inputs, grad_outputs) ↦ ∂(Σ grad_outputs · fn(inputs)) / ∂inputs. An unused input's is undefined.
/// differentiable: for each input, whether its gradient is wanted.
Tensors gradients_of(const GradcheckFunction& fn, const std::vector<bool>& differentiable,
                     const Tensors& arguments) {
  const bool create_graph = at::GradMode::is_enabled();
  const c10::AutoGradMode grad_mode(true);
  const auto end_of_inputs = arguments.begin() + static_cast<std::ptrdiff_t>(differentiable.size());
  const Tensors inputs(arguments.begin(), end_of_inputs);
  const Tensors grad_outputs(end_of_inputs, arguments.end());
  Tensors wanted;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (differentiable[i]) {
      wanted.push_back(inputs[i]);
    }
  }
  const Tensors outputs = requiring_grad(fn(inputs));
  if (outputs.size() != grad_outputs.size()) {
    throw CheckStopped("expected one grad_output for each of the ", outputs.size(),
                       " outputs that require a gradient, found ", grad_outputs.size());
  }
  Tensors gradients = torch::autograd::grad(outputs, wanted, grad_outputs, /*retain_graph=*/create_graph,
                                            create_graph, /*allow_unused=*/true);
  for (Tensor& gradient : gradients) {
    gradient = gradient.defined() && gradient.layout() != at::kStrided ? gradient.to_dense() : gradient;
  }
  return gradients;
}

/// U(−1, 1) for each output that requires a gradient.
Tensors random_grad_outputs(const Tensors& outputs, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  Tensors grad_outputs;
  for (const Tensor& output : requiring_grad(outputs)) {
    const auto draw = [&] { return at::rand(output.sizes(), generator, at::kDouble).mul_(2).sub_(1); };
    Tensor values = draw();
    if (output.is_complex()) {
      values = at::complex(values, draw());
    }
    grad_outputs.push_back(values.to(output.options().requires_grad(false)).requires_grad_());
  }
  return grad_outputs;
}

/// The options with names for the arguments and results of gradients_of(). outputs: those of fn.
GradcheckOptions options_of_gradients(const GradcheckOptions& options, const Tensors& inputs,
                                      const Tensors& outputs) {
  GradcheckOptions of_gradients = options;
  of_gradients.reference = nullptr;
  of_gradients.check_subsets = false;  // the gradients of all inputs are computed
  of_gradients.check_accumulation = false;
  of_gradients.check_forward_ad = false;
  of_gradients.input_names.clear();
  of_gradients.output_names.clear();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    of_gradients.input_names.push_back(name_at(options.input_names, "input", i));
    if (requires_grad(inputs[i])) {
      of_gradients.output_names.push_back("gradient of " + of_gradients.input_names.back());
    }
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (requires_grad(outputs[i])) {
      of_gradients.input_names.push_back("upstream gradient of " +
                                         name_at(options.output_names, "output", i));
    }
  }
  return of_gradients;
}

}  // namespace

GradcheckResult gradcheck(const GradcheckFunction& fn, const Tensors& inputs,
                          const GradcheckOptions& options) {
  return check_autograd(GradcheckResult::Check::gradcheck, fn, inputs, options);
}

GradcheckResult gradgradcheck(const GradcheckFunction& fn, const Tensors& inputs, const Tensors& grad_outputs,
                              const GradcheckOptions& options) {
  const c10::AutoGradMode grad_mode(true);
  constexpr auto kKind = GradcheckResult::Check::gradgradcheck;
  Tensors outputs, upstream = grad_outputs;
  GradientCheck setup(kKind, fn, inputs, options);
  GradcheckResult setup_result = setup.run([&] {
    outputs = setup.first_outputs();
    upstream = upstream.empty() ? random_grad_outputs(outputs, options.seed) : upstream;
    if (upstream.empty()) {
      throw CheckStopped("nothing to compare: no output requires a gradient");
    }
  });
  if (outputs.empty() || upstream.empty()) {
    return setup_result;
  }
  Tensors arguments = inputs;
  arguments.insert(arguments.end(), upstream.begin(), upstream.end());
  std::vector<bool> differentiable(inputs.size());
  std::transform(inputs.begin(), inputs.end(), differentiable.begin(), requires_grad);
  const GradcheckFunction gradients = [&](const Tensors& moved) {
    return gradients_of(fn, differentiable, moved);
  };
  return check_autograd(kKind, gradients, arguments, options_of_gradients(options, inputs, outputs));
}

GradcheckResult check_backward(const GradcheckFunction& forward, const GradcheckBackward& backward,
                               const Tensors& inputs, const GradcheckOptions& options) {
  const c10::NoGradGuard no_grad;
  constexpr auto kKind = GradcheckResult::Check::check_backward;
  GradientCheck check(kKind, forward, inputs, options);
  return check.run([&] {
    check.choose_inputs(/*by_hand=*/true);
    check.set_outputs(check.first_outputs(), /*all_differentiable=*/true);
    check.prepare_evaluation(/*with_autograd=*/false);
    check.compare_values();
    const Vjp vjp = [&](const Tensors& upstream) {
      return manual_vjp(check, forward, backward, inputs, upstream);
    };
    check.compare_gradients(vjp);
    check.check_zero_upstream(vjp);
    check_contract(check, kKind, forward, inputs, options, [&](const Tensors& at, const Tensors& upstream) {
      return manual_vjp(check, forward, backward, at, upstream);
    });
  });
}

}  // namespace twingrad
