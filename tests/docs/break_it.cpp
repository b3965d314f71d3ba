// Computes what docs/break-it.html computes, with the library. Reads JSON from standard input: a list of
// {"bug", "loss", "lr", "x", "t", "W1", "b1", "W2", "b2"}. Prints a list of all tensors of one training step
// under the names of the page, and the explanation of the bug.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/catalogue/planted_bugs.h"
#include "twingrad/catalogue/targets.h"
#include "twingrad/mlp/manual_twin.h"

namespace {

using namespace twingrad;
using Json = nlohmann::json;
using Rows = std::vector<std::vector<double>>;

/// The names of the page for those of the twins.
const std::map<std::string, std::string>& page_names() {
  static const std::map<std::string, std::string> names = {
      {"0.output", "z1"}, {"1.output", "h"}, {"logits", "logits"}, {"3.output", "p"}, {"4.output", "log_p"},
      {"0.weight", "W1"}, {"0.bias", "b1"},  {"2.weight", "W2"},   {"2.bias", "b2"}};
  return names;
}

Json rows_of(const at::Tensor& tensor) {
  const at::Tensor matrix = tensor.reshape({-1, tensor.size(-1)}).contiguous();
  Json rows = Json::array();
  for (std::int64_t i = 0; i < matrix.size(0); ++i) {
    const double* row = matrix.data_ptr<double>() + i * matrix.size(1);
    rows.push_back(std::vector<double>(row, row + matrix.size(1)));
  }
  return rows;
}

std::vector<double> flat(const Json& rows) {
  std::vector<double> values;
  for (const auto& row : rows.get<Rows>()) {
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

at::Tensor initial_parameters(const Json& step) {
  std::vector<double> values;
  for (const char* name : {"W1", "b1", "W2", "b2"}) {
    const std::vector<double> part = flat(step.at(name));
    values.insert(values.end(), part.begin(), part.end());
  }
  return at::tensor(values, at::kDouble);
}

/// Stores gradient "0.weight.grad" or "0.weight" of a parameter as "grad_W1".
void store(Json& tensors, const std::string& prefix, const std::vector<NamedTensor>& named,
           const std::string& suffix = "") {
  for (const auto& [name, tensor] : named) {
    if (!name.ends_with(suffix)) {
      continue;
    }
    const auto found = page_names().find(name.substr(0, name.size() - suffix.size()));
    if (found != page_names().end()) {
      tensors[prefix + found->second] = rows_of(tensor);
    }
  }
}

Json run_step(const Json& step) {
  MlpSpec network{.inputs = 2, .hidden = {3}, .classes = 2};
  network.loss = step.at("loss") == "softmax_log" ? LossKind::softmax_log : LossKind::cross_entropy;
  const OptimizerOptions optimizer{.lr = step.at("lr")};
  const std::string bug = step.at("bug");
  const ManualParts parts = bug == "none" ? ManualParts() : catalogue::plant_bug(bug, network, optimizer);
  ManualTwin twin(network, optimizer, initial_parameters(step), at::kDouble, std::make_shared<ThreadPool>(1),
                  {}, parts);
  const at::Tensor x = at::tensor(flat(step.at("x")), at::kDouble).view({2, 2});
  const at::Tensor labels = at::tensor(flat(step.at("t")), at::kDouble).to(at::kLong);
  Json tensors = {{"loss", Json::array({{twin.forward(x, labels)}})}};
  twin.backward();
  store(tensors, "", twin.intermediates());
  store(tensors, "grad_", twin.gradients());
  twin.update();
  store(tensors, "new.", twin.parameters());
  for (const char* state : {"exp_avg", "exp_avg_sq"}) {
    store(tensors, fmt::format("{}.", state), twin.optimizer_state(), fmt::format(".{}", state));
  }
  return tensors;
}

std::string why(const std::string& name) {
  for (const catalogue::Target& target : catalogue::all_targets()) {
    for (const catalogue::TargetBug& bug : target.bugs) {
      if (bug.name == name) {
        return bug.why;
      }
    }
  }
  return "";
}

}  // namespace

int main() {
  Json results = Json::array();
  for (const Json& step : Json::parse(std::cin)) {
    results.push_back({{"tensors", run_step(step)}, {"why", why(step.at("bug"))}});
  }
  std::cout << results.dump() << "\n";
}
