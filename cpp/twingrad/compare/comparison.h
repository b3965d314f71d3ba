#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace twingrad {

/// How a tensor of the manual twin compares with that of the autograd twin.
enum class Verdict {
  identical,         ///< the same bits
  same_to_rounding,  ///< both errors are within the bound
  differs,           ///< an error exceeds the bound
  follows,           ///< the same, but the gradient is computed from one that differs
};

/// "same to rounding", as in JSON
const char* to_string(Verdict verdict);

/// One tensor of both twins: the loss, the logits, a gradient, or a state of the optimizer.
struct TensorComparison {
  enum class Part { forward, gradient, optimizer };
  Part part = Part::gradient;
  std::string name;  ///< "loss", "logits", "0.weight.grad", "1.output.grad", "0.weight.exp_avg", …
  std::vector<std::int64_t> shape = {};
  double largest = 0;          ///< of the absolute values in the reference
  double max_abs = 0;          ///< max|m − a|
  double max_rel = 0;          ///< max|m − a| / largest; 0/0 is 0
  double max_ulp = 0;          ///< max|m − a| in units in the last place of the largest entry
  std::int64_t entries = 0;    ///< number of entries
  std::int64_t identical = 0;  ///< number of entries with the same bits
  double manual_error = 0;     ///< max|m − r|
  double autograd_error = 0;   ///< max|a − r|; 0 if the autograd twin is the reference
  double bound = 0;            ///< on both errors
  Verdict verdict = Verdict::differs;
  std::string cause = {};  ///< of a difference: "sign", "factor 2", …; empty if there is none

  /// The bound on max_rel that follows from `bound`: infinite if the reference is 0 and rounding is not.
  double relative_bound() const;
};

/// The comparison of two twins on one batch at equal weights.
struct Comparison {
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  bool has_reference = false;  ///< whether a float64 reference judged both; else autograd is the reference
  std::int64_t rows = 0;       ///< of the batch
  std::int64_t rows_set_aside = 0;  ///< near a kink
  std::string at_fault;             ///< "layer 1, relu", "loss, mse", "optimizer, adam"; empty if all agree
  std::vector<TensorComparison> tensors;  ///< the gradients in backward order
  double manual_loss = 0;
  double autograd_loss = 0;
  bool is_finite = true;       ///< false if the losses of both twins are NaN or infinite
  bool is_conditioned = true;  ///< false if the inputs of a normalization are equal up to rounding

  /// Whether there are tensors and none differs.
  bool passed() const;
  /// Why there is nothing to compare: "all 128 rows are near a kink", …; empty if there is.
  std::string obstacle() const;
  bool is_empty() const { return !obstacle().empty(); }
  /// The first tensor that differs. Without one, the gradient with the largest relative difference, among
  /// those that are larger than their rounding errors if there are any. nullptr if there are no tensors.
  const TensorComparison* worst_gradient() const;
  /// "same to rounding", "differs", or "nothing to compare: " and the obstacle
  std::string verdict() const;
  /// One line per tensor that differs, and what is at fault.
  std::string to_string() const;
};

nlohmann::ordered_json to_json(const Comparison& comparison);

}  // namespace twingrad
