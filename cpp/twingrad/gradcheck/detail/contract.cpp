#include "twingrad/gradcheck/detail/contract.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace twingrad::gradcheck_detail {
namespace {

constexpr double kExpanded = 0.75;  // every element of an expanded upstream gradient
constexpr const char* kStridesRemedy = "; use its strides, or call contiguous() on it";

/// Memory for `size` elements like those of `tensor`. If they can be NaN, they are: who reads memory that is
/// not the tensor's gets NaN. Otherwise they are its first element, an index that exists.
Tensor memory_for(const Tensor& tensor, std::int64_t size) {
  const Tensor memory = at::empty({size}, tensor.options().requires_grad(false));
  if (tensor.is_floating_point() || tensor.is_complex()) {
    return memory.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  return tensor.numel() == 0 ? memory : memory.fill_(tensor.reshape({-1})[0]);
}

/// The same values in column-major order.
Tensor transposed(const Tensor& tensor) {
  std::vector<std::int64_t> reversed(tensor.dim());
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  return tensor.permute(reversed).clone(at::MemoryFormat::Contiguous).permute(reversed);
}

/// The same values, with a gap in memory before each.
Tensor with_gaps(const Tensor& tensor) {
  std::vector<std::int64_t> strides(tensor.dim());
  std::int64_t stride = 2;
  for (std::int64_t d = tensor.dim(); d-- > 0; stride *= tensor.size(d)) {
    strides[d] = stride;
  }
  const Tensor memory = memory_for(tensor, 2 * tensor.numel() + 1);
  return memory.as_strided(tensor.sizes(), strides, /*storage_offset=*/1).copy_(tensor);
}

/// One number everywhere: all elements share the first of the tensor's memory.
Tensor expanded(const Tensor& tensor) {
  const Tensor memory = memory_for(tensor, tensor.numel() + 1);
  memory[0].fill_(kExpanded);
  return memory.as_strided(tensor.sizes(), std::vector<std::int64_t>(tensor.dim(), 0));
}

}  // namespace

Contract::Contract(GradientCheck& check, const Tensors& inputs, const GradcheckOptions& options,
                   const Differentiate& differentiate)
    : check_(check), inputs_(inputs), options_(options), differentiate_(differentiate) {
  check_.set_step("the function at copies of its inputs");
  upstream_ = random_upstream();
  expected_ = differentiate_(copies({}), upstream_);
}

/// Copies of the strided inputs, which require a gradient where the inputs do. change: applied to each;
/// empty: as it is. A tensor that is two inputs is copied once.
Tensors Contract::copies(const Change& change) const {
  Tensors copied = inputs_;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const auto first = std::find_if(inputs_.begin(), inputs_.end(),
                                    [&](const Tensor& other) { return other.is_same(inputs_[i]); });
    const auto index = static_cast<std::size_t>(first - inputs_.begin());
    if (index < i) {
      copied[i] = copied[index];
    } else if (is_strided(inputs_[i])) {
      const Tensor values = inputs_[i].detach();
      copied[i] = (change ? change(values) : values.clone()).requires_grad_(inputs_[i].requires_grad());
    }
  }
  return copied;
}

/// Copies of which only some checked inputs require a gradient.
Tensors Contract::copies_requiring(const std::vector<bool>& wanted) const {
  Tensors copied = copies({});
  for (const bool requires_grad : {false, true}) {  // one tensor can be two inputs
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] == requires_grad) {
        copied[check_.checked()[i].index].requires_grad_(requires_grad);
      }
    }
  }
  return copied;
}

/// U(−1, 1) for each differentiable output.
Tensors Contract::random_upstream() const {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(options_.seed);
  Tensors upstream;
  for (const OutputSlot& slot : check_.layout().slots) {
    const Tensor reals = at::rand({slot.length}, generator, at::kDouble).mul_(2).sub_(1);
    upstream.push_back(slot.differentiable ? from_reals(reals, slot.like) : Tensor());
  }
  return upstream;
}

