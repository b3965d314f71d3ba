#include "app/run_setup.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "app/model_file.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/weights.h"
#include "twingrad/training/run_record.h"

namespace twingrad::app {

data::Dataset load_dataset(TrainCommandOptions& options) {
  data::Dataset dataset = options.dataset == "synthetic"
                              ? data::synthetic(options.training.seed, 2000, 500, options.classes)
                              : data::load(options.dataset, options.classes);
  if (options.hold_out > 0) {
    data::hold_out(dataset, options.hold_out);
  }
  options.network.inputs = dataset.train.height * dataset.train.width;
  options.network.classes = dataset.classes;
  return dataset;
}

ThreadPlan plan_of(const TrainCommandOptions& options, std::int64_t images, int ranks) {
  if (!options.training.device.is_cpu()) {
    return {};
  }
  const std::int64_t rows = (options.training.rows_per_step(images) + ranks - 1) / ranks;
  return plan_threads(options.threads, work_of(options.network, rows, options.training.dtype), options.twins);
}

std::vector<std::unique_ptr<Twin>> make_twins(const TrainCommandOptions& options, const ThreadPlan& threads,
                                              const std::shared_ptr<ThreadPool>& workers,
                                              const ManualParts& parts) {
  const at::Tensor initial = draw_initial_parameters(options.network, options.training.seed);
  const auto tensors = at::TensorOptions(options.training.device).dtype(options.training.dtype);
  std::vector<std::unique_ptr<Twin>> twins;
  if (options.twins != Twins::manual) {
    twins.push_back(std::make_unique<AutogradTwin>(options.network, options.optimizer, initial, tensors,
                                                   threads.autograd));
  }
  if (options.twins != Twins::autograd) {
    twins.push_back(std::make_unique<ManualTwin>(options.network, options.optimizer, initial, tensors,
                                                 workers, threads.manual, parts));
  }
  return twins;
}

void initialize(const std::vector<Twin*>& twins, const std::string& option, const std::string& weights_file,
                const at::Tensor& images) {
  if (weights_file.empty()) {
    return;
  }
  const std::string where = option + " " + weights_file;
  std::vector<std::string> notes;
  const TensorFile weights = read_weights(weights_file, where, notes);
  const c10::NoGradGuard no_gradient;
  for (Twin* twin : twins) {
    load_weights(*twin, weights, where);
    twin->eval();
    require_finite_logits(twin->predict(images), where);
    twin->train();
  }
  print_notes(notes);
}

at::Tensor first_images(const data::ImageTensors& images, const at::TensorOptions& options) {
  at::Tensor rows = at::empty({0}, options);
  at::Tensor labels = at::empty({0}, options.dtype(at::kLong));
  images.gather(at::arange(std::min<std::int64_t>(images.count(), 256)), rows, labels);
  return rows;
}

}  // namespace twingrad::app
