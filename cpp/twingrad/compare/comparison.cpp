#include "twingrad/compare/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "twingrad/compare/difference.h"
#include "twingrad/runtime/fields.h"

namespace twingrad {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::identical:
      return "identical";
    case Verdict::same_to_rounding:
      return "same to rounding";
    case Verdict::differs:
      return "differs";
    case Verdict::follows:
      return "follows";
  }
  return "";
}

double TensorComparison::relative_bound() const { return relative_to(bound + autograd_error, largest); }

bool Comparison::passed() const {
  return !tensors.empty() && std::all_of(tensors.begin(), tensors.end(), [](const TensorComparison& tensor) {
    return tensor.verdict == Verdict::identical || tensor.verdict == Verdict::same_to_rounding;
  });
}

const TensorComparison* Comparison::worst_gradient() const {
  const TensorComparison* worst = nullptr;
  // Where all entries are rounding errors, a relative difference says nothing.
  const auto significance = [](const TensorComparison& tensor) {
    return std::pair(tensor.largest > tensor.bound, tensor.max_rel);
  };
  for (const TensorComparison& tensor : tensors) {
    if (tensor.verdict == Verdict::differs) {
      return &tensor;
    }
    const bool is_gradient = tensor.part == TensorComparison::Part::gradient;
    if (is_gradient && (worst == nullptr || significance(tensor) > significance(*worst))) {
      worst = &tensor;
    }
  }
  return worst;
}

std::string Comparison::obstacle() const {
  return rows_set_aside == rows ? fmt::format("all {} rows are near a kink", rows)
         : !is_finite           ? "the loss is not finite"
         : !is_conditioned      ? "the inputs of a normalization are equal up to rounding"
                                : "";
}

std::string Comparison::verdict() const {
  return is_empty() ? "nothing to compare: " + obstacle()
                    : twingrad::to_string(passed() ? Verdict::same_to_rounding : Verdict::differs);
}

std::string Comparison::to_string() const {
  std::string text = is_empty() ? verdict() + "\n" : "";
  for (const TensorComparison& tensor : tensors) {
    if (tensor.verdict == Verdict::differs || tensor.verdict == Verdict::follows) {
      text += fmt::format("{} {}: error {:.2g}, at most {:.2g} expected, largest entry {:.2g}{}\n",
                          tensor.name, twingrad::to_string(tensor.verdict), tensor.manual_error, tensor.bound,
                          tensor.largest, tensor.cause.empty() ? "" : ": " + tensor.cause);
    }
  }
  return text + (at_fault.empty() ? "" : "at fault: " + at_fault + "\n");
}

nlohmann::ordered_json to_json(const Comparison& comparison) {
  using Json = nlohmann::ordered_json;
  Json tensors = Json::array();
  for (const TensorComparison& tensor : comparison.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"largest", number_to_json(tensor.largest)},
                       {"max_abs", number_to_json(tensor.max_abs)},
                       {"max_rel", number_to_json(tensor.max_rel)},
                       {"max_ulp", number_to_json(tensor.max_ulp)},
                       {"identical", tensor.identical},
                       {"entries", tensor.entries},
                       {"manual_error", number_to_json(tensor.manual_error)},
                       {"autograd_error", number_to_json(tensor.autograd_error)},
                       {"bound", number_to_json(tensor.bound)},
                       {"verdict", twingrad::to_string(tensor.verdict)},
                       {"cause", tensor.cause.empty() ? Json() : Json(tensor.cause)}});
  }
  return {{"passed", comparison.passed()},
          {"dtype", comparison.dtype == c10::ScalarType::Double ? "float64" : "float32"},
          {"reference", comparison.has_reference ? "float64" : "autograd"},
          {"rows", comparison.rows},
          {"rows_set_aside", comparison.rows_set_aside},
          {"at_fault", comparison.at_fault.empty() ? Json() : Json(comparison.at_fault)},
          {"tensors", tensors}};
}

}  // namespace twingrad