/// On the difference of two gradients that are equal but for the order of their sums, which changes a few
/// last digits. A gradient no larger than atol counts as zero.
double Contract::tolerance(const Tensor& like, double largest) const {
  double epsilon = precision_of(like).epsilon;
  for (const OutputSlot& slot : check_.layout().slots) {
    epsilon = std::max(epsilon, precision_of(slot.like).epsilon);
  }
  const double rounding = std::sqrt(epsilon) * largest;
  return (largest <= options_.atol ? options_.atol : rounding) + options_.nondet_tol;
}

/// How a gradient differs from the expected one. Empty if it differs by rounding only.
std::string Contract::difference(const Tensor& gradient, const Tensor& expected) const {
  if (gradient.defined() && gradient.sizes() != expected.sizes()) {
    return c10::str("has shape ", gradient.sizes(), " instead of ", expected.sizes());
  }
  const Tensor right = reals_of(expected);
  const Tensor found = gradient.defined() ? reals_of(gradient) : at::zeros_like(right);
  const double *right_values = right.data_ptr<double>(), *found_values = found.data_ptr<double>();
  double largest = 0, worst = 0;
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < right.numel(); ++i) {
    const double value = std::abs(right_values[i]);
    largest = std::isfinite(value) ? std::max(largest, value) : largest;
    const double error = distance(found_values[i], right_values[i]);
    if (error > worst) {
      worst = error;
      at = i;
    }
  }
  if (worst <= tolerance(expected, largest)) {
    return {};
  }
  return c10::str("is ", number_text(found[at].item<double>()), " instead of ",
                  number_text(right[at].item<double>()), " in element ", expected.is_complex() ? at / 2 : at,
                  " of ", expected.numel());
}

/// Compares the gradients of the checked inputs with those expected (undefined: not compared).
bool Contract::compare(const std::string& when, const Tensors& gradients, const Tensors& expected,
                       const std::string& remedy) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::string wrong = expected[i].defined() ? difference(gradients[i], expected[i]) : "";
    if (!wrong.empty()) {
      check_.fail(when, ": the gradient of ", check_.checked()[i].name, " ", wrong, remedy);
      return false;  // the others have the same cause
    }
  }
  return true;
}

/// Calls the function in another way.
void Contract::expect(const std::string& when, const Tensors& inputs, const Tensors& upstream,
                      const Tensors& expected, const std::string& remedy) {
  if (const auto error =
          exception_of([&] { compare(when, differentiate_(inputs, upstream), expected, remedy); })) {
    check_.fail(when, ": ", *error);
  }
}

/// Whether all gradients are as expected.
bool Contract::agrees(const Tensors& inputs, const Tensors& upstream, const Tensors& expected) const {
  bool equal = true;
  const auto error = exception_of([&] {
    const Tensors gradients = differentiate_(inputs, upstream);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      equal = equal && (!expected[i].defined() || difference(gradients[i], expected[i]).empty());
    }
  });
  return equal && !error;
}

/// Changes the memory of the upstream gradients and of the inputs: both together, and one after the other to
/// name the one at fault.
void Contract::expect_strides(const char* change_text, const Change& change) {
  Tensors upstream = changed_upstream(change);
  if (agrees(copies(change), upstream, expected_)) {
    return;
  }
  const std::size_t before = check_.failure_count();
  expect(c10::str("an upstream gradient ", change_text), copies({}), upstream, expected_, kStridesRemedy);
  const std::string inputs = c10::str("inputs ", change_text);
  if (const auto error = exception_of(
          [&] { compare(inputs, differentiate_(copies(change), upstream_), expected_, kStridesRemedy); })) {
    check_.warn(inputs, " are refused: ", *error);
  } else if (check_.failure_count() == before) {  // only both together are wrong
    expect(c10::str("inputs and an upstream gradient ", change_text), copies(change), upstream, expected_,
           kStridesRemedy);
  }
}

Tensors Contract::changed_upstream(const Change& change) const {
  Tensors upstream;
  for (const Tensor& gradient : upstream_) {
    upstream.push_back(gradient.defined() ? change(gradient) : gradient);
  }
  return upstream;
}

