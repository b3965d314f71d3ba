#include <ATen/core/grad_mode.h>

#include <memory>

#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/conventions.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_shard.h"
#include "twingrad/ops/sum_of_parts.h"

namespace twingrad::catalogue {
namespace {

constexpr int kShards = 2;

/// A small network and two batches, which shards process one after the other. A batch does not divide evenly,
/// and each shard is long enough for two blocks.
struct ShardedProblem {
  MlpSpec spec;
  Tensor parameters;
  std::vector<Tensor> images, labels;
};

ShardedProblem sharded_problem(nn::Reduction reduction) {
  const auto exact = [](const Tensor& values) { return values.to(at::kFloat).to(at::kDouble); };
  ShardedProblem problem;
  problem.spec = {.inputs = 6, .hidden = {5}, .classes = 3};
  problem.spec.activation = "tanh";
  problem.spec.reduction = reduction;
  problem.parameters = exact(draw({parameter_count(problem.spec)}, 0.5));
  for (const std::int64_t rows : {601, 527}) {
    problem.images.push_back(exact(draw({rows, 6})));
    problem.labels.push_back(draw({rows, 3}).argmax(1));
  }
  return problem;
}

void append(Tensors& results, const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& named : tensors) {
    results.push_back(named.tensor.clone());
  }
}

/// The gradients of each batch as a whole, by autograd.
Tensors whole_gradients(const ShardedProblem& problem) {
  const at::AutoGradMode with_gradients(true);
  AutogradTwin twin(problem.spec, {}, problem.parameters, at::kDouble);
  Tensors results;
  for (std::size_t i = 0; i < problem.images.size(); ++i) {
    twin.forward(problem.images[i], problem.labels[i]);
    twin.backward();
    append(results, twin.gradients());
  }
  return results;
}

/// Computes the gradient of a shard's rows of a batch.
using RunShard = std::function<void(ManualShard&, const Tensor& images, const Tensor& labels, Range rows)>;
/// Adds up the gradients of all shards; `sum` is that of the previous batch.
using AddShards = std::function<Tensor(const Tensors& parts, Tensor& sum)>;

Tensors sharded_gradients(const ShardedProblem& problem, const at::TensorOptions& options,
                          const RunShard& run, const AddShards& add) {
  FlatParameters first(problem.spec, problem.parameters, options);
  std::vector<std::unique_ptr<ManualShard>> shards;
  for (int i = 0; i < kShards; ++i) {
    shards.push_back(
        std::make_unique<ManualShard>(problem.spec, i == 0 ? first : first.with_separate_gradients()));
  }
  Tensors results;
  Tensor sum;
  for (std::size_t batch = 0; batch < problem.images.size(); ++batch) {
    const Tensor images = problem.images[batch].to(options);
    const Tensor labels = problem.labels[batch].to(options.device());
    Tensors parts;
    for (int i = 0; i < kShards; ++i) {
      ManualShard& shard = *shards[static_cast<std::size_t>(i)];
      run(shard, images, labels, part_of(images.size(0), kShards, i));
      parts.push_back(shard.parameters().gradients());
    }
    append(results, first.named_views(add(parts, sum)));
  }
  return results;
}

void run_in_blocks(ManualShard& shard, const Tensor& images, const Tensor& labels, Range rows) {
  shard.compute_gradients(images, labels, rows, at::empty({images.size(0), 3}, images.options()));
}

void run_last_block(ManualShard& shard, const Tensor& images, const Tensor& labels, Range rows) {
  const Range block = part_of(rows.size, 2, 1);
  shard.forward(images, labels, {rows.first + block.first, block.size});
  shard.backward();
}

void run_without_last_row(ManualShard& shard, const Tensor& images, const Tensor& labels, Range rows) {
  run_in_blocks(shard, images, labels, {rows.first, rows.size - 1});
}

Tensor add_parts(const Tensors& parts, Tensor& sum) { return ops::sum_of_parts(parts, sum); }

ValuesEntry shards(const std::string& name, nn::Reduction reduction) {
  const ShardedProblem problem = sharded_problem(reduction);
  const auto gradients = [=](const RunShard& run, const AddShards& add) {
    return [=](const at::TensorOptions& options) { return sharded_gradients(problem, options, run, add); };
  };
  return {.name = name,
          .oracle = "autograd",
          .values = gradients(run_in_blocks, add_parts),
          .reference = [=] { return whole_gradients(problem); },
          .has_float32 = true,
          .bugs = {{name + ".averaged", "each shard is already weighted by its rows, so the parts are added",
                    gradients(run_in_blocks, [](const Tensors& parts,
                                                Tensor& sum) { return add_parts(parts, sum) / kShards; })},
                   {name + ".last_shard_forgotten", "an index stops one too early",
                    gradients(run_in_blocks, [](const Tensors& parts, Tensor&) { return parts[0]; })},
                   {name + ".not_reset", "the gradient of the previous batch is still in the sum",
                    gradients(run_in_blocks,
                              [](const Tensors& parts, Tensor& sum) {
                                const Tensor before = sum.defined() ? sum.clone() : at::zeros_like(parts[0]);
                                Tensor fresh;
                                return sum = before + add_parts(parts, fresh);
                              })},
                   {name + ".last_block_only", "each block overwrites the gradient of the previous blocks",
                    gradients(run_last_block, add_parts)},
                   {name + ".last_row_forgotten", "the rows of a shard are rounded down",
                    gradients(run_without_last_row, add_parts)}}};
}

}  // namespace

std::vector<ValuesEntry> shard_entries() {
  restart_draws();
  return {shards("shards.mean", nn::Reduction::mean), shards("shards.sum", nn::Reduction::sum)};
}

std::vector<ValuesEntry> convention_entries() {
  return running_statistics_entries() + std::vector<ValuesEntry>{default_options(), validation()} +
         shard_entries();
}

}  // namespace twingrad::catalogue
