#include "twingrad/mlp/predictor.h"

#include <fmt/format.h>

#include <cmath>

#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

/// A number in the metadata, or 0.
std::int64_t number_in(const TensorFile& file, const std::string& name) {
  const auto found = file.metadata.find(name);
  return found == file.metadata.end() ? 0 : std::strtoll(found->second.c_str(), nullptr, 10);
}

}  // namespace

Predictor::Predictor(const std::filesystem::path& autograd, const std::filesystem::path& manual,
                     const std::string& activation) {
  const TensorFile file = read_tensor_file(manual);
  const TensorFile other = autograd == manual ? file : read_tensor_file(autograd);
  spec_ = network_of(file, manual.string(), activation);
  dtype_ = file.tensors.front().tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  height_ = number_in(file, kImageHeight);
  width_ = number_in(file, kImageWidth);
  if (height_ < 1 || width_ < 1 || spec_.inputs / height_ != width_ || spec_.inputs % height_ != 0) {
    height_ = width_ = std::llround(std::sqrt(static_cast<double>(spec_.inputs)));
  }
  if (height_ * width_ != spec_.inputs) {
    throw UserError(
        manual.string(),
        fmt::format("expected a network for square images, found one with {} inputs", spec_.inputs),
        "name weights that twingrad has written, which tell height and width");
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

Predictor::Answers Predictor::predict(const at::Tensor& images) {
  const at::Tensor input = images.to(dtype_);
  const auto answer = [&](Twin& twin) -> Answer {
    const at::Tensor logits = twin.predict(input).to(at::kDouble);
    return {logits, spec_.loss == LossKind::bce_with_logits ? logits.sigmoid() : logits.softmax(1)};
  };
  return {answer(*autograd_), answer(*manual_)};
}

}  // namespace twingrad
