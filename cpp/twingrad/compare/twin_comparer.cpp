#include "twingrad/compare/twin_comparer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "twingrad/compare/compare_tensors.h"
#include "twingrad/compare/layer_names.h"

namespace twingrad {

using at::Tensor;

namespace {

/// The most noise in an input of a normalization, in standard deviations.
constexpr double kMostNormalizationNoise = 1. / 64;
/// Passes with simulated noise: as many as fit into this number of multiplications.
constexpr std::int64_t kFewestPasses = 3;
constexpr std::int64_t kMostPasses = 8;
constexpr double kMultiplicationsInPasses = 2e7;

Tensor find_or_undefined(const std::vector<NamedTensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? Tensor() : found->tensor;
}

std::vector<NamedTensor> copies_of(const std::vector<NamedTensor>& tensors) {
  std::vector<NamedTensor> copies;
  for (const auto& [name, tensor] : tensors) {
    copies.push_back({name, tensor.defined() ? tensor.detach().clone() : tensor});
  }
  return copies;
}

void assign(const std::vector<NamedTensor>& tensors, const std::vector<NamedTensor>& values) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].tensor.copy_(values[i].tensor);
  }
}

/// Sets tensors back at the end of the scope.
class RestoreGuard {
 public:
  explicit RestoreGuard(std::vector<NamedTensor> tensors)
      : tensors_(std::move(tensors)), values_(copies_of(tensors_)) {}
  RestoreGuard(const RestoreGuard&) = delete;
  RestoreGuard& operator=(const RestoreGuard&) = delete;
  ~RestoreGuard() { assign(tensors_, values_); }

 private:
  std::vector<NamedTensor> tensors_, values_;
};

/// Keeps the gradients of intermediate results until the end of the scope.
class KeepGradientsGuard {
 public:
  explicit KeepGradientsGuard(Twin& twin) : twin_(twin) { twin_.keep_intermediate_gradients(true); }
  KeepGradientsGuard(const KeepGradientsGuard&) = delete;
  KeepGradientsGuard& operator=(const KeepGradientsGuard&) = delete;
  ~KeepGradientsGuard() { twin_.keep_intermediate_gradients(false); }

 private:
  Twin& twin_;
};

double forward(Twin& twin, const Batch& batch, at::ScalarType dtype) {
  twin.set_dropout_masks(batch.masks);
  return twin.forward(batch.images.to(dtype), batch.labels);
}

/// The names of both lists, each once, in the order of the first.
std::vector<std::string> all_names(const std::vector<NamedTensor>& first,
                                   const std::vector<NamedTensor>& second) {
  std::vector<std::string> names;
  for (const auto* tensors : {&first, &second}) {
    for (const NamedTensor& tensor : *tensors) {
      if (std::find(names.begin(), names.end(), tensor.name) == names.end()) {
        names.push_back(tensor.name);
      }
    }
  }
  return names;
}

}  // namespace

/// The results of forward and backward.
struct TwinComparer::Pass {
  double loss = 0;
  std::vector<NamedTensor> results, buffers, gradients;

  Pass(const Twin& twin, double loss_of_forward)
      : loss(loss_of_forward),
        results(copies_of(twin.intermediates())),
        buffers(copies_of(twin.buffers())),
        gradients(copies_of(twin.gradients())) {}
};

TwinComparer::TwinComparer(Twin& manual, Twin& autograd) : manual_(manual), autograd_(autograd) {
  const std::vector<NamedTensor> parameters = manual.parameters();
  dtype_ = parameters.empty() ? at::kFloat : parameters.front().tensor.scalar_type();
  epsilon_ = std::numeric_limits<double>::epsilon();
  if (dtype_ != at::kDouble) {
    epsilon_ = std::numeric_limits<float>::epsilon();
    reference_ = autograd.in_float64();
  }
}

TwinComparer::~TwinComparer() = default;

Comparison TwinComparer::compare(const Batch& batch) {
  const RestoreGuard autograd_network(network_of(autograd_));
  Comparison comparison;
  compare_gradients(comparison, batch);
  return comparison;
}

