#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/gradcheck/detail/analytical.h"
#include "twingrad/gradcheck/detail/compare.h"
#include "twingrad/gradcheck/detail/numerical.h"
#include "twingrad/gradcheck/gradcheck.h"

namespace twingrad::gradcheck_detail {

/// The message of the exception that is being handled, without LibTorch's stack trace.
std::string current_exception_message();

/// The entries of a block [M, N] that are not within the tolerance, and where the function has no derivative.
struct BadEntries {
  Tensor bad;
  Tensor kink;      // the one-sided slopes differ
  Tensor jump;      // the function is not continuous
  Tensor between;   // the analytical value is between the two slopes
  Tensor rounding;  // rounding errors of the forward are large enough to explain the difference
  double rounding_error = 0;
};

/// One check, independent of where the backward pass comes from. gradcheck.cpp calls the steps in order.
class GradientCheck {
 public:
  /// All arguments must outlive the object.
  GradientCheck(GradcheckResult::Check check, const GradcheckFunction& fn, const Tensors& inputs,
                const GradcheckOptions& options);

  /// Runs the steps and returns the complete result. An exception becomes a failure.
  GradcheckResult run(const std::function<void()>& steps);

  /// Selects the inputs to check: those that require a gradient; if none does and `by_hand`, all
  /// floating-point and complex ones. by_hand: the backward does not come from autograd.
  void choose_inputs(bool by_hand);
  /// The outputs of fn at the inputs. Throws CheckStopped if fn throws.
  Tensors first_outputs();
  /// Sets the layout from the outputs of fn at the inputs.
  void set_outputs(const Tensors& outputs, bool all_differentiable);
  /// Prepares the evaluations at the inputs, or at float64 copies of them. Checks that the forward is
  /// deterministic, and turns autograd off if the forward does not need it.
  void prepare_evaluation(bool with_autograd);
  /// Compares the outputs with those of GradcheckOptions::reference, if given.
  void compare_values();
  void compare_gradients(const Vjp& vjp);
  /// For a function whose outputs all require no gradient.
  void check_all_constant();
  void check_zero_upstream(const Vjp& vjp);

  /// Adds a failure or a warning, with the arguments concatenated.
  template <typename... Args>
  void fail(const Args&... args) {
    result_.failures.push_back(c10::str(args...));
  }
  template <typename... Args>
  void warn(const Args&... args) {
    result_.warnings.push_back(c10::str(args...));
  }
  /// Adds a warning that is not there yet.
  void warn_once(const std::string& message);
  /// The current step, named in the message if it throws.
  void set_step(std::string step) { step_ = std::move(step); }

  /// Whether nothing has failed so far.
  bool passes() const;
  std::string input_name(std::size_t input) const;
  std::size_t failure_count() const { return result_.failures.size(); }
  /// Replaces the failures after the first `count` if the forward is random: then they prove nothing.
  void replace_if_random(std::size_t count);
  const std::vector<CheckedInput>& checked() const { return checked_; }
  const OutputLayout& layout() const { return layout_; }

 private:
  double step_for(const Tensor& input) const;
  std::string step_text(const CheckedInput& input) const;
  void validate_options() const;
  void validate_input(const CheckedInput& input) const;
  void validate_memory(const CheckedInput& input, bool by_hand) const;
  void warn_about_inputs();
  void check_inputs_unchanged();
  std::string dtype_advice() const;
  Tensor first_evaluation() const;
  void compare_calls(Tensor values, int calls);
  void withdraw_causes_if_random();
  /// A value that is off by more changes an entry of a Jacobian by more than atol.
  double value_bound() const;
  std::string memory_shortage() const;
  Tensor numerical_for(const CheckedInput& input);
  GradcheckComparison comparison_of(const CheckedInput& input, const OutputSlot& slot) const;
  Tolerance tolerance_for(const Tensor& input, const Tensor& output, const Tensor& numerical) const;
  void compare_value(const OutputSlot& slot, const Tensor& output, const Tensor& expected);
  void compare_jacobians(const Tensors& analytical);
  std::vector<GradcheckComparison> compare_projections(AnalyticalRows& rows);
  GradcheckComparison compare_projection(const CheckedInput& input, const OutputSlot& slot, const Tensor& v,
                                         const Tensor& u, const Tensor& vt_j, const Tensor& j_u) const;
  void report_projections(const std::vector<GradcheckComparison>& projections, const std::string& end);
  void warn_if_zeros_pass(const GradcheckComparison& comparison, bool zeros_pass);
  void compare_pair(const CheckedInput& input, const OutputSlot& slot, const Tensor& analytical,
                    const Tensor& numerical);
  void judge(const Block& block, const CheckedInput& input, const OutputSlot& slot,
             GradcheckComparison& comparison);
  BadEntries find_kinks(const Block& block, const Tensor& bad, const CheckedInput& input,
                        const OutputSlot& slot, GradcheckComparison::Part part);
  void find_rounding(const Block& block, const OutputSlot& slot, GradcheckComparison::Part part,
                     Elements& elements, double step, BadEntries& entries) const;
  double complex_step(const CheckedInput& input, std::int64_t element, const OutputSlot& slot,
                      std::int64_t row) const;
  void ask_second_opinions(const CheckedInput& input, const OutputSlot& slot,
                           GradcheckComparison& comparison);
  void find_overwritten();
  void report_rows(const AnalyticalRows& rows);

  const GradcheckFunction& fn_;
  const Tensors& inputs_;
  const GradcheckOptions& options_;
  GradcheckResult result_;
  std::string step_ = "the setup";
  Tensors originals_;  // copies of the inputs, to detect changes by fn
  std::vector<CheckedInput> checked_;
  OutputLayout layout_;
  bool all_constant_ = false;  // no output requires a gradient
  bool in_float64_ = false;    // the differences are taken at float64 copies of the inputs
  bool deterministic_ = true;  // as far as known
  std::unique_ptr<Evaluator> evaluate_;
};

}  // namespace twingrad::gradcheck_detail
