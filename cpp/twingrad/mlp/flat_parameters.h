#pragma once

#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/layers/layer.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/ops/matmul.h"

namespace twingrad {

/// All parameters of a network in one vector, all gradients in another of the same layout, and named views
/// into both. The optimizer is then one pass over two vectors.
///
/// Where oneDNN multiplies (ops/matmul.h), a weight W [out, in] lies in memory as Wᵀ, column by column: x Wᵀ then reads it as
/// it lies, where oneDNN would first turn all of W round, for 16 rows in twice the time of the product. Outside, a flat vector
/// has each W row by row (parameters_of): arranged and in_order lead from one to the other.
class FlatParameters {
 public:
  /// Takes a copy of `initial` (flat, in order, [parameter_count(spec)]) in the dtype and on the device of `options`.
  FlatParameters(const MlpSpec& spec, const at::Tensor& initial, const at::TensorOptions& options)
      : specs_(parameters_of(spec)),
        is_transposed_(!ops::product_library(options).empty()),
        values_(arranged(initial.to(options))),
        gradients_(at::zeros_like(values_)) {}

  /// A copy of a vector in order, as it lies here.
  at::Tensor arranged(const at::Tensor& in_order) const {
    at::Tensor flat = at::empty_like(in_order);
    for (const ParameterSpec& spec : specs_) {
      view(flat, spec).copy_(in_order.narrow(0, spec.offset, spec.size).view(spec.shape));
    }
    return flat;
  }

  /// A copy, in order, of a vector that lies as here: the other way round.
  at::Tensor in_order(const at::Tensor& flat) const {
    std::vector<at::Tensor> rows;
    for (const ParameterSpec& spec : specs_) {
      rows.push_back(view(flat, spec).reshape({spec.size}));
    }
    return at::cat(rows);
  }

  /// The same parameters, the very memory, with gradients of their own: for another part of the batch.
  FlatParameters with_gradients_apart() const {
    FlatParameters other = *this;
    other.gradients_ = at::zeros_like(gradients_);
    return other;
  }

  std::int64_t size() const { return values_.numel(); }
  at::Tensor& values() { return values_; }
  at::Tensor& gradients() { return gradients_; }

  /// The parameter of that name as views into both vectors.
  nn::Parameter at(const std::string& name) const {
    for (const ParameterSpec& spec : specs_) {
      if (spec.name == name) {
        return {view(values_, spec), view(gradients_, spec)};
      }
    }
    throw std::out_of_range("no parameter is called " + name);
  }

  std::vector<NamedTensor> named_values() const { return named_views(values_); }
  std::vector<NamedTensor> named_gradients() const { return named_views(gradients_); }

 private:
  at::Tensor view(const at::Tensor& flat, const ParameterSpec& spec) const {
    const at::Tensor part = flat.narrow(0, spec.offset, spec.size);
    const bool is_out_by_in = spec.shape.size() == 2 && spec.shape[1] == spec.inputs;
    return is_transposed_ && is_out_by_in ? part.view({spec.shape[1], spec.shape[0]}).t()
                                          : part.view(spec.shape);
  }

  std::vector<NamedTensor> named_views(const at::Tensor& flat) const {
    std::vector<NamedTensor> views;
    for (const ParameterSpec& spec : specs_) {
      views.push_back({spec.name, view(flat, spec)});
    }
    return views;
  }

  std::vector<ParameterSpec> specs_;
  bool is_transposed_;
  at::Tensor values_, gradients_;
};

}  // namespace twingrad
