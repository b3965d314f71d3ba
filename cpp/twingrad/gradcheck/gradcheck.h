#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "twingrad/gradcheck/result.h"

/// A gradient checker for LibTorch, the C++ counterpart of Python's torch.autograd.gradcheck. It depends on
/// LibTorch only. Start with gradcheck() below; docs/gradcheck.md has an example.
namespace twingrad {

/// The function to check. It may capture other tensors and may return its own buffers.
using GradcheckFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)>;

/// A hand-written backward pass. Given the inputs, the outputs of the preceding forward call and the upstream
/// gradient ∂L/∂y of each output, it returns ∂L/∂x for each input, in order. The gradient of an input that is
/// not checked may be undefined.
using GradcheckBackward = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs,
                                                                const std::vector<at::Tensor>& outputs,
                                                                const std::vector<at::Tensor>& grad_outputs)>;

enum class GradcheckKinks {
  fail,    ///< a kink fails like any other wrong entry, as in Python; the result names it
  report,  ///< at a kink any slope between the two one-sided slopes passes; the result counts the kinks
};

/// The defaults are those of torch.autograd.gradcheck.
struct GradcheckOptions {
  GradcheckMode mode = GradcheckMode::full;
  double eps = 1e-6;  ///< the step h of the differences
  /// Multiply eps by the root mean square of each input (1 if that is 0 or not finite) and, where differences
  /// are not taken in float64, by ∛(ε / 2⁻⁵²).
  bool scale_eps = false;
  double atol = 1e-5;     ///< absolute tolerance
  double rtol = 1e-3;     ///< relative tolerance
  double nondet_tol = 0;  ///< maximum difference between two identical backward passes
  GradcheckKinks kinks = GradcheckKinks::fail;
  bool equal_nan = false;            ///< NaN passes if both sides are NaN; otherwise NaN always fails
  bool check_undefined_grad = true;  ///< undefined upstream gradients must be supported (not check_backward)
  bool check_grad_dtypes = false;    ///< a gradient must have its input's dtype (otherwise: a warning)
  /// Other ways to call a function that has passed so far. They must give the same gradients, to half of the
  /// digits of the largest (√ε) or atol, and nondet_tol. "autograd": not in check_backward.
  bool check_strides = true;        ///< inputs and upstream gradients with other strides
  bool check_subsets = true;        ///< autograd: only some of the inputs require a gradient
  bool check_accumulation = true;   ///< autograd: two calls of backward() add up in .grad
  bool check_batch_sizes = true;    ///< batches of no row and of one row, if there are batched_inputs
  bool check_symmetry = true;       ///< gradgradcheck: ∂²y/∂a∂b = ∂²y/∂b∂a
  bool check_parity = false;        ///< fn refuses what `reference` refuses, and is NaN or ±∞ where it is
  bool check_batched_grad = false;  ///< autograd: one backward for a batch of upstream gradients (vmap)
  bool check_forward_ad = false;    ///< autograd: derivatives in forward mode
  std::size_t threads = 0;          ///< number of threads that call fn at once; 0: not checked
  /// For inputs below double precision: compute the numerical gradients on float64 copies of all inputs. fn
  /// must then accept float64, so it must not combine its inputs with captured float32 tensors. If false,
  /// they are computed in the inputs' precision, as in Python, and the check rarely passes.
  bool numerical_in_float64 = true;
  /// On wrong entries: more steps, of up to a quarter of the input, and a complex one. fn is then also called
  /// with complex inputs, and may refuse them with an exception.
  bool second_opinions = true;
  /// If given, the outputs' values are compared with its values, using the tolerances of
  /// torch.testing.assert_close: (rtol, atol) = (1e-7, 1e-7) in float64, (1.3e-6, 1e-5) in float32.
  GradcheckFunction reference = nullptr;
  /// Indices of inputs whose rows are independent samples: row n of every output depends only on row n of
  /// these inputs. All rows are then perturbed at once, which takes 2·D evaluations instead of 2·N·D. The
  /// check fails if a test on up to 16 rows shows that the rows are not independent.
  std::vector<std::size_t> batched_inputs = {};
  std::vector<std::string> input_names = {};   ///< shown in the result
  std::vector<std::string> output_names = {};  ///< shown in the result
  std::uint64_t seed = 0;  ///< for projections, the rows tested, and the grad_outputs of gradgradcheck
};

/// Compares the gradients that autograd computes through fn with central differences.
///
///   for each output y, each input x that requires a gradient, and all i, j:
///
///     | ∂y_i/∂x_j  −  (y_i(x + h e_j) − y_i(x − h e_j)) / 2h |   ≤   atol + rtol · | the difference |
///
///   fast mode, with u, v random, positive and of norm 1:
///
///     | vᵀJu  −  vᵀ (y(x + h u) − y(x − h u)) / 2h |   ≤   atol · Σu · Σv + rtol · | the difference |
///
/// It also checks that two backward passes give the same gradients and leave the upstream gradient as it is,
/// that a zero or undefined upstream gradient gives zero, and that an output that requires no gradient is
/// constant.
///
/// inputs: any shape, strided; no two elements, of one input or of two, share memory, but autograd may
/// receive one tensor as two inputs; at least one requires a gradient. They are perturbed in place and
/// restored bit for bit, so the weights of a module can be passed and checked too. Gradients may be sparse. A
/// complex number counts as two real ones; its gradient is ∂L/∂Re + i ∂L/∂Im, and errors are moduli. Below
/// double precision, with machine epsilon ε, atol and rtol are at least 16 ε, and atol is multiplied by the
/// largest modulus in the Jacobian if that exceeds 1: cancellation leaves an error proportional to the
/// largest term, not to the entry.
///
/// Never throws because of a wrong function, shape or input, and catches the exceptions of fn: all are
/// reported in the result. Sources: torch.autograd.gradcheck (numerics), Ceres Solver's GradientChecker
/// (report).
[[nodiscard]] GradcheckResult gradcheck(const GradcheckFunction& fn, const std::vector<at::Tensor>& inputs,
                                        const GradcheckOptions& options = {});

/// gradcheck() of the backward pass of fn: of (inputs, grad_outputs) ↦ ∂(Σ grad_outputs · fn(inputs)) /
/// ∂inputs. grad_outputs: one for each output that requires a gradient; drawn from U(−1, 1) if empty.
[[nodiscard]] GradcheckResult gradgradcheck(const GradcheckFunction& fn,
                                            const std::vector<at::Tensor>& inputs,
                                            const std::vector<at::Tensor>& grad_outputs = {},
                                            const GradcheckOptions& options = {});

/// gradcheck() of a hand-written forward and backward pass, without autograd. Each backward call follows a
/// forward call at the unperturbed inputs, so both may be methods of a layer that saves tensors in between.
/// Both may return their own buffers, which the next call overwrites. Checks the inputs that require a
/// gradient; if none does, all of floating-point or complex dtype.
[[nodiscard]] GradcheckResult check_backward(const GradcheckFunction& forward,
                                             const GradcheckBackward& backward,
                                             const std::vector<at::Tensor>& inputs,
                                             const GradcheckOptions& options = {});

}  // namespace twingrad
