#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "twingrad/gradcheck/compare.h"
#include "twingrad/gradcheck/gradcheck.h"
#include "twingrad/gradcheck/jacobian.h"

namespace twingrad::gradcheck_detail {

/// What an exception says, without LibTorch's stack.
std::string message_of(const std::exception& error);

/// One run of a check, whatever the backward pass is made of: gradcheck.cpp calls the steps in their order.
class Check {
 public:
  /// All arguments must outlive the object.
  Check(std::string name, const Function& fn, const std::vector<torch::Tensor>& inputs,
        const Options& options);

  /// Runs the steps; what they throw becomes a failure. The verdict is complete afterwards.
  template <typename Steps>
  Verdict run(const Steps& steps);

  /// Which inputs are checked: those that require a gradient; if none does and `or_all`, every floating one.
  void choose_inputs(bool or_all);
  /// The outputs of fn at the inputs; those of floating dtype are the layout.
  void set_outputs(const std::vector<torch::Tensor>& outputs, bool all_differentiable);
  /// Where the differences are taken: the inputs themselves, or their float64 twins. Looks whether the
  /// forward is deterministic and whether it needs autograd inside.
  void prepare_evaluation(bool by_autograd);
  void compare_values();
  void compare_gradients(const Vjp& vjp);
  /// For a function none of whose outputs requires a gradient.
  void check_all_constant();
  void check_zero_upstream(const Vjp& vjp);
  void check_inputs_unchanged();

  void fail(std::string sentence) { verdict_.failures.push_back(std::move(sentence)); }
  void warn(std::string sentence) { verdict_.warnings.push_back(std::move(sentence)); }
  /// Says what an exception interrupted.
  void now(std::string phase) { phase_ = std::move(phase); }

  const std::vector<std::size_t>& checked() const { return checked_; }
  const std::vector<torch::Tensor>& checked_inputs() const { return checked_inputs_; }
  const OutputLayout& layout() const { return layout_; }
  std::string input_name(std::size_t input) const;
  std::string output_name(std::size_t output) const;

 private:
  void validate_options() const;
  void finish();
  const torch::Tensor& moved_input(std::size_t checked_index) const;
  torch::Tensor numeric_of(std::size_t checked_index);
  void compare_full(GradientRows& rows);
  bool compare_fast(GradientRows& rows);
  void compare_pair(std::size_t checked_index, const OutputSlot& slot, const torch::Tensor& ours,
                    const torch::Tensor& numeric);
  void judge(Block block, std::size_t checked_index, const OutputSlot& slot, Comparison& comparison);
  KinkMasks kinks_of(const Block& block, const torch::Tensor& bad, std::size_t checked_index,
                     const OutputSlot& slot, Comparison::Part part);
  void name_lost_shares();
  void report_rows(const GradientRows& rows);
  Comparison comparison_of(std::size_t checked_index, const OutputSlot& slot) const;
  Tolerance tolerance_for(const torch::Tensor& input, const torch::Tensor& output,
                          const torch::Tensor& numeric) const;

  const Function& fn_;
  const std::vector<torch::Tensor>& inputs_;
  const Options& options_;
  Verdict verdict_;
  std::string phase_ = "the set-up";
  std::vector<torch::Tensor> originals_;  // copies, to see whether fn changes its inputs
  std::vector<std::size_t> checked_;
  std::vector<torch::Tensor> checked_inputs_;
  std::vector<std::string> checked_names_;
  OutputLayout layout_;
  bool all_constant_ = false;         // no output requires a gradient
  bool twin_ = false;                 // differences are taken at float64 copies
  std::vector<torch::Tensor> point_;  // where they are taken
  std::unique_ptr<Evaluator> evaluate_;
};

template <typename Steps>
Verdict Check::run(const Steps& steps) {
  try {
    validate_options();
    steps();
    check_inputs_unchanged();
  } catch (const CheckFailed& error) {
    fail(error.what());
  } catch (const std::exception& error) {
    fail(phase_ + " threw: " + message_of(error));
  }
  finish();
  return std::move(verdict_);
}

}  // namespace twingrad::gradcheck_detail
