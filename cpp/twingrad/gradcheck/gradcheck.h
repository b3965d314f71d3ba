#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "twingrad/gradcheck/verdict.h"

/// A gradient checker for LibTorch: the C++ sibling of Python's torch.autograd.gradcheck. It needs LibTorch
/// and nothing else. Start with gradcheck() below; docs/gradcheck.md has an example.
namespace twingrad {

/// What is checked: tensors to tensors. It may capture others, and it may return its own buffers.
using Function = std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>&)>;

/// A backward pass written by hand. From the inputs, the outputs of the forward call just before, and ∂L/∂y
/// for each output, it returns ∂L/∂x for each input, in their order; undefined for an input that is not
/// checked.
using Backward = std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>& inputs,
                                                          const std::vector<torch::Tensor>& outputs,
                                                          const std::vector<torch::Tensor>& grad_outputs)>;

enum class Mode {
  full,  ///< every entry of the Jacobian: two evaluations an input element, two backwards an output element
  fast,  ///< one random projection vᵀJu for each input and output; a failure is then explained in full mode
};

enum class Kinks {
  fail,    ///< a kink fails like any wrong entry, as in Python; the verdict names it
  report,  ///< at a kink any slope between the two one-sided slopes passes; the verdict counts them
};

/// The defaults are those of torch.autograd.gradcheck.
struct Options {
  Mode mode = Mode::full;
  double eps = 1e-6;      ///< the step h of the differences
  double atol = 1e-5;     ///< absolute tolerance
  double rtol = 1e-3;     ///< relative tolerance
  double nondet_tol = 0;  ///< by how much two backwards of the same may differ
  Kinks kinks = Kinks::fail;
  bool equal_nan = false;            ///< NaN passes where both sides are NaN; otherwise it always fails
  bool check_undefined_grad = true;  ///< upstream gradients that are undefined must work (not check_backward)
  bool check_grad_dtypes = false;    ///< a gradient must have its input's dtype (else a warning says so)
  /// Inputs below double precision: take the differences of fn at a float64 copy of all inputs. fn then must
  /// not mix its inputs with captured tensors of less precision. Off: differences in the inputs' precision,
  /// as in Python, where they rarely pass.
  bool float64_twin = true;
  /// If given, the outputs' values are held against its values too, to the tolerances of
  /// torch.testing.assert_close: (rtol, atol) = (1e-7, 1e-7) in float64, (1.3e-6, 1e-5) in float32.
  Function reference = nullptr;
  /// Indices of inputs whose rows are independent samples: row n of every output depends on row n of these
  /// inputs alone. Their differences are then taken for all rows at once, 2·D evaluations instead of 2·N·D.
  /// The claim is tested on up to 16 rows; if it is false, the check fails.
  std::vector<std::size_t> batched_inputs = {};
  std::vector<std::string> input_names = {};   ///< for the verdict
  std::vector<std::string> output_names = {};  ///< for the verdict
  std::uint64_t seed = 0;  ///< of the projections, the tested rows, gradgradcheck's upstream
};

/// Holds the gradients that autograd computes through fn against central differences.
///
///   for each output y, each input x that requires a gradient, and all i, j:
///
///     | ∂y_i/∂x_j  −  (y_i(x + h e_j) − y_i(x − h e_j)) / 2h |   ≤   atol + rtol · | the difference |
///
///   fast mode, with u, v random, non-negative and of norm 1:
///
///     | vᵀJu  −  vᵀ (y(x + h u) − y(x − h u)) / 2h |   ≤   atol · Σu · Σv + rtol · | the difference |
///
/// It also checks that backward gives the same twice, that a zero upstream gradient gives zero and an
/// undefined one is taken as zero, and that an output without a gradient has none numerically.
///
/// inputs: at least one requires a gradient, of any shape, strided, without overlapping memory. They are
/// moved in place and restored to the bit, so a module's weights can be passed and checked too. Complex: each
/// is two real numbers; the gradient is ∂L/∂Re + i ∂L/∂Im, errors are moduli. Below double precision with ε
/// > 2.3e-16: atol and rtol are at least 16 ε, and atol is multiplied by the Jacobian's largest modulus if
/// above 1, because cancellation leaves an error in proportion to the largest term, not to the entry.
///
/// Never throws on a wrong function, shape or input, nor lets fn's exceptions out: all are in the verdict.
/// Sources: the numerics of torch.autograd.gradcheck; Ceres Solver's GradientChecker for the report.
Verdict gradcheck(const Function& fn, const std::vector<torch::Tensor>& inputs, const Options& options = {});

/// gradcheck() of fn's backward pass: of (inputs, grad_outputs) ↦ ∂(Σ grad_outputs · fn(inputs)) / ∂inputs.
/// grad_outputs: one for each output that requires a gradient; if none is given, they are drawn from
/// U(−1, 1).
Verdict gradgradcheck(const Function& fn, const std::vector<torch::Tensor>& inputs,
                      const std::vector<torch::Tensor>& grad_outputs = {}, const Options& options = {});

/// gradcheck() of a forward and a backward pass written by hand, without autograd. Each backward call follows
/// a forward call at the unmoved inputs, so both may be methods of a layer that keeps what it needs in
/// between. Both may return their own buffers, which the next call overwrites. Checked are the inputs that
/// require a gradient; if none does, all of floating or complex dtype.
Verdict check_backward(const Function& forward, const Backward& backward,
                       const std::vector<torch::Tensor>& inputs, const Options& options = {});

}  // namespace twingrad
