#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/mlp/manual_shard.h"
#include "twingrad/mlp/recorded_step.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/ops/thread_pool.h"
#include "twingrad/optim/optimizer.h"
#include "twingrad/optim/options.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

/// The hand-written network: layers, loss and optimizer of this library on plain tensors. It does not use
/// autograd.
///
/// A batch is split into shards of rows, one per thread, each with separate layers and gradients. With b_s of
/// the b rows in shard s,
///
///   L = Σ_s b_s/b L_s,    ∂L/∂p = Σ_s b_s/b ∂L_s/∂p        (for the mean; for the sum without b_s/b)
///
/// and each thread updates one slice of the parameters. compute_gradients uses the same formula to process
/// a long shard in blocks. The number of shards and blocks depends only on the shapes and the number of
/// threads, so runs are reproducible bit for bit.
///
/// On a GPU there is one shard. compute_gradients and update are recorded where possible (recorded_step.h).
class ManualTwin : public Twin {
 public:
  /// initial: flat, as returned by draw_initial_parameters; options: dtype and device; pool: by default only
  /// the calling thread; threads: the number of threads of LibTorch's operations in each thread of the pool;
  /// parts: replacements for layers, loss and optimizer.
  ManualTwin(const MlpSpec& spec, const OptimizerOptions& optimizer, const at::Tensor& initial,
             const at::TensorOptions& options,
             std::shared_ptr<ThreadPool> pool = std::make_shared<ThreadPool>(1),
             const ThreadSettings& threads = {}, const ManualParts& parts = {});

  std::string name() const override { return "manual"; }
  double forward(const at::Tensor& images, const at::Tensor& labels) override;
  void backward() override;
  at::Tensor predict(const at::Tensor& images) override;
  double compute_gradients(const at::Tensor& images, const at::Tensor& labels) override;
  at::Tensor enqueue_gradients(const at::Tensor& images, const at::Tensor& labels) override;
  void update() override;
  void set_lr(double learning_rate) override;
  void train(bool training) override;
  void set_dropout_masks(const std::vector<at::Tensor>& masks) override;
  void keep_intermediate_gradients(bool /*keep*/) override {}  // always kept
  at::Tensor logits() const override;
  std::vector<NamedTensor> intermediates() const override;
  std::vector<NamedTensor> parameters() const override { return parameters_.named_values(); }
  std::vector<NamedTensor> buffers() const override { return shards_[0]->buffers(); }
  std::vector<NamedTensor> optimizer_state() const override;
  void load_optimizer_state(const std::vector<NamedTensor>& state) override;
  std::vector<at::Tensor> gradient_vectors() override;
  std::vector<NamedTensor> gradients() const override;
  std::vector<NamedTensor> kink_distances() const override;

  /// The number of shards that a batch of this many rows is split into.
  int shards_for(std::int64_t rows) const;

 private:
  /// A slice of the flat vectors and its optimizer.
  struct Slice {
    at::Tensor values;
    std::vector<at::Tensor> gradients = {};  ///< one per shard
    std::unique_ptr<optim::Optimizer> optimizer;
  };

  /// Runs each shard in use over its rows of the batch.
  void run_shards(const at::Tensor& images, const std::function<void(ManualShard&, Range)>& run);
  double loss_of_shards(const at::Tensor& labels) const;
  /// compute_gradients without the loss.
  void run_shards_in_blocks(const at::Tensor& images, const at::Tensor& labels);

  /// A tensor of the whole batch, concatenated from this many shards.
  at::Tensor joined(int shards, const std::function<at::Tensor(const ManualShard&)>& part) const;

  MlpSpec spec_;
  std::shared_ptr<ThreadPool> pool_;
  ThreadSettings threads_;
  FlatParameters parameters_;  ///< with the gradients of the first shard
  std::vector<std::unique_ptr<ManualShard>> shards_;
  int shards_in_use_ = 1;           ///< by the last batch
  std::size_t gradient_parts_ = 1;  ///< the gradient is the sum over this many shards
  int shards_with_gradients_ = 0;   ///< that keep gradients of intermediate results; 0: none does
  bool has_intermediates_ = false;  ///< whether the last step kept intermediate results
  at::Tensor logits_;               ///< of the last step if it did not
  at::Tensor logits_buffer_;
  at::Tensor labels_;  ///< of the last forward
  std::vector<Slice> slices_;
  bool counts_steps_;                       ///< whether the state of the optimizer has a step count
  double clip_norm_;                        ///< 0: no clipping
  double clip_norm_type_;                   ///< p of the norm
  std::unique_ptr<RecordedStep> recorded_;  ///< on a GPU, if possible
};

}  // namespace twingrad
