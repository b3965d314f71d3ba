#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"

/// The catalogue: every gradient that this library writes by hand, with what proves it.
namespace twingrad::catalogue {

using Tensors = std::vector<Tensor>;

/// A function with its backward by hand, on plain tensors: the input first, then the parameters.
struct ByHand {
  std::function<Tensor(const Tensors& inputs)> forward;
  /// From ∂L/∂y of the last forward: ∂L/∂ of each input, in their order.
  std::function<Tensors(const Tensor& grad_y)> backward;
};

/// Inputs at which an entry is checked.
struct Case {
  std::string name;  ///< "random", "one row", "saturated", …
  Tensors inputs;    ///< float64
  /// Whether central differences can be an oracle too. They cannot at a kink, or where values of 1e4 leave
  /// them no digits; there autograd is the only one.
  bool smooth = true;
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
  std::vector<Case> cases;
  std::vector<Bug> bugs;
};

/// The layers (more_layer_entries: bias, log-softmax, dropout, residual, normalizations) and the losses.
std::vector<Entry> layer_entries();
std::vector<Entry> more_layer_entries();
std::vector<Entry> loss_entries();

/// A layer of this library as a ByHand: make turns parameters into the layer. A gradient that the layer does
/// not fill stays NaN, and fails.
ByHand of_layer(std::function<std::unique_ptr<Layer>(const std::vector<Parameter>&)> make);

/// A loss of this library, of one input and a fixed target, as a ByHand. make is told the input's dtype: a weight of the
/// loss has to be of the same.
ByHand of_loss(std::function<std::unique_ptr<Loss>(at::ScalarType)> make, const Tensor& target);

/// Draws from N(0, 1) · scale, float64, the same in every run.
Tensor draw(at::IntArrayRef shape, double scale = 1);

}  // namespace twingrad::catalogue
