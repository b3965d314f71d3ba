#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/data/batches.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/optim/options.h"
#include "twingrad/training/observer.h"

namespace twingrad {

struct TrainingOptions {
  std::int64_t epochs = 10;
  std::int64_t batch_size = 128;  ///< 0: all images in one step, in the order of the file
  std::int64_t evaluate_every =
      1;                 ///< epochs between two reports; the first and the last are always reported
  bool evaluate = true;  ///< on the test images, when an epoch is reported
  std::int64_t checkpoint_every = 0;  ///< steps between two checkpoints; 0: one at the end of each epoch
  double lr = 1e-3;
  ScheduleOptions schedule = {};
  std::uint64_t seed = 1;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  bool weights_are_given = false;  ///< the twins begin with weights from a file, not with drawn ones

  /// How many images a step takes of so many; the last one of an epoch may take fewer.
  std::int64_t rows_of_a_step(std::int64_t images) const {
    return batch_size == 0 ? images : std::min(batch_size, images);
  }
};

/// Trains one twin, or two in lockstep: both see the same batches in the same order, and before every update
/// both have their gradients, so that they can be compared.
///
///   for each epoch: shuffle
///     for each batch: gather → forward, backward of each twin → compare → update of each twin
class Trainer {
 public:
  /// twins: one, or two (autograd first, then manual). Two in float32 should be made, and trained, while a LibTorchProductsGuard
  /// lives: otherwise rounding parts them where an input of a ReLU is next to 0. All references have to outlive the trainer.
  Trainer(const MlpSpec& spec, const std::vector<Twin*>& twins, const data::ImageTensors& train,
          const data::ImageTensors& test, const TrainingOptions& options,
          const std::vector<TrainingObserver*>& observers);

  /// Runs all epochs that are left, or until `stop` becomes true (the step in hand is finished). from: where a run stands that
  /// is continued, with twins that are as they were then; the result is, bit for bit, that of the run without a pause. Throws
  /// CheckFailed, naming the step and the tensor, when the twins disagree before the first update or a loss or a weight is
  /// not finite.
  TrainingResult run(const std::atomic<bool>& stop, TrainingProgress from = {});

  /// Runs the test images through every twin as after an epoch, in evaluation. Returns the mean loss and the accuracy of
  /// each. Throws CheckFailed when a loss is not finite.
  struct Evaluation {
    double loss = 0;
    double accuracy = 0;
  };
  std::vector<Evaluation> evaluate();

 private:
  void run_epoch(const std::atomic<bool>& stop);
  void step(const at::Tensor& indices, bool compare);
  void prepare_step(const at::Tensor& indices);
  void check_finite(Twin& twin, double loss) const;
  void save();
  std::int64_t batch_size() const { return options_.rows_of_a_step(train_.count()); }
  /// Of the whole run, those of earlier starts included.
  double samples_done() const;
  void compare_before_first_update();
  void report_epoch();
  void report_progress();
  double seconds_since(double start) const;
  double now() const;

  const MlpSpec& spec_;
  std::vector<Twin*> twins_;
  const data::ImageTensors& train_;
  const data::ImageTensors& test_;
  TrainingOptions options_;
  std::vector<TrainingObserver*> observers_;

  at::Tensor images_, labels_;  ///< the batch in hand
  at::Tensor test_images_, test_labels_;
  bool holds_full_batch_ = false;  ///< images_ already is the whole training set
  TrainingProgress progress_;
  double run_start_ = 0;
  double samples_at_start_ = 0;  ///< of the whole run, in the epochs before this start
  double next_progress_ = 0;
};

}  // namespace twingrad
