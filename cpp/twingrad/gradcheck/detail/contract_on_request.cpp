#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <ATen/functorch/DynamicLayer.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "twingrad/gradcheck/detail/contract.h"

// The steps of a Contract that are taken on request only: a right function may not support them.
namespace twingrad::gradcheck_detail {
namespace {

/// The outputs of a function, or nothing if it throws.
std::optional<Tensors> outcome(const GradcheckFunction& function, const Tensors& inputs) {
  try {
    return function(inputs);
  } catch (...) {
    return std::nullopt;
  }
}

/// A level of forward-mode differentiation.
class ForwardLevel {
 public:
  ForwardLevel() : index_(torch::autograd::ForwardADLevel::get_next_idx()) {}
  ForwardLevel(const ForwardLevel&) = delete;
  ForwardLevel& operator=(const ForwardLevel&) = delete;
  ~ForwardLevel() { torch::autograd::ForwardADLevel::release_idx(index_); }
  std::uint64_t index() const { return index_; }

 private:
  std::uint64_t index_;
};

/// A level of vmap, in which tensors have a batch dimension that is not in their shape.
class VmapLevel {
 public:
  explicit VmapLevel(std::int64_t batch_size)
      : level_(at::functorch::initAndPushDynamicLayer(at::functorch::TransformType::Vmap, batch_size,
                                                      at::functorch::RandomnessType::Error)) {}
  VmapLevel(const VmapLevel&) = delete;
  VmapLevel& operator=(const VmapLevel&) = delete;
  ~VmapLevel() { at::functorch::popDynamicLayerAndDeleteMetadata(); }

  /// The tensor [K, …] as a batch of K tensors.
  Tensor batched(const Tensor& tensor) const { return at::functorch::makeBatched(tensor, 0, level_); }

