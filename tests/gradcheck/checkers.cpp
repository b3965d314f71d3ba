#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "../consumer/custom_functions.h"
#include "twingrad/catalogue/check.h"
#include "twingrad/gradcheck/gradcheck.h"

// The planted bugs as functions of autograd that any checker of gradients can be given, Python's too
// (tests/python/checkers.py): the layers and losses of the catalogue, and the custom functions of
// tests/consumer, whose mistakes also concern strides, subsets of inputs and buffers.
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;
using twingrad::catalogue::FunctionEntry;
using twingrad::catalogue::HandWritten;

/// A function, right (0) and with each of its mistakes (1, 2, …), and the inputs to check it at.
struct Subject {
  std::string source, name;
  std::vector<std::string> mistakes;
  std::vector<Tensors> cases;
  std::function<Tensors(const Tensors& inputs, std::size_t mistake)> call;
};

/// A hand-written function and what its backward pass needs, which belong to one forward pass.
struct Pass : torch::CustomClassHolder {
  explicit Pass(HandWritten by_hand) : function(std::move(by_hand)) {}
  HandWritten function;
};

class ByHand : public torch::autograd::Function<ByHand> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, at::TensorList inputs,
                        const c10::intrusive_ptr<Pass>& pass) {
    context->saved_data["pass"] = c10::IValue::make_capsule(pass);
    context->saved_data["inputs"] = static_cast<std::int64_t>(inputs.size());
    return pass->function.forward(inputs.vec()).clone();
  }
  static Tensors backward(torch::autograd::AutogradContext* context, const Tensors& grad_outputs) {
    const c10::intrusive_ptr<torch::CustomClassHolder> pass = context->saved_data["pass"].toCapsule();
    Tensors gradients = static_cast<Pass&>(*pass).function.backward(grad_outputs[0]);
    for (Tensor& gradient : gradients) {
      if (gradient.defined()) gradient = gradient.clone();
    }
    gradients.resize(static_cast<std::size_t>(context->saved_data["inputs"].toInt()) + 1);  // for the pass
    return gradients;
  }
};

Subject subject_of(const FunctionEntry& entry) {
  Subject subject{"catalogue", entry.name, {}, {}, {}};
  for (const auto& bug : entry.bugs) {
    subject.mistakes.push_back(bug.name);
  }
  for (const auto& at : entry.cases) {
    if (at.smooth && !at.nan_expected) {
      Tensors inputs;
      for (const Tensor& tensor : at.inputs) {
        const bool constant = inputs.size() + entry.constants >= at.inputs.size();
        inputs.push_back(tensor.detach().clone().set_requires_grad(!constant));
      }
      subject.cases.push_back(inputs);
    }
  }
  subject.call = [entry](const Tensors& inputs, std::size_t mistake) -> Tensors {
    const std::size_t differentiable = inputs.size() - entry.constants;
    HandWritten function =
        mistake == 0 ? entry.make() : twingrad::catalogue::with_bug(entry, entry.bugs[mistake - 1]);
    function.backward = [backward = function.backward, differentiable](const Tensor& grad_y) {
      Tensors gradients = backward(grad_y);
      gradients.resize(differentiable);
      return gradients;
    };
    return {ByHand::apply(at::TensorList(inputs), c10::make_intrusive<Pass>(std::move(function)))};
  };
  return subject;
}

const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = [] {
    std::vector<Subject> list;
    for (const auto& entries : {twingrad::catalogue::layer_entries(), twingrad::catalogue::loss_entries()}) {
      for (const FunctionEntry& entry : entries) list.push_back(subject_of(entry));
    }
    static const std::vector<custom_functions::Kind> kinds = custom_functions::kinds();
    for (const custom_functions::Kind& kind : kinds) {
      list.push_back({"custom functions",
                      kind.name,
                      kind.mistakes,
                      {kind.inputs},
                      [&kind](const Tensors& inputs, std::size_t mistake) {
                        return custom_functions::function_of(kind, static_cast<int>(mistake))(inputs);
                      }});
    }
    return list;
  }();
  return all;
}

const Subject& subject_at(std::int64_t index) { return subjects().at(static_cast<std::size_t>(index)); }

/// For each subject: source, name, number of cases, and its mistakes.
std::vector<std::vector<std::string>> list() {
  std::vector<std::vector<std::string>> lines;
  for (const Subject& subject : subjects()) {
    std::vector<std::string> line{subject.source, subject.name, std::to_string(subject.cases.size())};
    line.insert(line.end(), subject.mistakes.begin(), subject.mistakes.end());
    lines.push_back(line);
  }
  return lines;
}

Tensors inputs(std::int64_t subject, std::int64_t index) {
  return subject_at(subject).cases.at(static_cast<std::size_t>(index));
}

Tensors call(std::int64_t subject, std::int64_t mistake, at::TensorList inputs) {
  return subject_at(subject).call(inputs.vec(), static_cast<std::size_t>(mistake));
}

bool gradcheck(std::int64_t subject, std::int64_t mistake, std::int64_t index, bool fast) {
  twingrad::GradcheckOptions options;
  options.mode = fast ? twingrad::GradcheckMode::fast : twingrad::GradcheckMode::full;
  const auto function = [&](const Tensors& in) { return call(subject, mistake, in); };
  return twingrad::gradcheck(function, inputs(subject, index), options).passed;
}

}  // namespace

TORCH_LIBRARY(twingrad_checkers, library) {
  library.def("list", &list);
  library.def("inputs", &inputs);
  library.def("call", &call);
  library.def("gradcheck", &gradcheck);
}
