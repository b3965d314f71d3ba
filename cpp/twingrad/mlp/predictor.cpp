#include "twingrad/mlp/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

/// A number in the metadata, or 0 if it is missing.
std::int64_t number_in(const TensorFile& file, const std::string& name) {
  const auto found = file.metadata.find(name);
  return found == file.metadata.end() ? 0 : std::strtoll(found->second.c_str(), nullptr, 10);
}

/// The properties of a network that the shapes of its weights do not determine.
auto kind_of_network(const MlpSpec& spec) {
  return std::tuple(spec.activation, spec.normalization, spec.normalization_statistics, spec.residual,
                    spec.loss);
}

std::vector<double> to_vector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

}  // namespace

Predictor::Predictor(const std::filesystem::path& autograd, const std::filesystem::path& manual,
                     const std::string& activation)
    : autograd_file_(autograd.string()), manual_file_(manual.string()) {
  const TensorFile file = read_weights(manual, manual.string(), notes_);
  const TensorFile other = autograd == manual ? file : read_weights(autograd, autograd.string(), notes_);
  spec_ = network_of(file, manual.string(), activation);
  if (kind_of_network(network_of(other, autograd.string(), activation)) != kind_of_network(spec_)) {
    throw UserError(autograd.string(), "expected the network of " + manual.string() + ", found another",
                    "choose two files of the same run");
  }
  const bool is_double = std::any_of(file.tensors.begin(), file.tensors.end(), [](const NamedTensor& named) {
    return named.tensor.scalar_type() == at::kDouble;
  });
  dtype_ = is_double ? at::kDouble : at::kFloat;
  height_ = number_in(file, kImageHeight);
  width_ = number_in(file, kImageWidth);
  if (height_ < 1 || width_ < 1 || spec_.inputs / height_ != width_ || spec_.inputs % height_ != 0) {
    height_ = width_ = std::llround(std::sqrt(static_cast<double>(spec_.inputs)));
  }
  if (height_ * width_ != spec_.inputs) {
    throw UserError(
        manual.string(),
        fmt::format("expected a network for square images, found one with {} inputs", spec_.inputs),
        "use weights written by twingrad, which include height and width");
  }
  if (const auto found = file.metadata.find(kDataset); found != file.metadata.end()) {
    dataset_ = found->second;
  }
  const at::Tensor initial = at::zeros({parameter_count(spec_)}, at::kDouble);
  autograd_ = std::make_unique<AutogradTwin>(spec_, OptimizerOptions(), initial, dtype_);
  manual_ = std::make_unique<ManualTwin>(spec_, OptimizerOptions(), initial, dtype_);
  load_weights(*autograd_, other, autograd.string());
  load_weights(*manual_, file, manual.string());
  autograd_->eval();
  manual_->eval();
}

std::size_t Predictor::Prediction::most_likely() const {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<Predictor::Predictions> Predictor::predict(const std::vector<GreyImage>& images) {
  if (images.empty()) {
    return {};
  }
  at::Tensor pixels = at::empty({std::ssize(images), spec_.inputs}, at::kByte);
  for (std::size_t i = 0; i < images.size(); ++i) {
    std::copy(images[i].pixels.begin(), images[i].pixels.end(),
              pixels.data_ptr<std::uint8_t>() + static_cast<std::int64_t>(i) * spec_.inputs);
  }
  const at::Tensor input = pixels.to(at::kDouble).div(255).to(dtype_);
  const at::Tensor autograd = autograd_->predict(input).to(at::kDouble);
  const at::Tensor manual = manual_->predict(input).to(at::kDouble);
  require_finite_logits(autograd, autograd_file_);
  require_finite_logits(manual, manual_file_);
  const bool is_sigmoid = spec_.loss == LossKind::bce_with_logits;
  std::vector<Predictions> predictions;
  for (std::int64_t row = 0; row < std::ssize(images); ++row) {
    const auto prediction = [&](const at::Tensor& logits) -> Prediction {
      return {to_vector(logits[row]), to_vector(is_sigmoid ? logits[row].sigmoid() : logits[row].softmax(0))};
    };
    predictions.push_back({prediction(autograd), prediction(manual)});
  }
  return predictions;
}

}  // namespace twingrad
