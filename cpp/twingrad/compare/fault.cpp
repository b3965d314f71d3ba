// Which layer, loss or optimizer a wrong tensor names.
#include <algorithm>
#include <string_view>

#include "twingrad/compare/layer_names.h"
#include "twingrad/compare/twin_comparer.h"

namespace twingrad {

std::string TwinComparer::described(const std::string& layer) const {
  const std::string kind = autograd_.describe_layer(layer);
  return "layer " + layer + (kind.empty() ? "" : ", " + kind);
}

std::string TwinComparer::layer_at_fault(const std::string& gradient) const {
  const std::string name = gradient.substr(0, gradient.size() - std::string_view(".grad").size());
  const std::string layer = layer_of(name, result_names_);
  if (!is_result(name)) {
    return described(layer);
  }
  // The gradient of a result is computed by the layer that receives the result.
  const auto exists = [&](const std::string& of) {
    return std::any_of(result_names_.begin(), result_names_.end(),
                       [&](const std::string& result) { return layer_of(result, result_names_) == of; });
  };
  const std::size_t dot = layer.rfind('.');
  const std::string block = dot == std::string::npos ? "" : layer.substr(0, dot);
  const std::string next = (block.empty() ? "" : block + ".") + std::to_string(path_of(layer).back() + 1);
  if (exists(next)) {
    return described(next) + (exists(next + ".0") ? ", or " + described(next + ".0") : "");
  }
  const std::string loss = autograd_.describe_layer("loss");
  return !block.empty() ? described(block) : "loss" + (loss.empty() ? "" : ", " + loss);
}

void TwinComparer::find_fault(Comparison& comparison) const {
  using Part = TensorComparison::Part;
  bool is_wrong_before = false;
  for (TensorComparison& tensor : comparison.tensors) {
    if (tensor.verdict != Verdict::differs) {
      continue;
    }
    if (comparison.at_fault.empty()) {
      const std::string optimizer = autograd_.describe_layer("optimizer");
      comparison.at_fault = tensor.part == Part::forward    ? forward_fault_
                            : tensor.part == Part::gradient ? layer_at_fault(tensor.name)
                            : optimizer.empty()             ? "optimizer"
                                                            : "optimizer, " + optimizer;
    }
    if (tensor.part != Part::optimizer && is_wrong_before) {
      tensor.verdict = Verdict::follows;
    }
    is_wrong_before = true;
  }
}

}  // namespace twingrad
