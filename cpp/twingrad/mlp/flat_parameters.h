#pragma once

#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/layers/layer.h"
#include "twingrad/mlp/spec.h"

namespace twingrad {

/// All parameters of a network in one vector, all gradients in another of the same layout, and named views
/// into both. The optimizer is then one pass over two vectors, and a checkpoint is one tensor.
class FlatParameters {
 public:
  /// Takes a copy of `initial` (flat, [parameter_count(spec)]) in the dtype and on the device of `options`.
  FlatParameters(const MlpSpec& spec, const Tensor& initial, const at::TensorOptions& options)
      : specs_(parameters_of(spec)),
        values_(at::empty({parameter_count(spec)}, options).copy_(initial)),
        gradients_(at::zeros_like(values_)) {}

  /// The same parameters, the very memory, with gradients of their own: for another part of the batch.
  FlatParameters with_gradients_apart() const {
    FlatParameters other = *this;
    other.gradients_ = at::zeros_like(gradients_);
    return other;
  }

  std::int64_t size() const { return values_.numel(); }
  Tensor& values() { return values_; }
  Tensor& gradients() { return gradients_; }

  /// The parameter of that name as views into both vectors.
  Parameter at(const std::string& name) const {
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
  static Tensor view(const Tensor& flat, const ParameterSpec& spec) {
    return flat.narrow(0, spec.offset, spec.size).view(spec.shape);
  }

  std::vector<NamedTensor> named_views(const Tensor& flat) const {
    std::vector<NamedTensor> views;
    for (const ParameterSpec& spec : specs_) {
      views.push_back({spec.name, view(flat, spec)});
    }
    return views;
  }

  std::vector<ParameterSpec> specs_;
  Tensor values_, gradients_;
};

}  // namespace twingrad
