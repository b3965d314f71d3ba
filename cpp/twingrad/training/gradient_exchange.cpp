#include "twingrad/training/gradient_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "twingrad/mlp/training_loss.h"

namespace twingrad {
namespace {

/// The numbers that are summed with the gradients: these, then the loss and the correct rows of each twin.
enum Number : std::size_t { kShare, kStop, kFailed, kResults };

std::vector<double> numbers_for(const std::vector<Twin*>& twins) {
  return std::vector<double>(kResults + 2 * twins.size());
}

}  // namespace

GradientExchange::GradientExchange(ProcessGroup& group, const MlpSpec& spec, const std::vector<Twin*>& twins)
    : group_(group), spec_(spec), twins_(twins) {
  const std::vector<NamedTensor> parameters = twins.front()->parameters();
  auto size = static_cast<std::int64_t>(numbers_for(twins).size());
  for (const auto& [name, tensor] : parameters) {
    size += static_cast<std::int64_t>(twins.size()) * tensor.numel();
  }
  buffer_ = at::zeros({size}, parameters.front().tensor.scalar_type());  // on the CPU, where Gloo needs it
}

void GradientExchange::for_each_gradient(const auto& visit) {
  const at::NoGradGuard no_grad;
  std::int64_t first = 0;
  for (Twin* twin : twins_) {
    for (at::Tensor& gradient : twin->gradient_vectors()) {
      visit(gradient, buffer_.narrow(0, first, gradient.numel()).view(gradient.sizes()));
      first += gradient.numel();
    }
  }
}

void GradientExchange::sum_buffer(std::vector<double>& numbers) {
  const auto count = static_cast<std::int64_t>(numbers.size());
  const at::Tensor as_tensor = at::from_blob(numbers.data(), {count}, at::kDouble);
  const at::Tensor part = buffer_.narrow(0, buffer_.numel() - count, count);
  part.copy_(as_tensor);
  group_.all_reduce_sum(buffer_);
  as_tensor.copy_(part);
}

bool GradientExchange::sum(const at::Tensor& labels, std::int64_t batch, bool stop,
                           std::vector<StepResult>& results) {
  const std::int64_t rows = labels.size(0);
  const bool depends_on_labels = mean_depends_on_labels(spec_);
  const double divisor =
      depends_on_labels && rows > 0 ? mean_divisor(spec_, labels) : static_cast<double>(rows);
  const double share = divisor / static_cast<double>(batch);
  const bool is_mean = spec_.reduction == nn::Reduction::mean;
  for_each_gradient([&](const at::Tensor& gradient, const at::Tensor& part) {
    if (share == 0) {  // the gradient may be that of an earlier step
      part.zero_();
    } else {
      part.copy_(gradient);
      if (is_mean) part.mul_(share);
    }
  });
  std::vector<double> numbers = numbers_for(twins_);
  numbers[kShare] = share;
  numbers[kStop] = stop ? 1 : 0;
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    numbers[kResults + 2 * i] = share * results[i].loss;
    numbers[kResults + 2 * i + 1] = static_cast<double>(results[i].correct);
  }
  sum_buffer(numbers);
  if (numbers[kFailed] > 0) {
    throw OtherRankFailed("a check failed in another process; see its message");
  }
  // Without class weights, the shares add up to 1.
  const double factor = depends_on_labels && numbers[kShare] > 0 ? 1 / numbers[kShare] : 1;
  for_each_gradient([&](at::Tensor& gradient, const at::Tensor& part) {
    gradient.copy_(part);
    if (is_mean && factor != 1) gradient.mul_(factor);
  });
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    results[i] = {factor * numbers[kResults + 2 * i], std::llround(numbers[kResults + 2 * i + 1])};
  }
  return numbers[kStop] > 0;
}

void GradientExchange::announce_failure() {
  buffer_.zero_();
  std::vector<double> numbers = numbers_for(twins_);
  numbers[kFailed] = 1;
  try {
    sum_buffer(numbers);
  } catch (const RankLost&) {  // then the others end by themselves
  }
}

}  // namespace twingrad
