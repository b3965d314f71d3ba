#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "twingrad/io/named_tensor.h"
#include "twingrad/mlp/spec.h"

namespace twingrad {

/// Simulated rounding errors in a float64 network, as another dtype with machine epsilon ε would cause them.
///
///   y      ← y + ε u · t_y          for the result y of each layer
///   ∂L/∂y  ← ∂L/∂y + ε u · t_g      for its gradient
///   ∂L/∂p  ← ∂L/∂p + ε u · t_p      for the gradient of each parameter
///
/// with random signs u = ±1, which are independent or, for errors that do not average out, common to a row,
/// to a column, or to all entries. t is the sum of the absolute values of the *terms* that a result is
/// computed from: Σ_i |x_i w_i| + |b| for a product. If the terms cancel, t is much larger than the result,
/// as is its rounding error. The errors then propagate through the network. (Errors of K added terms usually
/// grow like √K, and ε Σ|t| is larger than this.) The smallest normal number of the dtype is added to ε t,
/// because smaller results underflow.
///
/// The inputs of activations with kinks stay on the side of the kink where they are without the noise.
class RoundingNoise {
 public:
  /// parameters: of the network, by name. results: of the same batch without noise, in the order of
  /// result_names. seed: of the signs; 0: common to a
  /// row, 2: all +1, 3: common to a column.
  RoundingNoise(const MlpSpec& spec, double epsilon, const std::vector<NamedTensor>& parameters,
                std::vector<at::Tensor> results, std::uint64_t seed);

  /// y with noise, given the input x and the result y of a layer. In the backward pass, the gradient of the
  /// returned tensor receives noise too.
  at::Tensor perturb(const LayerSpec& layer, const at::Tensor& x, const at::Tensor& y);

  /// Sets the terms t_g of the gradient of the loss with respect to its input, the result at this index. If
  /// `terms` is undefined, they are as large as the gradient.
  void set_loss_terms(std::size_t result, const at::Tensor& terms) { gradient_terms_[result] = terms; }

  /// Adds the noise of the last backward pass to the gradient of this parameter.
  at::Tensor perturbed_gradient(const std::string& parameter, const at::Tensor& gradient) const;

  const std::vector<at::Tensor>& exact_results() const { return results_; }

  /// max ε t over the entries of a result ("1.output") or a gradient ("1.output.grad", "0.weight.grad"): the
  /// rounding error of its last operation, without the propagated errors.
  const std::map<std::string, double>& local_errors() const { return local_errors_; }

  /// See Twin::normalization_noise.
  double normalization_noise() const { return normalization_noise_; }

 private:
  at::Tensor noise(const at::Tensor& terms);
  at::Tensor parameter(const LayerSpec& layer, const char* name) const;
  at::Tensor forward_terms(const LayerSpec& layer, const at::Tensor& x, const at::Tensor& y) const;
  at::Tensor input_gradient_terms(const LayerSpec& layer, const at::Tensor& x, const at::Tensor& y,
                                  const at::Tensor& grad_y) const;
  at::Tensor on_gradient(const LayerSpec& layer, const at::Tensor& x, const at::Tensor& y,
                         const at::Tensor& grad_y);
  void add_parameter_noise(const LayerSpec& layer, const at::Tensor& x, const at::Tensor& grad_y);
  void record(const std::string& name, const at::Tensor& terms);

  MlpSpec spec_;
  double epsilon_;
  bool has_float_range_;  ///< whether the simulated dtype overflows and underflows like float32
  double underflow_;      ///< the smallest normal number
  std::uint64_t pattern_;
  std::map<std::string, at::Tensor> parameters_;
  std::vector<at::Tensor> results_;
  at::Generator generator_;
  std::vector<std::string> names_;          ///< of the results
  std::map<std::string, int> input_of_;     ///< index of the result that a layer receives; −1: the images
  std::vector<at::Tensor> gradient_terms_;  ///< t_g of each result so far; undefined: none
  std::map<std::string, at::Tensor> parameter_noise_;
  std::map<std::string, double> local_errors_;
  double normalization_noise_ = 0;
};

}  // namespace twingrad