Comparison TwinComparer::compare_with_update(const Batch& batch) {
  Comparison comparison;
  compare_gradients(comparison, batch);
  if (!comparison.is_empty()) {
    compare_update(comparison);
    find_fault(comparison);
  }
  return comparison;
}

void TwinComparer::compare_gradients(Comparison& comparison, const Batch& batch) {
  start_ = copies_of(network_of(manual_));
  const RestoreGuard manual_buffers(manual_.buffers());
  comparison.dtype = dtype_;
  comparison.has_reference = reference_ != nullptr;
  comparison.rows = batch.images.size(0);
  const KeepGradientsGuard keep_manual(manual_), keep_autograd(autograd_), keep_judge(judge());

  Batch rest = batch;
  do {
    run_forward(rest);
  } while (set_rows_aside(comparison, rest));
  if (comparison.is_empty()) {
    return;
  }
  rows_left_ = comparison.rows - comparison.rows_set_aside;
  const auto finish = [&](Twin& twin) {
    twin.backward();
    return Pass(twin, losses_[&twin]);
  };
  const Pass manual = finish(manual_);
  const Pass autograd = finish(autograd_);
  const std::unique_ptr<const Pass> reference =
      reference_ ? std::make_unique<const Pass>(finish(*reference_)) : nullptr;
  const Pass& exact = reference ? *reference : autograd;
  comparison.manual_loss = manual.loss;
  comparison.autograd_loss = autograd.loss;
  comparison.is_finite = std::isfinite(manual.loss) || std::isfinite(autograd.loss);
  if (comparison.is_empty()) {
    return;
  }
  result_names_ = all_names(exact.results, {});
  comparison.is_conditioned = measure_noise(rest, exact);
  if (!comparison.is_conditioned) {
    return;
  }
  append_rows(comparison, manual, autograd, exact);
  use_path_that_trains(comparison, rest, autograd, exact);
  forward_fault_ = forward_fault(manual, autograd, exact);
  find_fault(comparison);
}

void TwinComparer::append_rows(Comparison& comparison, const Pass& manual, const Pass& autograd,
                               const Pass& exact) {
  const auto scalar = [](double value, at::ScalarType type) {
    return at::scalar_tensor(value, at::TensorOptions(type));
  };
  const auto append = [&](TensorComparison row, TensorComparison::Part part) {
    row.part = part;
    comparison.tensors.push_back(std::move(row));
  };
  append(judged("loss", scalar(manual.loss, dtype_), scalar(autograd.loss, dtype_),
                scalar(exact.loss, at::kDouble), noise_["loss"]),
         TensorComparison::Part::forward);
  const auto append_all = [&](const std::vector<std::string>& names, auto member, const char* suffix,
                              TensorComparison::Part part) {
    for (const std::string& name : names) {
      append(judged(name + suffix, find_or_undefined(manual.*member, name),
                    find_or_undefined(autograd.*member, name), find_or_undefined(exact.*member, name),
                    noise_[name + suffix]),
             part);
    }
  };
  append_all({"logits"}, &Pass::results, "", TensorComparison::Part::forward);
  append_all(all_names(manual.buffers, autograd.buffers), &Pass::buffers, "",
             TensorComparison::Part::forward);
  append_all(in_backward_order(all_names(manual.gradients, autograd.gradients), result_names_),
             &Pass::gradients, ".grad", TensorComparison::Part::gradient);
}

void TwinComparer::use_path_that_trains(Comparison& comparison, const Batch& batch, const Pass& autograd,
                                        const Pass& exact) {
  load_network(manual_, start_);
  manual_.compute_gradients(batch.images, batch.labels);
  const std::vector<NamedTensor> gradients = manual_.gradients();
  for (const auto& [name, autograd_gradient] : autograd.gradients) {
    const TensorComparison fast =
        judged(name + ".grad", find_or_undefined(gradients, name), autograd_gradient,
               find_or_undefined(exact.gradients, name), noise_[name + ".grad"]);
    for (TensorComparison& plain : comparison.tensors) {
      if (!is_result(name) && plain.name == fast.name && !(fast.manual_error <= plain.manual_error)) {
        plain = fast;
      }
    }
  }
}

