#include "twingrad/gradcheck/gradcheck.h"

#include <torch/torch.h>

#include <algorithm>
#include <optional>

#include "twingrad/gradcheck/check.h"

namespace twingrad {
namespace {

using gradcheck_detail::Check;
using gradcheck_detail::CheckFailed;
using gradcheck_detail::OutputSlot;
using gradcheck_detail::Vjp;
using torch::Tensor;
using Tensors = std::vector<Tensor>;

/// The identity, whose backward passes on no gradient at all.
class UndefinedUpstream : public torch::autograd::Function<UndefinedUpstream> {
 public:
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) { return x.clone(); }
  static Tensors backward(torch::autograd::AutogradContext*, const Tensors&) { return {Tensor()}; }
};

/// ∂(Σ upstream · outputs) / ∂inputs by autograd; outputs without an upstream gradient are left out.
Tensors autograd_vjp(const Tensors& outputs, const Tensors& inputs, const Tensors& upstream) {
  Tensors flowing, gradients;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (upstream[i].defined()) {
      flowing.push_back(outputs[i]);
      gradients.push_back(upstream[i]);
    }
  }
  return torch::autograd::grad(flowing, inputs, gradients, /*retain_graph=*/true, /*create_graph=*/false,
                               /*allow_unused=*/true);
}

/// Backward with the upstream gradient of all outputs undefined, or of output `undefined` alone, and zero
/// else.
void check_undefined_upstream(Check& check, const Function& fn, const Tensors& inputs,
                              std::optional<std::size_t> undefined) {
  const std::string which = undefined ? "of " + check.output_name(*undefined) : "of all outputs";
  Tensors outputs, zeros;
  const Tensors all = fn(inputs);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].defined() && all[i].requires_grad()) {
      outputs.push_back(!undefined || *undefined == i ? UndefinedUpstream::apply(all[i]) : all[i]);
      zeros.push_back(at::zeros(all[i].sizes(), all[i].options().requires_grad(false)));
    }
  }
  try {
    const Tensors gradients = autograd_vjp(outputs, check.checked_inputs(), zeros);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i].defined() && !gradients[i].eq(0).all().item<bool>()) {
        check.fail("with the upstream gradient " + which +
                   " undefined and the others zero, the gradient of " + check.input_name(check.checked()[i]) +
                   " is not zero");
      }
    }
  } catch (const std::exception& error) {
    check.fail("backward does not take an undefined upstream gradient, here " + which +
               "; test it with defined(): " + gradcheck_detail::message_of(error));
  }
}

void check_undefined_upstreams(Check& check, const Function& fn, const Tensors& inputs) {
  check.now("the forward, called again,");
  check_undefined_upstream(check, fn, inputs, std::nullopt);
  std::vector<std::size_t> differentiable;
  for (const OutputSlot& slot : check.layout().slots) {
    if (slot.differentiable) {
      differentiable.push_back(slot.output);
    }
  }
  for (std::size_t i = 0; differentiable.size() > 1 && i < differentiable.size(); ++i) {
    check_undefined_upstream(check, fn, inputs, differentiable[i]);
  }
}

Verdict check_autograd(const std::string& name, const Function& fn, const Tensors& inputs,
                       const Options& options) {
  const at::AutoGradMode grad_mode(true);
  Check check(name, fn, inputs, options);
  return check.run([&] {
    check.choose_inputs(/*or_all=*/false);
    check.now("the forward");
    check.set_outputs(fn(inputs), /*all_differentiable=*/false);
    check.prepare_evaluation(/*by_autograd=*/true);
    check.compare_values();
    Tensors outputs;
    bool any_differentiable = false;
    for (const OutputSlot& slot : check.layout().slots) {
      outputs.push_back(slot.like);
      any_differentiable = any_differentiable || slot.differentiable;
    }
    if (!any_differentiable) {
      check.check_all_constant();
      return;
    }
    const Vjp vjp = [&](const Tensors& upstream) {
      return autograd_vjp(outputs, check.checked_inputs(), upstream);
    };
    check.compare_gradients(vjp);
    check.check_zero_upstream(vjp);
    if (options.check_undefined_grad) {
      check_undefined_upstreams(check, fn, inputs);
    }
  });
}

/// vᵀJ by a backward pass written by hand, after the forward that it belongs to.
Tensors manual_vjp(Check& check, const Function& forward, const Backward& backward, const Tensors& inputs,
                   const Tensors& upstream) {
  const Tensors outputs = forward(inputs);
  Tensors grad_outputs(outputs.size());
  for (std::size_t i = 0; i < upstream.size(); ++i) {
    const OutputSlot& slot = check.layout().slots[i];
    grad_outputs[slot.output] = upstream[i].defined()
                                    ? upstream[i].clone()
                                    : at::zeros(slot.like.sizes(), slot.like.options().requires_grad(false));
  }
  const Tensors gradients = backward(inputs, outputs, grad_outputs);
  if (gradients.size() != inputs.size()) {
    throw CheckFailed("the backward returned " + std::to_string(gradients.size()) + " gradients for " +
                      std::to_string(inputs.size()) + " inputs; an undefined one stands for none");
  }
  for (std::size_t i = 0; i < upstream.size(); ++i) {
    if (upstream[i].defined() && !upstream[i].equal(grad_outputs[check.layout().slots[i].output])) {
      throw CheckFailed("the backward changed the upstream gradient of " +
                        check.output_name(check.layout().slots[i].output) + " in place");
    }
  }
  Tensors checked;
  for (const std::size_t i : check.checked()) {
    checked.push_back(gradients[i]);
  }
  return checked;
}

