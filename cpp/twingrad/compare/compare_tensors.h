#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "twingrad/compare/comparison.h"

namespace twingrad {

/// Compares a tensor of the two twins with the reference and judges it; see TwinComparer for the bound. An
/// undefined tensor is missing. noise: the largest simulated rounding error of the tensor; epsilon: of the
/// dtype of the twins; rows: of the batch, for the cause of a difference.
TensorComparison compare_tensors(const std::string& name, const at::Tensor& manual,
                                 const at::Tensor& autograd, const at::Tensor& reference, double noise,
                                 double epsilon, std::int64_t rows);

/// The largest error of a tensor with this noise that is called rounding.
double largest_rounding_error(double noise);

/// max|x|; 0 for an empty tensor
double largest_of(const at::Tensor& tensor);

}  // namespace twingrad
