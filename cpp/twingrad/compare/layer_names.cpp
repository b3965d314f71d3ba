#include "twingrad/compare/layer_names.h"

#include <algorithm>
#include <cstdlib>

namespace twingrad {
namespace {

/// Whether the backward pass reaches layer a before layer b. A block comes before the layers inside.
bool is_before_in_backward(const std::string& a, const std::string& b) {
  const std::vector<int> first = path_of(a), second = path_of(b);
  const auto [i, j] = std::mismatch(first.begin(), first.end(), second.begin(), second.end());
  return i == first.end() ? j != second.end() : j != second.end() && *i > *j;
}

}  // namespace

std::string layer_of(const std::string& tensor, const std::vector<std::string>& results) {
  const auto result = std::find(results.begin(), results.end(), tensor);
  const std::size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? std::to_string(result - results.begin()) : tensor.substr(0, dot);
}

bool is_result(const std::string& name) { return name == "logits" || name.ends_with(".output"); }

std::vector<int> path_of(const std::string& layer) {
  std::vector<int> path;
  for (std::size_t begin = 0; begin < layer.size();) {
    const std::size_t end = std::min(layer.find('.', begin), layer.size());
    path.push_back(std::atoi(layer.substr(begin, end - begin).c_str()));
    begin = end + 1;
  }
  return path;
}

std::vector<std::string> in_backward_order(std::vector<std::string> names,
                                           const std::vector<std::string>& results) {
  std::stable_partition(names.begin(), names.end(), is_result);
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return is_before_in_backward(layer_of(a, results), layer_of(b, results));
  });
  return names;
}

}  // namespace twingrad