std::string TwinComparer::forward_fault(const Pass& manual, const Pass& autograd, const Pass& exact) const {
  for (const std::string& name : result_names_) {
    const auto noise = noise_.find(name);
    const TensorComparison row =
        judged(name, find_or_undefined(manual.results, name), find_or_undefined(autograd.results, name),
               find_or_undefined(exact.results, name), noise == noise_.end() ? 0 : noise->second);
    if (row.verdict == Verdict::differs) {
      return described(layer_of(name, result_names_)) + " (forward)";
    }
  }
  return "loss (forward)";
}

void TwinComparer::run_forward(const Batch& batch) {
  for (Twin* twin : {&manual_, &autograd_, reference_.get()}) {
    if (twin != nullptr) {
      load_network(*twin, start_);
      losses_[twin] = forward(*twin, batch, twin == reference_.get() ? at::kDouble : dtype_);
    }
  }
}

bool TwinComparer::set_rows_aside(Comparison& comparison, Batch& batch) {
  const std::vector<NamedTensor> manual = manual_.kink_distances();
  const std::vector<NamedTensor> autograd = autograd_.kink_distances();
  const std::vector<NamedTensor> exact = reference_ ? reference_->kink_distances() : autograd;
  Tensor near = at::zeros({batch.images.size(0)}, at::TensorOptions(at::kBool).device(batch.images.device()));
  std::vector<NamedTensor> noisy;
  std::map<std::string, double> local;
  for (const auto& [name, distance] : manual) {
    const Tensor other = find_or_undefined(autograd, name), right = find_or_undefined(exact, name);
    if (!other.defined() || !right.defined() || other.sizes() != distance.sizes()) {
      return false;
    }
    const Tensor sides_differ = (distance.sign() != right.sign()) | (other.sign() != right.sign());
    if (!sides_differ.any().item<bool>()) {
      continue;
    }
    if (noisy.empty()) {
      judge().simulate_rounding(epsilon_, 1);
      forward(judge(), batch, judge_dtype());
      noisy = judge().kink_distances();
      local = judge().local_rounding_errors();
      judge().simulate_rounding(0, 0);
    }
    const double noise = std::max(largest_of(find_or_undefined(noisy, name) - right), local[name]);
    const double bound = largest_rounding_error(noise);
    const Tensor is_rounding = ((distance - right).abs() <= bound) & ((other - right).abs() <= bound);
    near |= (sides_differ & is_rounding).any(1);
  }
  const auto count = near.sum().item<std::int64_t>();
  if (count == 0) {
    if (!noisy.empty()) {  // repeat the forward without noise
      load_network(judge(), start_);
      forward(judge(), batch, judge_dtype());
    }
    return false;
  }
  const Tensor rest = near.logical_not().nonzero().squeeze(1);
  if (rest.numel() < 2) {  // one row has no statistics for a batch normalization
    comparison.rows_set_aside = comparison.rows;
    return false;
  }
  comparison.rows_set_aside += count;
  batch.images = batch.images.index_select(0, rest);
  batch.labels = batch.labels.index_select(0, rest);
  for (Tensor& mask : batch.masks) {
    mask = mask.index_select(0, rest);
  }
  return true;
}

