#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"

/// The catalogue: every gradient that this library writes by hand, with what proves it.
namespace twingrad::catalogue {

using namespace nn;  // NOLINT: the catalogue is about these, and the header is not installed

using Tensors = std::vector<Tensor>;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A function with its backward by hand, on plain tensors: the input first, then the parameters, then the
/// constants, to which no gradient flows (the target of a loss, class weights, a mask, running statistics).
struct ByHand {
  std::function<Tensor(const Tensors& inputs)> forward;
  /// From ∂L/∂y of the last forward: ∂L/∂ of the input and of each parameter, in their order. What follows
  /// them is ignored.
  std::function<Tensors(const Tensor& grad_y)> backward;
};

/// Inputs at which an entry is checked.
struct Case {
  std::string name;  ///< "random", "one row", "saturated", …
  Tensors inputs;    ///< float64, but for indices and masks
  /// Whether central differences can be an oracle too. They cannot at a kink, or where values of 1e4 leave
  /// them no digits; there autograd is the only one.
  bool smooth = true;
  /// LibTorch's value or a gradient holds NaN here, for example the mean over no rows. Then ours has to be
  /// NaN at the same places; elsewhere, and in every other case, NaN fails.
  bool nan_expected = false;
  bool strided_upstream = false;  ///< ∂L/∂y comes as a tensor that is not contiguous
};

/// All that a planted bug may look at: one backward pass, and the right gradients.
struct Backward {
  const Tensors& inputs;
  const Tensor& y;
  const Tensor& grad_y;
  const Tensors& grads;
};

/// A classic mistake. It must be rejected.
struct Bug {
  std::string name;  ///< "linear.transpose_forgotten": the entry and the mistake
  std::string why;   ///< one line on why people make it
  /// The gradients that the mistake leads to.
  std::function<Tensors(const Backward&)> wrong;
};

/// One function of the catalogue.
struct Entry {
  std::string name;                                 ///< "cross_entropy.label_smoothing"
  std::function<ByHand()> make;                     ///< by hand
  std::function<Tensor(const Tensors&)> reference;  ///< the same in operations that autograd knows
  std::size_t constants = 0;                        ///< how many of the last inputs get no gradient
  std::vector<Case> cases;
  std::vector<Bug> bugs;
};

/// All layers, then all losses.
std::vector<Entry> layer_entries();
std::vector<Entry> loss_entries();

/// The layers by family; layer_entries joins them.
std::vector<Entry> activation_entries();
std::vector<Entry> normalization_entries();

/// A layer of this library as a ByHand: make turns parameters (and constants) into the layer. A gradient that
/// the layer does not fill stays NaN, and fails.
ByHand of_layer(std::function<std::unique_ptr<Layer>(const std::vector<Parameter>&)> make);

/// A loss of this library as a ByHand. Its inputs are the input, the target and what `make` turns into the
/// loss: weights.
ByHand of_loss(std::function<std::unique_ptr<Loss>(const Tensors& inputs)> make);

/// A layer that needs no more than the arguments of its constructor.
template <typename LayerType, typename... Arguments>
std::function<ByHand()> make_layer(Arguments... arguments) {
  return [=] {
    return of_layer([=](const std::vector<Parameter>&) { return std::make_unique<LayerType>(arguments...); });
  };
}

/// The gradients with ∂L/∂x replaced: most bugs are in it.
Tensors with_first(const Tensors& grads, const Tensor& first);

}  // namespace twingrad::catalogue
