#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/compare/twin_comparer.h"
#include "twingrad/data/batches.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/training/observer.h"
#include "twingrad/training/options.h"
#include "twingrad/training/step_clock.h"

namespace twingrad {

class GradientExchange;
class ProcessGroup;
struct StepResult;

/// Trains one twin, or two in lockstep: both receive the same batches in the same order. Before the first
/// update, before the last of each epoch that is reported, and every `compare_every` updates, their
/// gradients are compared at the weights of the manual twin (compare/twin_comparer.h). This does not change
/// the training.
///
///   for each epoch: shuffle
///     for each batch: gather → (compare) → forward, backward, update of each twin
///
/// Several processes can train together, each on its rows of each batch. Between backward and update, they
/// sum their gradients, so that all have the same weights (gradient_exchange.h).
class Trainer {
 public:
  /// twins: one, or two (autograd first, then manual), with the same weights in all processes. All references
  /// must outlive the trainer. group: the processes that train together; by default, only this one.
  Trainer(const MlpSpec& spec, const std::vector<Twin*>& twins, const data::ImageTensors& train,
          const data::ImageTensors& test, const TrainingOptions& options,
          const std::vector<TrainingObserver*>& observers, ProcessGroup* group = nullptr);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  ~Trainer();

  /// Runs all remaining epochs, or until `stop` becomes true (the current step is finished). from: the
  /// progress of a resumed run, whose twins must have been restored; the result is bit-for-bit the same as
  /// without the interruption. Throws CheckFailed, naming the step and the tensor, if the gradients
  /// of the twins disagree or if a loss or a weight is not finite. If another process is lost, throws
  /// RankLost after asking for a checkpoint. `stop` of one process stops all after the same step.
  TrainingResult run(const std::atomic<bool>& stop, TrainingProgress from = {});

  /// Evaluates every twin on the test images, as after an epoch. Returns the mean loss and the accuracy of
  /// each. Throws CheckFailed if a loss is not finite.
  struct Evaluation {
    double loss = 0;
    double accuracy = 0;
  };
  std::vector<Evaluation> evaluate();

 private:
  void run_epoch();
  void step(const at::Tensor& indices, bool is_reported);
  void prepare_step(const at::Tensor& indices);
  /// batch: the rows of the batch of all processes.
  std::vector<StepResult> compute_gradients(std::int64_t batch);
  StepResult compute_gradients(Twin& twin, Tally& tally);
  /// Sums gradients and results over all processes.
  void exchange(std::int64_t batch, std::vector<StepResult>& results);
  bool is_stopping() const;
  void check_finite(Twin& twin, double loss) const;
  void save();
  std::int64_t batch_size() const { return options_.rows_per_step(train_.count()); }
  /// In the entire run, including the part before it was resumed.
  double samples_done() const;
  /// Compares the twins on the current batch. Returns whether there is a result.
  bool compare();
  void report_comparison(bool is_reported);
  void report(Agreement agreement);
  void report_epoch();
  void report_progress();
  void enqueue_gradients(std::size_t index, std::int64_t rows);
  /// Waits for a GPU and adds what it has counted to progress_. Throws CheckFailed if a loss is not finite.
  void read_gpu();

  const MlpSpec& spec_;
  std::vector<Twin*> twins_;
  const data::ImageTensors& train_;
  const data::ImageTensors& test_;
  TrainingOptions options_;
  std::vector<TrainingObserver*> observers_;
  std::unique_ptr<GradientExchange> exchange_;  ///< null in a single process
  const std::atomic<bool>* stop_ = nullptr;
  bool is_stopping_ = false;  ///< all processes have agreed to stop after the last step

  at::Tensor images_, labels_;  ///< the current batch
  std::vector<at::Tensor> masks_;
  std::unique_ptr<TwinComparer> comparer_;  ///< of two twins
  Agreement agreement_;                     ///< before the last update of this epoch
  at::Tensor test_images_, test_labels_;
  TestResults test_results_;       ///< of the last evaluation
  bool holds_full_batch_ = false;  ///< images_ already holds all training images
  TrainingProgress progress_;

  /// The sums of one twin on the GPU since the last read_gpu: 0-d, float64 and int64.
  struct SumsOnGpu {
    at::Tensor loss, correct;
  };
  bool is_on_gpu_;
  std::vector<SumsOnGpu> sums_on_gpu_;  ///< one per twin
  StepClock clock_;
  std::vector<double*> seconds_of_gather_;  ///< in progress_, of all twins
  double run_start_ = 0;
  double samples_at_start_ = 0;  ///< samples_done() when this process began
  double next_progress_ = 0;
};

}  // namespace twingrad
