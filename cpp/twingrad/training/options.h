#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "twingrad/optim/options.h"
#include "twingrad/runtime/names.h"

namespace twingrad {

/// The options of a run, except those of network and optimizer. See training_fields() for the valid ranges.
struct TrainingOptions {
  std::int64_t epochs = 10;
  std::int64_t batch_size = 128;      ///< 0: all images in one step, in the order of the file
  std::int64_t evaluate_every = 1;    ///< epochs between two reports; the first and last are always reported
  std::int64_t compare_every = 0;     ///< steps between two comparisons; 0: at the start and at each report
  std::int64_t checkpoint_every = 0;  ///< steps between two checkpoints; 0: one at the end of each epoch
  double lr = 1e-3;                   ///< the base rate of the schedule
  ScheduleOptions schedule = {};
  std::uint64_t seed = 1;
  c10::ScalarType dtype = c10::ScalarType::Float;
  c10::Device device = c10::DeviceType::CPU;

  /// Images per step, given the number of training images. The last step of an epoch may have fewer.
  std::int64_t rows_per_step(std::int64_t images) const {
    return batch_size == 0 ? images : std::min(batch_size, images);
  }
};

const Names<c10::ScalarType>& dtypes();
const Names<c10::Device>& devices();
const FieldTable<TrainingOptions>& training_fields();

/// Throws UserError, beginning with `option`, if LibTorch cannot use the device.
void require_available(const std::string& option, c10::Device device);

}  // namespace twingrad
