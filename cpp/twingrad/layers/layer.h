#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace twingrad {

using at::Tensor;

/// A learnable tensor and the gradient of the loss with respect to it: two tensors of equal shape. Both are
/// usually views into the flat vectors of a network (mlp/flat_parameters.h).
struct Parameter {
  Tensor value;
  Tensor grad;
};

/// One step of a network, with its derivative written by hand.
///
///   forward    y = f(x)
///   backward   ∂L/∂x = (∂y/∂x)ᵀ ∂L/∂y      and, for each parameter p,   ∂L/∂p = (∂y/∂p)ᵀ ∂L/∂y
///
/// x and y are matrices, one sample a row: x [N, D_in], y [N, D_out]. Any floating dtype, any device. A layer
/// owns its results and writes them into the same memory step after step, so a returned tensor holds until
/// the next call.
class Layer {
 public:
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  virtual ~Layer() = default;

  /// Computes y and keeps (without a copy) what backward needs of x.
  virtual const Tensor& forward(const Tensor& x) = 0;

  /// From grad_y = ∂L/∂y of the last forward: returns ∂L/∂x and *writes* (does not add) ∂L/∂p into each
  /// parameter's grad.
  virtual const Tensor& backward(const Tensor& grad_y) = 0;

  /// Training (the default) or evaluation: Dropout and BatchNorm1d do something else in evaluation.
  virtual void set_training(bool training) { training_ = training; }

 protected:
  bool training_ = true;
};

/// Gives a reused buffer the shape asked for, with the dtype and device of `like`. Memory is taken only when
/// the buffer has to grow, so a training step at a steady batch size takes none.
inline Tensor& sized(Tensor& buffer, at::IntArrayRef shape, const Tensor& like) {
  if (!buffer.defined() || buffer.scalar_type() != like.scalar_type() || buffer.device() != like.device()) {
    buffer =
        at::empty(shape, like.options().requires_grad(false).memory_format(at::MemoryFormat::Contiguous));
  } else if (buffer.sizes() != shape) {
    buffer.resize_(shape);
  }
  return buffer;
}

}  // namespace twingrad
