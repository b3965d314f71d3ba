#include "twingrad/training/options.h"

#include <torch/cuda.h>

#include <limits>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/fields.h"

namespace twingrad {
namespace {

Field<TrainingOptions> batch_size_field() {
  return {"--batch-size",
          "N|full",
          {},
          "",
          "images per step; full: all images",
          [](TrainingOptions& options, const std::string& text) {
            options.batch_size = text == "full" ? 0 : parse_integer("--batch-size", text, 1, 1'000'000'000);
          },
          [](const TrainingOptions& options) {
            return options.batch_size == 0 ? nlohmann::ordered_json("full")
                                           : nlohmann::ordered_json(options.batch_size);
          }};
}

}  // namespace

const Names<c10::ScalarType>& dtypes() {
  static const Names<c10::ScalarType> names = {{"float32", c10::ScalarType::Float},
                                               {"float64", c10::ScalarType::Double}};
  return names;
}

const Names<c10::Device>& devices() {
  static const Names<c10::Device> names = {{"cpu", c10::DeviceType::CPU}, {"cuda", c10::DeviceType::CUDA}};
  return names;
}

const FieldTable<TrainingOptions>& training_fields() {
  using O = TrainingOptions;
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  // clang-format off
  static const FieldTable<O> table = {"Training", "", {
    batch_size_field(),
    integer("--epochs", &O::epochs, {1}, {}, "", "passes over the training images"),
    integer("--seed", &O::seed, {0, kLargest}, {}, "",
            "seed of the initial weights, the shuffling, dropout and synthetic data"),
    choice("--dtype", &O::dtype, dtypes(), {}, "", ""),
    choice("--device", &O::device, devices(), {}, "", ""),
    integer("--evaluate-every", &O::evaluate_every, {1}, {}, "", "epochs between two rows of the table"),
    integer("--compare-every", &O::compare_every, {1}, {}, "",
            "updates between two comparisons of the gradients; default: at the start and with each row of "
            "the table").without_default(),
    integer("--checkpoint-every", &O::checkpoint_every, {1}, {}, "",
            "updates between two checkpoints; default: one checkpoint per epoch").without_default(),
  }};
  // clang-format on
  return table;
}

void require_available(const std::string& option, c10::Device device) {
  if (device.is_cuda() && !torch::cuda::is_available()) {
    throw UserError(option, "expected a GPU that this LibTorch can use, found none", "use --device cpu");
  }
}

}  // namespace twingrad