bool TwinComparer::measure_noise(const Batch& batch, const Pass& exact) {
  bool is_conditioned = true;
  noise_.clear();
  const auto raise = [&](const std::string& name, double noise) {
    noise_[name] = std::max(noise_[name], noise);
  };
  const auto compare = [&](const std::vector<NamedTensor>& noisy, const std::vector<NamedTensor>& right,
                           const char* suffix) {
    for (const auto& [name, tensor] : noisy) {
      if (const Tensor expected = find_or_undefined(right, name); expected.defined()) {
        const double size = epsilon_ * largest_of(expected.to(at::kDouble));
        raise(name + suffix, std::max(size, largest_of(tensor.to(at::kDouble) - expected.to(at::kDouble))));
      }
    }
  };
  const Batch in_double = {batch.images.to(at::kDouble), batch.labels, batch.masks};
  double entries = 0;
  for (const auto& [name, parameter] : manual_.parameters()) {
    entries += static_cast<double>(parameter.numel());
  }
  const double multiplications = entries * static_cast<double>(std::max<std::int64_t>(1, rows_left_));
  const auto passes = std::clamp(static_cast<std::int64_t>(kMultiplicationsInPasses / multiplications),
                                 kFewestPasses, kMostPasses);
  for (std::int64_t i = 0; i < passes; ++i) {
    load_network(judge(), start_);
    Batch perturbed = in_double;
    if (!judge().simulate_rounding(epsilon_, static_cast<std::uint64_t>(i))) {
      auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(i));
      const auto perturb = [&](const Tensor& tensor) {
        const Tensor signs = at::rand(tensor.sizes(), generator, tensor.options()).sub_(0.5).sign_();
        tensor.mul_(signs.mul_(epsilon_).add_(1));
      };
      const at::NoGradGuard no_grad;
      for (const auto& [name, parameter] : judge().parameters()) {
        perturb(parameter);
      }
      perturbed.images = perturbed.images.clone();
      perturb(perturbed.images);
    }
    const double loss = forward(judge(), perturbed, judge_dtype());
    judge().backward();
    raise("loss", std::abs(loss - exact.loss));
    compare(judge().intermediates(), exact.results, "");
    compare(judge().buffers(), exact.buffers, "");
    compare(judge().gradients(), exact.gradients, ".grad");
    for (const auto& [name, error] : judge().local_rounding_errors()) {
      raise(name, error);
    }
    is_conditioned &= judge().normalization_noise() <= kMostNormalizationNoise;
  }
  judge().simulate_rounding(0, 0);
  const double largest_logit = largest_of(find_or_undefined(exact.results, "logits"));
  raise("loss", epsilon_ * (std::abs(exact.loss) + largest_logit));
  return is_conditioned;
}

void TwinComparer::compare_update(Comparison& comparison) {
  const at::NoGradGuard no_grad;
  const std::vector<NamedTensor> gradients = copies_of(manual_.gradients());
  const std::vector<NamedTensor> before = copies_of(manual_.parameters());
  for (Twin* twin : {&autograd_, reference_.get()}) {
    if (twin != nullptr) {
      load_network(*twin, network_of(manual_));
      try {
        twin->load_optimizer_state(manual_.optimizer_state());
      } catch (const std::invalid_argument&) {  // a state that is incomplete: the comparison shows it
      }
      for (const auto& [name, gradient] : twin->gradients()) {
        if (const Tensor value = find_or_undefined(gradients, name); value.defined() && gradient.defined()) {
          gradient.copy_(value);
        }
      }
      twin->update();
    }
  }
  manual_.update();
  const auto append_all = [&](auto tensors_of, const auto& size_before) {
    const std::vector<NamedTensor> manual = tensors_of(manual_), autograd = tensors_of(autograd_);
    const std::vector<NamedTensor> exact = tensors_of(judge());
    if (manual.empty()) {
      return;  // this optimizer does not show its state
    }
    for (const std::string& name : all_names(manual, autograd)) {
      const Tensor right = find_or_undefined(exact, name);
      const double size = right.defined() ? largest_of(right.to(at::kDouble)) : 0;
      comparison.tensors.push_back(judged(name, find_or_undefined(manual, name),
                                          find_or_undefined(autograd, name), right,
                                          epsilon_ * std::max(size, size_before(name))));
      comparison.tensors.back().part = TensorComparison::Part::optimizer;
    }
  };
  append_all([](const Twin& twin) { return twin.optimizer_state(); }, [](const std::string&) { return 0.0; });
  append_all([](const Twin& twin) { return twin.parameters(); },
             [&](const std::string& name) { return largest_of(find_or_undefined(before, name)); });
}

TensorComparison TwinComparer::judged(const std::string& name, const Tensor& manual, const Tensor& autograd,
                                      const Tensor& reference, double noise) const {
  return compare_tensors(name, manual, autograd, reference, noise, epsilon_, rows_left_);
}

Comparison compare_twins(Twin& manual, Twin& autograd, const Batch& batch) {
  return TwinComparer(manual, autograd).compare(batch);
}

}  // namespace twingrad
