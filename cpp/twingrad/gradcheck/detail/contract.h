#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "twingrad/gradcheck/detail/gradient_check.h"

namespace twingrad::gradcheck_detail {

/// The message of the exception that is thrown, if any.
template <typename Run>
std::optional<std::string> exception_of(const Run& run) {
  try {
    run();
    return std::nullopt;
  } catch (...) {
    return current_exception_message();
  }
}

/// Whether it has strides.
inline bool is_strided(const Tensor& tensor) { return tensor.defined() && tensor.layout() == at::kStrided; }

/// From inputs and an upstream gradient per slot to the gradient of each checked input (undefined: none). The
/// inputs have other memory than those of the check.
using Differentiate = std::function<Tensors(const Tensors& inputs, const Tensors& upstream)>;

/// What a backward pass owes its callers beyond right gradients at one point: the same function is called in
/// other ways, and must give the same gradients. Each step adds its failures to the check.
class Contract {
 public:
  /// Computes the gradients that the steps expect. All arguments must outlive the object.
  Contract(GradientCheck& check, const Tensors& inputs, const GradcheckOptions& options,
           const Differentiate& differentiate);

  /// Inputs and upstream gradients that are transposed in memory, have gaps, or repeat one number.
  void check_strides();
  /// Each input alone, and all but each: all subsets of up to three. Of more, fast mode tries the first
  /// alone, and all but the first.
  void check_subsets();
  /// Two calls of backward(). fn: the forward.
  void check_accumulation(const GradcheckFunction& fn);
  /// The batched inputs with no row and with one.
  void check_batch_sizes();
  /// Several threads at once.
  void check_threads();
  /// Jv in forward mode, for a random v of one input at a time: ⟨w, Jv⟩ = ⟨Jᵀw, v⟩. fn: the forward.
  void check_forward_ad(const GradcheckFunction& fn);
  /// For gradients as a function of the inputs, with the matrix H of second derivatives: ⟨v, Hu⟩ = ⟨u, Hv⟩.
  void check_symmetry();
  /// One backward pass for a batch of upstream gradients. fn: the forward.
  void check_batched_grad(const GradcheckFunction& fn);
  /// Inputs that the reference refuses, and NaN and ±∞ in each input. fn: the forward.
  void check_parity(const GradcheckFunction& fn);

 private:
  using Change = std::function<Tensor(const Tensor&)>;

  Tensors copies(const Change& change) const;
  Tensors copies_requiring(const std::vector<bool>& wanted) const;
  Tensors random_upstream() const;
  Tensors copies_with(std::size_t input, const Tensor& value) const;
  double tolerance(const Tensor& like, double largest) const;
  std::string difference(const Tensor& gradient, const Tensor& expected) const;
  bool compare(const std::string& when, const Tensors& gradients, const Tensors& expected,
               const std::string& remedy = {});
  void expect(const std::string& when, const Tensors& inputs, const Tensors& upstream,
              const Tensors& expected, const std::string& remedy);
  bool agrees(const Tensors& inputs, const Tensors& upstream, const Tensors& expected) const;
  Tensors changed_upstream(const Change& change) const;
  void expect_strides(const char* change_text, const Change& change);
  Tensors sums_of_two_calls(const GradcheckFunction& fn, const std::vector<bool>& wanted,
                            double second) const;
  void expect_batch(std::int64_t rows);
  double forward_product(const GradcheckFunction& fn, const CheckedInput& input,
                         const Tensor& direction) const;
  Tensors times_hessian(std::size_t slot, const Tensor& direction) const;
  void expect_refusal(const GradcheckFunction& fn, std::size_t input, const Tensor& value, const char* what);
  void expect_same_special(const GradcheckFunction& fn, std::size_t input, const Tensor& value,
                           const std::string& where);

  GradientCheck& check_;
  const Tensors& inputs_;
  const GradcheckOptions& options_;
  const Differentiate& differentiate_;
  Tensors upstream_;  // per slot; undefined: requires no gradient
  Tensors expected_;  // per checked input; undefined: fn does not use its argument
};

}  // namespace twingrad::gradcheck_detail