 private:
  std::int64_t level_;
};

/// The k-th tensor of a batch; a tensor that is no batch is the same for all k.
Tensor in_batch(const Tensor& tensor, std::int64_t k) {
  const auto* batch = tensor.defined() ? at::functorch::maybeGetBatchedImpl(tensor) : nullptr;
  return batch == nullptr ? tensor : batch->value().select(batch->bdim(), k);
}

}  // namespace

void Contract::check_threads() {
  std::vector<Tensors> gradients(options_.threads);
  std::vector<std::string> errors(options_.threads);
  std::vector<Tensors> inputs, upstreams;
  for (std::size_t t = 0; t < options_.threads; ++t) {
    inputs.push_back(copies({}));
    upstreams.push_back(random_upstream());
  }
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < options_.threads; ++t) {
    threads.emplace_back([&, t] {
      try {
        const c10::AutoGradMode grad_mode(true);
        constexpr int kTimes = 8;  // threads start one after the other: one call may be over too soon
        for (int i = 0; i < kTimes; ++i) {
          gradients[t] = differentiate_(inputs[t], upstreams[t]);
        }
      } catch (...) {
        errors[t] = current_exception_message();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const std::string when = c10::str(options_.threads, " threads at once");
  for (std::size_t t = 0; t < options_.threads; ++t) {
    if (!errors[t].empty()) {
      check_.fail(when, ": ", errors[t]);
      return;
    }
    if (!compare(when, gradients[t], expected_)) {
      return;
    }
  }
}

/// ⟨w, Jv⟩ by forward mode, where w is the upstream gradient and v the direction of one checked input.
double Contract::forward_product(const GradcheckFunction& fn, const CheckedInput& input,
                                 const Tensor& direction) const {
  const ForwardLevel level;
  const auto index = static_cast<std::int64_t>(level.index());
  Tensors leaves = copies({});
  const Tensor dual = at::_make_dual(leaves[input.index].detach(), direction, index);
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    leaves[i] = inputs_[i].is_same(input.tensor) ? dual : leaves[i];
  }
  const Tensors outputs = fn(leaves);
  double product = 0;
  for (std::size_t s = 0; s < upstream_.size(); ++s) {
    const Tensor& output = outputs.at(check_.layout().slots[s].output);
    const Tensor tangent = upstream_[s].defined() ? std::get<1>(at::_unpack_dual(output, index)) : Tensor();
    product += tangent.defined() ? reals_of(tangent).dot(reals_of(upstream_[s])).item<double>() : 0;
  }
  return product;
}

void Contract::check_forward_ad(const GradcheckFunction& fn) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(options_.seed);
  const auto compare_products = [&] {
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      const CheckedInput& input = check_.checked()[i];
      if (!expected_[i].defined()) {
        continue;
      }
      const Tensor v = at::rand({count_reals(input.tensor)}, generator, at::kDouble).mul_(2).sub_(1);
      const double forward = forward_product(fn, input, from_reals(v, input.tensor));
      const Tensor gradient = reals_of(expected_[i]);  // Jᵀw
      const double backward = gradient.dot(v).item<double>();
      const double size = (gradient.norm() * v.norm()).item<double>();
      if (!(std::abs(forward - backward) <= tolerance(expected_[i], size))) {
        check_.fail("forward mode: <w, Jv> for ", input.name, " is ", number_text(forward, 9),
                    ", but backward gives <J^T w, v> = ", number_text(backward, 9));
      }
    }
  };
  if (const auto error = exception_of(compare_products)) {
    check_.fail("forward mode: ", *error);
  }
}

void Contract::check_batched_grad(const GradcheckFunction& fn) {
  constexpr std::int64_t kBatchSize = 3;
  const std::string when = "batched gradients (vmap)";
  const auto compare_batch = [&] {
    const Tensors leaves = copies({});
    const Tensors outputs = fn(leaves);
    Tensors roots, wanted, batches;
    for (std::size_t s = 0; s < upstream_.size(); ++s) {
      if (upstream_[s].defined()) {
        roots.push_back(outputs.at(check_.layout().slots[s].output));
        Tensors multiples;  // the gradients are the same multiples of those expected
        for (std::int64_t k = 1; k <= kBatchSize; ++k) {
          multiples.push_back(upstream_[s] * static_cast<double>(k));
        }
        batches.push_back(at::stack(multiples));
      }
    }
    for (const CheckedInput& input : check_.checked()) {
      wanted.push_back(leaves[input.index]);
    }
    std::vector<Tensors> gradients(kBatchSize);
    {
      const VmapLevel level(kBatchSize);
      Tensors upstream;
      for (const Tensor& batch : batches) {
        upstream.push_back(level.batched(batch));
      }
      const Tensors found = torch::autograd::grad(roots, wanted, upstream, /*retain_graph=*/false,
                                                  /*create_graph=*/false, /*allow_unused=*/true);
      for (std::int64_t k = 0; k < kBatchSize; ++k) {
        for (const Tensor& gradient : found) {
          gradients[k].push_back(in_batch(gradient, k));
        }
      }
    }
    for (std::int64_t k = 0; k < kBatchSize; ++k) {
      Tensors expected = expected_;
      for (Tensor& gradient : expected) {
        gradient = gradient.defined() ? gradient * static_cast<double>(k + 1) : gradient;
      }
      if (!compare(when, gradients[k], expected)) {
        return;
      }
    }
  };
  if (const auto error = exception_of(compare_batch)) {
    check_.fail(when, ": ", *error);
  }
}

/// The copies of the inputs with another value of one.
Tensors Contract::copies_with(std::size_t input, const Tensor& value) const {
  Tensors inputs = copies({});
  inputs[input] = value;
  return inputs;
}

/// Fails if only the reference refuses a value of an input. A function may support less than its reference.
void Contract::expect_refusal(const GradcheckFunction& fn, std::size_t input, const Tensor& value,
                              const char* what) {
  const Tensors inputs = copies_with(input, value);
  if (!outcome(options_.reference, inputs) && outcome(fn, inputs)) {
    check_.fail("the reference refuses ", check_.input_name(input), " ", what, " (", type_text(value),
                "), but the function accepts it");
  }
}

/// Compares where the outputs are NaN or infinite.
void Contract::expect_same_special(const GradcheckFunction& fn, std::size_t input, const Tensor& value,
                                   const std::string& where) {
  const Tensors inputs = copies_with(input, value);
  const auto right = outcome(options_.reference, inputs), found = outcome(fn, inputs);
  if (right.has_value() != found.has_value()) {
    check_.fail(where, ": the ",
                found ? "reference refuses it, but the function accepts it"
                      : "function refuses it, but the reference accepts it");
  }
  for (const OutputSlot& slot : check_.layout().slots) {
    if (!right || !found) {
      return;
    }
    const auto special = [](const Tensor& output) {  // 0 where finite
      const Tensor reals = reals_of(output);
      return reals.masked_fill(reals.isfinite(), 0);
    };
    const Tensor expected = special(right->at(slot.output)), actual = special(found->at(slot.output));
    for (std::int64_t i = 0; i < expected.numel(); ++i) {
      const double wanted = expected.data_ptr<double>()[i];
      const double value_found = actual.data_ptr<double>()[i];
      if (distance(wanted, value_found) != 0) {
        const auto text = [](double number) { return number == 0 ? "finite" : number_text(number); };
        check_.fail(where, ": ", slot.name, " is ", text(value_found), " in element ", i,
                    ", but that of the reference is ", text(wanted));
        return;
      }
    }
  }
}

void Contract::check_parity(const GradcheckFunction& fn) {
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!is_strided(inputs_[i])) {
      continue;
    }
    const Tensor value = inputs_[i].detach();
    expect_refusal(fn, i, value.unsqueeze(0), "with one more dimension");
    if (value.dim() > 0 && value.size(0) > 0) {
      expect_refusal(fn, i, value.select(0, 0), "with one dimension less");
    }
    for (std::int64_t d = 0; d < value.dim(); ++d) {
      expect_refusal(fn, i, at::cat({value, value}, d), "of twice the size");
    }
    expect_refusal(fn, i, value.to(value.scalar_type() == at::kFloat ? at::kDouble : at::kFloat),
                   "of another dtype");
    expect_refusal(fn, i, value.is_complex() ? value.abs() : value.to(at::kLong), "of another dtype");
    for (const double special : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      for (const std::int64_t at : {std::int64_t{0}, value.numel() - 1}) {
        if (value.is_floating_point() && value.numel() > 0) {
          Tensor changed = value.clone(at::MemoryFormat::Contiguous);
          changed.view({-1})[at] = special;
          expect_same_special(
              fn, i, changed,
              c10::str(check_.input_name(i), " with ", number_text(special), " in element ", at));
        }
      }
    }
  }
}

}  // namespace twingrad::gradcheck_detail
