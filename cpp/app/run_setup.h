#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/train_options.h"
#include "twingrad/data/batches.h"
#include "twingrad/data/dataset.h"
#include "twingrad/mlp/manual_parts.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/ops/thread_pool.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::app {

/// Loads the data set that the options name, and sets the inputs and classes of the network accordingly.
data::Dataset load_dataset(TrainCommandOptions& options);

/// The threads of each twin, for a data set with this number of training images. ranks: the number of
/// processes that share each batch.
ThreadPlan plan_of(const TrainCommandOptions& options, std::int64_t images, int ranks = 1);

/// The twins that the options name, autograd first, with random weights. parts: of the manual twin.
std::vector<std::unique_ptr<Twin>> make_twins(const TrainCommandOptions& options, const ThreadPlan& threads,
                                              const std::shared_ptr<ThreadPool>& workers,
                                              const ManualParts& parts = {});

/// Copies the weights of a file into the twins. option: the option that names the file, for messages.
/// images [N, D]: throws UserError if their logits are not finite, as for a file that does not fit.
void initialize(const std::vector<Twin*>& twins, const std::string& option, const std::string& weights_file,
                const at::Tensor& images);

/// The first training images, at most 256, for initialize.
at::Tensor first_images(const data::ImageTensors& images, const at::TensorOptions& options);

}  // namespace twingrad::app