/// (inputs, grad_outputs) ↦ ∂(Σ grad_outputs · fn(inputs)) / ∂inputs, without those that are undefined.
Tensors gradients_of(const Function& fn, const std::vector<bool>& differentiable, const Tensors& arguments) {
  const bool create_graph = at::GradMode::is_enabled();
  const at::AutoGradMode grad_mode(true);
  const auto border = arguments.begin() + static_cast<std::ptrdiff_t>(differentiable.size());
  const Tensors inputs(arguments.begin(), border);
  const Tensors grad_outputs(border, arguments.end());
  Tensors wanted, outputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (differentiable[i]) {
      wanted.push_back(inputs[i]);
    }
  }
  for (const Tensor& output : fn(inputs)) {
    if (output.defined() && output.requires_grad()) {
      outputs.push_back(output);
    }
  }
  if (outputs.size() != grad_outputs.size()) {
    throw CheckFailed("expected one grad_output for each of the " + std::to_string(outputs.size()) +
                      " outputs that require a gradient, found " + std::to_string(grad_outputs.size()));
  }
  Tensors gradients = torch::autograd::grad(outputs, wanted, grad_outputs, /*retain_graph=*/create_graph,
                                            create_graph, /*allow_unused=*/true);
  gradients.erase(
      std::remove_if(gradients.begin(), gradients.end(), [](const Tensor& g) { return !g.defined(); }),
      gradients.end());
  return gradients;
}

/// U(−1, 1) for each output that requires a gradient.
Tensors random_grad_outputs(const Tensors& outputs, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  Tensors grad_outputs;
  for (const Tensor& output : outputs) {
    if (output.defined() && output.requires_grad()) {
      const auto real = at::TensorOptions(c10::toRealValueType(output.scalar_type()));
      const auto draw = [&] {
        return at::rand(output.sizes(), generator, real.dtype(at::kDouble)).mul_(2).sub_(1);
      };
      Tensor values = draw();
      if (output.is_complex()) {
        values = at::complex(values, draw());
      }
      grad_outputs.push_back(values.to(output.options().requires_grad(false)).requires_grad_());
    }
  }
  return grad_outputs;
}

/// The options with the names of what gradgradcheck differentiates.
Options options_of_gradients(const Options& options, const Tensors& inputs, const Tensors& upstream) {
  const auto name = [](const std::vector<std::string>& names, const char* kind, std::size_t i) {
    return i < names.size() ? names[i] : kind + std::to_string(i);
  };
  Options of_gradients = options;
  of_gradients.reference = nullptr;
  of_gradients.input_names.clear();
  of_gradients.output_names.clear();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    of_gradients.input_names.push_back(name(options.input_names, "input ", i));
    if (inputs[i].defined() && inputs[i].requires_grad()) {
      of_gradients.output_names.push_back("gradient of " + of_gradients.input_names.back());
    }
  }
  for (std::size_t i = 0; i < upstream.size(); ++i) {
    of_gradients.input_names.push_back("upstream of " + name(options.output_names, "output ", i));
  }
  return of_gradients;
}

}  // namespace

Verdict gradcheck(const Function& fn, const Tensors& inputs, const Options& options) {
  return check_autograd("gradcheck", fn, inputs, options);
}

Verdict gradgradcheck(const Function& fn, const Tensors& inputs, const Tensors& grad_outputs,
                      const Options& options) {
  const at::AutoGradMode grad_mode(true);
  Tensors upstream = grad_outputs;
  bool ready = false;
  Check set_up("gradgradcheck", fn, inputs, options);
  const Verdict not_ready = set_up.run([&] {
    set_up.now("the forward");
    if (upstream.empty()) {
      upstream = random_grad_outputs(fn(inputs), options.seed);
    }
    if (upstream.empty()) {
      throw CheckFailed("nothing to compare: no output requires a gradient");
    }
    ready = true;
  });
  if (!ready) {
    return not_ready;
  }
  Tensors arguments = inputs;
  arguments.insert(arguments.end(), upstream.begin(), upstream.end());
  std::vector<bool> differentiable;
  for (const Tensor& input : inputs) {
    differentiable.push_back(input.defined() && input.requires_grad());
  }
  const Function gradients = [&](const Tensors& moved) { return gradients_of(fn, differentiable, moved); };
  return check_autograd("gradgradcheck", gradients, arguments,
                        options_of_gradients(options, inputs, upstream));
}

Verdict check_backward(const Function& forward, const Backward& backward, const Tensors& inputs,
                       const Options& options) {
  const at::NoGradGuard no_grad;
  Check check("check_backward", forward, inputs, options);
  return check.run([&] {
    check.choose_inputs(/*or_all=*/true);
    check.now("the forward");
    check.set_outputs(forward(inputs), /*all_differentiable=*/true);
    check.prepare_evaluation(/*by_autograd=*/false);
    check.compare_values();
    const Vjp vjp = [&](const Tensors& upstream) {
      return manual_vjp(check, forward, backward, inputs, upstream);
    };
    check.compare_gradients(vjp);
    check.check_zero_upstream(vjp);
  });
}

}  // namespace twingrad
