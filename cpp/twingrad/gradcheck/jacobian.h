#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/gradcheck/elements.h"
#include "twingrad/gradcheck/gradcheck.h"

/// Jacobians of all outputs with respect to one input, as matrices of real numbers in float64 on the CPU: a
/// row for each real number of the outputs, a column for each of the input. A complex number is two of them.
namespace twingrad::gradcheck_detail {

/// A check that cannot go on; what() is for the verdict.
struct CheckFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One floating or complex output of fn and where its numbers lie in a row of all outputs' numbers.
struct OutputSlot {
  std::size_t output = 0;  // its place among fn's outputs
  torch::Tensor like;      // an output of this shape, dtype and device
  bool differentiable = true;
  std::int64_t offset = 0;
  std::int64_t length = 0;
};

/// The floating and complex outputs, one behind the other.
struct OutputLayout {
  std::vector<OutputSlot> slots;
  std::size_t output_count = 0;  // with the others
  std::int64_t length = 0;       // R, the real numbers of all slots

  OutputLayout() = default;
  explicit OutputLayout(const std::vector<torch::Tensor>& outputs);
};

/// Evaluates fn at a point into a row of R numbers.
class Evaluator {
 public:
  Evaluator(const Function& fn, const std::vector<torch::Tensor>& point, OutputLayout layout)
      : fn_(fn), point_(point), layout_(std::move(layout)) {}

  const OutputLayout& layout() const { return layout_; }
  /// From the fastest on; fn may need autograd inside, as one with a gradient penalty does.
  enum class Autograd { absent, no_grad, enabled };
  Autograd autograd = Autograd::enabled;
  /// Throws CheckFailed if the outputs' number, shapes or dtypes are not the layout's.
  void operator()(double* row) const;
  std::vector<double> operator()() const;

 private:
  std::vector<torch::Tensor> outputs() const;

  const Function& fn_;
  const std::vector<torch::Tensor>& point_;
  OutputLayout layout_;
};

/// J [R, C] by central differences with step eps, as (y(x + h e_j) − y(x − h e_j)) / 2h.
torch::Tensor numeric_jacobian(const Evaluator& evaluate, Elements& input, double eps);

/// The same for an input [N, …] whose rows are independent samples: all rows move at once, and row n of the
/// outputs is read off for row n. Every output has to be [N, …] too.
torch::Tensor batched_numeric_jacobian(const Evaluator& evaluate, Elements& input, std::int64_t rows,
                                       double eps);

/// Moves single rows of such an input. Throws CheckFailed if another row of an output changes by more than an
/// entry of size atol in the Jacobian would.
void check_rows_independent(const Evaluator& evaluate, Elements& input, std::int64_t rows,
                            const std::string& input_name, const Options& options);

/// J u [R] by one central difference along u [C].
std::vector<double> numeric_product(const Evaluator& evaluate, Elements& input, const std::vector<double>& u,
                                    double eps);

/// One-sided slopes [K, R] at `columns` [K] of an input: (y(x ± h e_j) − y(x)) / ±h.
struct Slopes {
  torch::Tensor left, right;
};
Slopes one_sided_slopes(const Evaluator& evaluate, Elements& input, const std::vector<std::int64_t>& columns,
                        double step);

/// vᵀJ of a backward pass: from an upstream gradient for each slot (undefined: none flows there) to the
/// gradient of each checked input (undefined: none).
using Vjp = std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>& upstream)>;

/// The gradients that a backward pass returns, checked and as rows of numbers.
class GradientRows {
 public:
  /// checked: the inputs whose gradients vjp returns; names: theirs. All arguments must outlive the object.
  GradientRows(const Vjp& vjp, const OutputLayout& layout, const std::vector<torch::Tensor>& checked,
               const std::vector<std::string>& names)
      : vjp_(vjp), layout_(layout), checked_(checked), names_(names), changes_(checked.size()) {}

  /// For each checked input its C numbers.
  using Rows = std::vector<std::vector<double>>;
  /// vᵀJ, where `upstream` flows into one output. Throws CheckFailed for a gradient of the wrong shape or kind.
  void fill(Rows& rows, std::size_t slot, const torch::Tensor& upstream);

  /// J [R, C] for each checked input, row by row from one-hot upstream gradients; then all rows again.
  std::vector<torch::Tensor> jacobians();

  /// Remembers by how much the gradient of an input changed when backward ran again.
  void compare_runs(std::size_t input, std::size_t output, const double* first, const double* second,
                    std::int64_t count);

  struct Change {
    double largest = 0;            ///< |second − first|
    double first = 0, second = 0;  ///< the values there
    std::size_t output = 0;
  };
  const std::vector<Change>& changes() const { return changes_; }
  /// A sentence for each gradient whose dtype is not its input's.
  const std::vector<std::string>& wrong_dtypes() const { return wrong_dtypes_; }

 private:
  void copy_checked(std::size_t input, torch::Tensor gradient, std::vector<double>& row);

  const Vjp& vjp_;
  const OutputLayout& layout_;
  const std::vector<torch::Tensor>& checked_;
  const std::vector<std::string>& names_;
  std::vector<Change> changes_;
  std::vector<std::string> wrong_dtypes_;
};

/// A shape as [2, 3].
std::string shape_text(at::IntArrayRef shape);

}  // namespace twingrad::gradcheck_detail
