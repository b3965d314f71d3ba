#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace twingrad::nn {

using at::Tensor;

/// A learnable tensor and the gradient of the loss with respect to it, of equal shape. Both are usually
/// views into the flat vectors of a network (mlp/flat_parameters.h).
struct Parameter {
  Tensor value;
  Tensor grad;
};

/// One layer of a network with a hand-written derivative.
///
///   forward    y = f(x)
///   backward   ∂L/∂x = (∂y/∂x)ᵀ ∂L/∂y      and, for each parameter p,   ∂L/∂p = (∂y/∂p)ᵀ ∂L/∂y
///
/// x and y are matrices with one sample per row: x [N, D_in], y [N, D_out]. Any floating dtype, any device.
/// A layer writes its results into the same buffers at every step: a returned tensor is valid until the
/// next call.
class Layer {
 public:
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  virtual ~Layer() = default;

  /// Returns y and keeps (without a copy) what backward needs of x.
  virtual Tensor forward(const Tensor& x) = 0;

  /// Given grad_y = ∂L/∂y for the last forward, returns ∂L/∂x and *writes* (does not add) ∂L/∂p to the grad
  /// of each parameter.
  virtual Tensor backward(const Tensor& grad_y) = 0;

  /// Training mode (the default) or evaluation mode, which Dropout and BatchNorm1d distinguish.
  virtual void train(bool on = true) { training_ = on; }
  void eval() { train(false); }

 protected:
  bool training_ = true;
};

/// Gives a reused buffer this shape and the dtype and device of `like`. It allocates only when the buffer
/// has to grow, so a training step at a constant batch size allocates nothing.
inline Tensor& sized(Tensor& buffer, at::IntArrayRef shape, const Tensor& like) {
  if (!buffer.defined() || buffer.scalar_type() != like.scalar_type() || buffer.device() != like.device()) {
    buffer =
        at::empty(shape, like.options().requires_grad(false).memory_format(at::MemoryFormat::Contiguous));
  } else if (buffer.sizes() != shape) {
    buffer.resize_(shape);
  }
  return buffer;
}

}  // namespace twingrad::nn
