#include "twingrad/training/options.h"

#include <limits>

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

Field<TrainingOptions> device_field() {
  return {"--device",
          "NAME",
          {},
          "",
          "cpu or cuda",
          [](TrainingOptions& options, const std::string& text) {
            options.device = choose("--device", text, device_types());
          },
          [](const TrainingOptions& options) { return twingrad::name_of(device_types(), options.device.type()); }};
}

}  // namespace

const Names<c10::ScalarType>& dtypes() {
  static const Names<c10::ScalarType> names = {{"float32", c10::ScalarType::Float},
                                               {"float64", c10::ScalarType::Double}};
  return names;
}

const Names<c10::DeviceType>& device_types() {
  static const Names<c10::DeviceType> names = {{"cpu", c10::DeviceType::CPU},
                                               {"cuda", c10::DeviceType::CUDA}};
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
    device_field(),
    integer("--evaluate-every", &O::evaluate_every, {1}, {}, "", "epochs between two rows of the table"),
    integer("--checkpoint-every", &O::checkpoint_every, {1}, {}, "",
            "updates between two checkpoints; default: one checkpoint per epoch").without_default(),
  }};
  // clang-format on
  return table;
}

}  // namespace twingrad
