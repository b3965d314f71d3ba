#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"

/// The catalogue: every hand-written gradient of this library with a reference, test cases and planted bugs.
namespace twingrad::catalogue {

using at::Tensor;
using Tensors = std::vector<Tensor>;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A function with a hand-written backward pass, on plain tensors. Its inputs are x, the parameters, and
/// constants without a gradient (the target of a loss, class weights, a mask, running statistics).
struct HandWritten {
  std::function<Tensor(const Tensors& inputs)> forward;
  /// Given ∂L/∂y for the last forward, returns ∂L/∂x and the gradient of each parameter, in order. Further
  /// tensors are ignored.
  std::function<Tensors(const Tensor& grad_y)> backward;
};

/// Inputs at which a function is checked.
struct Case {
  std::string name;  ///< "random", "one row", "saturated", …
  Tensors inputs;    ///< float64, except for indices and masks
  /// Whether central differences apply too. At a kink they do not, and at values of 1e4 rounding leaves no
  /// correct digits; there autograd is the only reference.
  bool smooth = true;
  /// LibTorch's value or a gradient contains NaN here, for example the mean over no rows. Ours must then be
  /// NaN in the same places. Anywhere else, and in every other case, NaN fails.
  bool nan_expected = false;
  bool strided_upstream = false;  ///< ∂L/∂y is not contiguous
};

/// What a planted bug is computed from: one backward pass and the correct gradients.
struct Backward {
  const Tensors& inputs;
  const Tensor& y;
  const Tensor& grad_y;
  const Tensors& grads;
};

/// A common mistake. It must be rejected.
struct Bug {
  std::string name;                               ///< "linear.transpose_forgotten": the entry and the mistake
  std::string why;                                ///< one line: what is wrong, or why people make the mistake
  std::function<Tensors(const Backward&)> wrong;  ///< the gradients that result
};

/// A layer or a loss of the catalogue.
struct FunctionEntry {
  std::string name;  ///< "cross_entropy.label_smoothing"
  std::function<HandWritten()> make;
  std::function<Tensor(const Tensors&)> reference;  ///< the same function, differentiable by autograd
  std::size_t constants = 0;                        ///< number of inputs without a gradient, which come last
  std::vector<Case> cases;
  std::vector<Bug> bugs = {};
};

std::vector<FunctionEntry> layer_entries();
std::vector<FunctionEntry> loss_entries();

/// Parts of layer_entries().
std::vector<FunctionEntry> activation_entries();
std::vector<FunctionEntry> normalization_entries();

/// A layer of this library. make constructs it from the parameters and constants. Gradients start as NaN, so
/// that one the layer does not write fails.
HandWritten of_layer(std::function<std::unique_ptr<nn::Layer>(const std::vector<nn::Parameter>&)> make);

/// A loss of this library. Its inputs are the input, the target and weights, if any.
HandWritten of_loss(std::function<std::unique_ptr<nn::Loss>(const Tensors& inputs)> make);

/// A layer that is constructed from its first `parameters` parameters, followed by these arguments.
template <typename LayerType, std::size_t parameters = 0, typename... Arguments>
std::function<HandWritten()> make_layer(Arguments... arguments) {
  return [=] {
    return of_layer([=](const std::vector<nn::Parameter>& p) {
      return [&]<std::size_t... i>(std::index_sequence<i...>) {
        return std::make_unique<LayerType>(p[i]..., arguments...);
      }
      (std::make_index_sequence<parameters>());
    });
  };
}

/// A loss and its reference with the same options: LossType(options…) and reference(input, target, options…).
/// options maps the inputs to a tuple of these options; the inputs after the target are weights.
template <typename LossType, typename Options, typename Reference>
FunctionEntry loss_entry(const std::string& name, const std::vector<Case>& cases, const Options& options,
                         Reference reference) {
  return {.name = name,
          .make =
              [=] {
                return of_loss([=](const Tensors& in) {
                  const auto make = [](const auto&... option) {
                    return std::make_unique<LossType>(option...);
                  };
                  return std::apply(make, options(in));
                });
              },
          .reference =
              [options, reference = std::move(reference)](const Tensors& in) {
                return std::apply([&](const auto&... option) { return reference(in[0], in[1], option...); },
                                  options(in));
              },
          .constants = cases.front().inputs.size() - 1,
          .cases = cases};
}

/// The gradients with ∂L/∂x replaced, for the many bugs that affect only ∂L/∂x.
Tensors with_first(const Tensors& grads, const Tensor& first);

}  // namespace twingrad::catalogue