void Contract::check_strides() {
  expect_strides("transposed in memory", transposed);
  expect_strides("with gaps in memory", with_gaps);
  const auto contiguous = [](const Tensor& tensor) {
    return at::full(tensor.sizes(), kExpanded, tensor.options());
  };
  expect("an upstream gradient that is expanded (all strides are 0)", copies({}), changed_upstream(expanded),
         differentiate_(copies({}), changed_upstream(contiguous)), kStridesRemedy);
}

void Contract::check_subsets() {
  const std::size_t count = check_.checked().size();
  constexpr std::size_t kAllSubsets = 3;  // of more inputs, not all are tried
  const auto check_subset = [&](const std::vector<bool>& wanted) {
    Tensors expected = expected_;
    std::string names;
    for (std::size_t i = 0; i < count; ++i) {
      expected[i] = wanted[i] ? expected[i] : Tensor();
      names += wanted[i] ? (names.empty() ? "" : ", ") + check_.checked()[i].name : "";
    }
    expect("if only " + names + " requires a gradient", copies_requiring(wanted), upstream_, expected,
           "; see where the backward leaves out what is not needed");
  };
  // The first of many alone: frozen weights. All but the first: a first layer.
  const bool few = count <= kAllSubsets, full = options_.mode == GradcheckMode::full;
  for (std::size_t i = 0; i < (few || full ? count : 1) && count > 1; ++i) {
    std::vector<bool> wanted(count, false);
    wanted[i] = true;
    check_subset(wanted);
    if (count >= kAllSubsets) {
      wanted.flip();
      check_subset(wanted);
    }
  }
}

/// The sums in .grad of the leaves selected by `wanted` after two calls of backward(), the second with
/// `second` times the upstream gradient.
Tensors Contract::sums_of_two_calls(const GradcheckFunction& fn, const std::vector<bool>& wanted,
                                    double second) const {
  const Tensors leaves = copies({});
  const Tensors outputs = fn(leaves);
  Tensors roots, wanted_leaves;
  for (std::size_t s = 0; s < upstream_.size(); ++s) {
    if (upstream_[s].defined()) {
      roots.push_back(outputs.at(check_.layout().slots[s].output));
    }
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) {
      wanted_leaves.push_back(leaves[check_.checked()[i].index]);
    }
  }
  for (const double factor : {1.0, second}) {
    Tensors upstream;
    for (const Tensor& gradient : upstream_) {
      if (gradient.defined()) {
        upstream.push_back(gradient * factor);
      }
    }
    torch::autograd::backward(roots, upstream, /*retain_graph=*/true, /*create_graph=*/false, wanted_leaves);
  }
  Tensors sums;
  for (const CheckedInput& input : check_.checked()) {
    sums.push_back(leaves[input.index].grad());
  }
  return sums;
}

void Contract::check_accumulation(const GradcheckFunction& fn) {
  constexpr double kSecond = -0.5;
  const std::string when = "backward() for the second time";
  std::vector<bool> used;
  Tensors expected = expected_;
  for (Tensor& gradient : expected) {
    used.push_back(gradient.defined());
    gradient = gradient.defined() ? gradient * (1 + kSecond) : gradient;
  }
  const auto compare_sums = [&] {
    const Tensors sums = sums_of_two_calls(fn, used, kSecond);
    for (std::size_t i = 0; i < used.size(); ++i) {
      if (!used[i] || difference(sums[i], expected[i]).empty()) {
        continue;
      }
      // LibTorch lets two views of one gradient be the .grad of two leaves: is one leaf alone wrong, too?
      std::vector<bool> alone(used.size(), false);
      Tensors expected_alone(used.size());
      alone[i] = true;
      expected_alone[i] = expected[i];
      if (!compare(when, sums_of_two_calls(fn, alone, kSecond), expected_alone)) {
        return;
      }
    }
  };
  if (const auto error = exception_of(compare_sums)) {
    check_.fail(when, ": ", *error);
  }
}

