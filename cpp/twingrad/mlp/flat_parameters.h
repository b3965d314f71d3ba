#pragma once

#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/layers/layer.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/ops/matmul.h"

namespace twingrad {

/// All parameters of a network in one vector, all gradients in a second vector of the same layout, and named
/// views into both. An optimizer step is a single pass over the two vectors.
///
/// If oneDNN computes the products (ops/matmul.h), a weight W [out, in] is stored in column-major order, as
/// Wᵀ. oneDNN computes x Wᵀ from that layout directly. It would first transpose a row-major W, which takes
/// twice as long as the product for 16 rows. The views hide the layout.
class FlatParameters {
 public:
  /// Copies `initial`, a flat vector [parameter_count(spec)] with row-major weights in the order of
  /// parameters_of, to the dtype and device of `options`.
  FlatParameters(const MlpSpec& spec, const at::Tensor& initial, const at::TensorOptions& options)
      : specs_(parameters_of(spec)),
        is_transposed_(!ops::product_library(options).empty()),
        values_(at::empty(initial.sizes(), options)),
        gradients_(at::zeros_like(values_)) {
    for (const ParameterSpec& parameter : specs_) {
      view(values_, parameter)
          .copy_(initial.narrow(0, parameter.offset, parameter.size).view(parameter.shape));
    }
  }

  /// The same parameters, in the same memory, with a separate gradient vector for another part of the batch.
  FlatParameters with_separate_gradients() const {
    FlatParameters other = *this;
    other.gradients_ = at::zeros_like(gradients_);
    return other;
  }

  std::int64_t size() const { return values_.numel(); }
  at::TensorOptions options() const { return values_.options(); }
  at::Tensor& values() { return values_; }
  at::Tensor& gradients() { return gradients_; }

  /// The parameter with this name, as views into both vectors.
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

  /// Named views into any vector of this layout, such as the optimizer state.
  std::vector<NamedTensor> named_views(const at::Tensor& flat) const {
    std::vector<NamedTensor> views;
    for (const ParameterSpec& spec : specs_) {
      views.push_back({spec.name, view(flat, spec)});
    }
    return views;
  }

 private:
  at::Tensor view(const at::Tensor& flat, const ParameterSpec& spec) const {
    const at::Tensor part = flat.narrow(0, spec.offset, spec.size);
    const bool is_out_by_in = spec.shape.size() == 2 && spec.shape[1] == spec.inputs;
    return is_transposed_ && is_out_by_in ? part.view({spec.shape[1], spec.shape[0]}).t()
                                          : part.view(spec.shape);
  }

  std::vector<ParameterSpec> specs_;
  bool is_transposed_;
  at::Tensor values_, gradients_;
};

}  // namespace twingrad
