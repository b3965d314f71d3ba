#pragma once

#include <c10/util/StringUtil.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/gradcheck/detail/elements.h"
#include "twingrad/gradcheck/gradcheck.h"

/// Numerical Jacobians of all outputs with respect to one input, as float64 matrices of real numbers on the
/// CPU: one row per real number of the outputs, one column per real number of the input. A complex number is
/// two real ones.
namespace twingrad::gradcheck_detail {

/// Ends a check early. The message, concatenated from the arguments, goes into the result.
struct CheckStopped : std::runtime_error {
  template <typename... Args>
  explicit CheckStopped(const Args&... args) : std::runtime_error(c10::str(args...)) {}
};

/// A floating-point or complex output of fn and the position of its numbers in a row of all outputs' numbers.
struct OutputSlot {
  std::size_t output = 0;  // its index among the outputs of fn
  Tensor like;             // an output of this shape, dtype and device
  std::string name;
  bool differentiable = true;
  std::int64_t offset = 0;
  std::int64_t length = 0;

  /// An upstream gradient of zeros for this output.
  Tensor zeros() const;
};

/// The floating-point and complex outputs, one after the other.
struct OutputLayout {
  std::vector<OutputSlot> slots;
  std::size_t output_count = 0;  // including outputs of other dtypes
  std::int64_t length = 0;       // R, the number of real numbers in all slots

  OutputLayout() = default;
  /// names: of the first outputs; the others are called by their index.
  OutputLayout(const Tensors& outputs, const std::vector<std::string>& names);
};

/// Evaluates fn at a point, as a row of R numbers.
class Evaluator {
 public:
  Evaluator(const GradcheckFunction& fn, Tensors point, OutputLayout layout, bool autograd)
      : with_autograd(autograd), fn_(fn), point_(std::move(point)), layout_(std::move(layout)) {}

  const Tensors& point() const { return point_; }
  const OutputLayout& layout() const { return layout_; }
  /// Evaluates into a row [R]. Throws CheckStopped if the number, shapes or dtypes of the outputs do not
  /// match the layout.
  void operator()(double* row) const;
  Tensor operator()() const;

  /// Whether fn runs with autograd enabled. It may need that, for example for a gradient penalty.
  bool with_autograd;

 private:
  const GradcheckFunction& fn_;
  Tensors point_;
  OutputLayout layout_;
};

/// J [R, C] by central differences with step eps: (y(x + h e_j) − y(x − h e_j)) / 2h.
Tensor numerical_jacobian(const Evaluator& evaluate, Elements& input, double eps);

/// The same for an input [N, …] whose rows are independent samples: all rows are perturbed at once, and row n
/// of the outputs gives the derivatives by row n. Every output must be [N, …] too.
Tensor batched_numerical_jacobian(const Evaluator& evaluate, Elements& input, std::int64_t rows, double eps);

/// Perturbs single rows of such an input. Throws CheckStopped if another row of an output changes by more
/// than a Jacobian entry of size atol would change it.
void check_rows_independent(const Evaluator& evaluate, Elements& input, std::int64_t rows,
                            const std::string& input_name, double eps, const GradcheckOptions& options);

/// y(x + h u) − y(x − h u) [R], and the distance between the two points [C]: 2 h u, but x ± h u is rounded.
struct Difference {
  Tensor outputs, inputs;
};
Difference difference_along(const Evaluator& evaluate, Elements& input, const Tensor& u, double eps);

/// One-sided slopes [K, R] for `columns` [K] (K > 0) of an input: (y(x ± h e_j) − y(x)) / ±h.
struct Slopes {
  Tensor left, right;
};
Slopes one_sided_slopes(const Evaluator& evaluate, Elements& input, const Tensor& columns, double step);

/// Whether so many bytes can be allocated.
bool fits_in_memory(double bytes);

/// The i-th name, or kind and number, such as "output 1".
std::string name_at(const std::vector<std::string>& names, const char* kind, std::size_t i);

/// Shape and dtype as "[2, 3] Double", or "undefined".
std::string type_text(const Tensor& tensor);

}  // namespace twingrad::gradcheck_detail