/// All outputs are [N, …], and their row n depends on row n of the batched inputs alone.
void Contract::expect_batch(std::int64_t rows) {
  const auto& batched = options_.batched_inputs;
  const auto is_batched = [&](std::size_t input) {
    return std::find(batched.begin(), batched.end(), input) != batched.end();
  };
  Tensors inputs = copies({}), upstream = upstream_, expected = expected_;
  for (const std::size_t i : batched) {
    const Tensor values = inputs_[i].detach().narrow(0, 0, rows).clone();
    inputs[i] = values.requires_grad_(inputs_[i].requires_grad());
  }
  for (Tensor& gradient : upstream) {
    gradient = gradient.defined() ? gradient.narrow(0, 0, rows).clone() : gradient;
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].defined()) {
      expected[i] = is_batched(check_.checked()[i].index) ? expected[i].narrow(0, 0, rows)
                    : rows == 0                           ? at::zeros_like(expected[i])
                                                          : Tensor();
    }
  }
  const std::string when = c10::str("batches of ", rows, rows == 1 ? " row" : " rows");
  // Other inputs can have as many rows, such as labels.
  if (const auto error = exception_of([&] { compare(when, differentiate_(inputs, upstream), expected); })) {
    check_.warn(when, " are refused: ", *error);
  }
}

void Contract::check_batch_sizes() {
  if (!options_.batched_inputs.empty() && inputs_[options_.batched_inputs[0]].size(0) > 1) {
    expect_batch(0);
    expect_batch(1);
  }
}

/// Hu, where output k of the function is the gradient of checked input k, for a direction u in one slot: real
/// numbers per slot, empty for none.
Tensors Contract::times_hessian(std::size_t slot, const Tensor& direction) const {
  const std::vector<OutputSlot>& slots = check_.layout().slots;
  Tensors upstream(slots.size());
  if (slots[slot].differentiable) {
    upstream[slot] = from_reals(direction, slots[slot].like);
  }
  const Tensors products = differentiate_(copies({}), upstream);
  Tensors reals;
  for (const OutputSlot& other : slots) {
    const Tensor& product = products.at(other.output);
    reals.push_back(product.defined() ? reals_of(product) : at::zeros({other.length}, at::kDouble));
  }
  return reals;
}

void Contract::check_symmetry() {
  const std::vector<OutputSlot>& slots = check_.layout().slots;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(options_.seed);
  Tensors u, v;                           // directions in each slot
  std::vector<Tensors> times_u, times_v;  // H times them
  double largest = 0;
  const auto multiply = [&](std::size_t slot, Tensors& directions, std::vector<Tensors>& products) {
    directions.push_back(at::rand({slots[slot].length}, generator, at::kDouble).mul_(2).sub_(1));
    products.push_back(times_hessian(slot, directions.back()));
    for (const Tensor& product : products.back()) {
      largest = std::max(largest, largest_finite(product));
    }
  };
  const auto compare_orders = [&] {
    for (std::size_t s = 0; s < slots.size(); ++s) {
      multiply(s, u, times_u);
      multiply(s, v, times_v);
    }
    for (std::size_t a = 0; a < slots.size(); ++a) {
      for (std::size_t b = a; b < slots.size(); ++b) {
        const double first = times_u[a][b].dot(v[b]).item<double>();
        const double second = times_v[b][a].dot(u[a]).item<double>();
        const double numbers = at::maximum(u[a].abs().sum(), v[b].abs().sum()).item<double>();
        if (!(distance(first, second) <= numbers * tolerance(slots[a].like, largest))) {
          check_.fail("second derivatives depend on their order: along ",
                      check_.checked()[slots[a].output].name, " and then ",
                      check_.checked()[slots[b].output].name, " it is ", number_text(first, 9),
                      ", the other way round ", number_text(second, 9),
                      "; what the backward returns is not the gradient of any function");
          return;
        }
      }
    }
  };
  if (const auto error = exception_of(compare_orders)) {
    check_.fail("second derivatives in another order: ", *error);
  }
}

}  // namespace twingrad::gradcheck_detail
