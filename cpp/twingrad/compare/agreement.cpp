#include "twingrad/compare/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "twingrad/compare/comparison.h"

namespace twingrad {
namespace {

std::string without_suffix(const std::string& text, std::string_view suffix) {
  return text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text;
}

}  // namespace

Agreement agreement_of(const Comparison& comparison) {
  Agreement agreement{.worst = "",
                      .tensors = std::ssize(comparison.tensors),
                      .rows = comparison.rows,
                      .rows_set_aside = comparison.rows_set_aside,
                      .verdict = comparison.verdict(),
                      .autograd_loss = comparison.autograd_loss,
                      .manual_loss = comparison.manual_loss};
  for (const TensorComparison& tensor : comparison.tensors) {
    if (tensor.part == TensorComparison::Part::gradient) {
      agreement.gradients[without_suffix(tensor.name, ".grad")] = tensor.max_rel;
      agreement.max_abs_gradient_difference = std::max(agreement.max_abs_gradient_difference, tensor.max_abs);
    }
  }
  if (const TensorComparison* worst = comparison.worst_gradient(); worst != nullptr) {
    agreement.max_rel_gradient_difference = worst->max_rel;
    agreement.bound = worst->relative_bound();
    agreement.worst = without_suffix(worst->name, ".grad");
  }
  return agreement;
}

std::string describe_disagreement(const Comparison& comparison, std::int64_t steps) {
  const TensorComparison& wrong = *comparison.worst_gradient();
  return fmt::format(
      "{}: {} differs between the twins by {:.2g} of its largest entry, more than rounding explains "
      "({:.2g}){}; "
      "at fault: {}",
      steps == 0 ? "before the first update" : fmt::format("step {}", steps + 1), wrong.name, wrong.max_rel,
      wrong.relative_bound(), wrong.cause.empty() ? "" : ": " + wrong.cause, comparison.at_fault);
}

}  // namespace twingrad
