#include "twingrad/training/gradient_exchange.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <barrier>
#include <functional>
#include <thread>

#include "twingrad/mlp/manual_twin.h"

namespace twingrad::gradient_exchange_test {

/// Ranks that are threads of this process.
class ThreadGroup final : public ProcessGroup {
 public:
  struct Shared {
    explicit Shared(int size) : barrier(size), parts(static_cast<std::size_t>(size)) {}
    std::barrier<> barrier;
    std::vector<at::Tensor> parts;
  };
  ThreadGroup(Shared& shared, int rank) : shared_(shared), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(shared_.parts.size()); }
  void all_reduce_sum(at::Tensor& tensor) override {
    shared_.parts[static_cast<std::size_t>(rank_)] = tensor.clone();
    barrier();
    tensor.zero_();
    for (const at::Tensor& part : shared_.parts) {
      tensor.add_(part);
    }
    barrier();
  }
  void broadcast(at::Tensor& /*tensor*/) override {}
  void barrier() override { shared_.barrier.arrive_and_wait(); }

 private:
  Shared& shared_;
  int rank_;
};

/// Calls run(exchange, twin, rank) in two threads, each with a twin of the same weights.
void run_two(const std::function<void(GradientExchange&, ManualTwin&, int)>& run) {
  const MlpSpec spec{.inputs = 3, .hidden = {4}, .classes = 2};
  ThreadGroup::Shared shared(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadGroup group(shared, rank);
      ManualTwin twin(spec, {}, draw_initial_parameters(spec, 1), at::kDouble);
      GradientExchange exchange(group, spec, {&twin});
      run(exchange, twin, rank);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

std::vector<StepResult> compute(ManualTwin& twin, std::int64_t rows) {
  return {{twin.compute_gradients(at::ones({rows, 3}, at::kDouble), at::zeros({rows}, at::kLong)), rows}};
}

TEST(GradientExchange, WeighsEachRankByItsRows) {
  run_two([](GradientExchange& exchange, ManualTwin& twin, int rank) {
    const Range rows = exchange.rows_of(5);
    EXPECT_EQ(rows.first, rank == 0 ? 0 : 3);
    EXPECT_EQ(rows.size, rank == 0 ? 3 : 2);
    std::vector<StepResult> results = compute(twin, rows.size);
    const at::Tensor before = twin.gradient_vectors().front().clone();
    const double loss = results[0].loss;
    results[0].loss += rank;  // as if its rows had a larger loss
    twin.gradient_vectors().front().add_(rank);
    EXPECT_FALSE(exchange.sum(at::zeros({rows.size}, at::kLong), 5, false, results));
    EXPECT_NEAR(results[0].loss, loss + 2.0 / 5, 1e-15);
    EXPECT_EQ(results[0].correct, 5);
    EXPECT_TRUE(twin.gradient_vectors().front().allclose(before + 2.0 / 5, 1e-14, 1e-14));
  });
}

TEST(GradientExchange, IgnoresTheGradientsOfARankWithoutRows) {
  run_two([](GradientExchange& exchange, ManualTwin& twin, int rank) {
    std::vector<StepResult> results = compute(twin, 1);
    const at::Tensor before = twin.gradient_vectors().front().clone();
    if (rank == 1) {
      twin.gradient_vectors().front().fill_(std::nan(""));
      results = std::vector<StepResult>(1);
    }
    exchange.sum(at::zeros({1 - rank}, at::kLong), 1, false, results);
    EXPECT_TRUE(twin.gradient_vectors().front().equal(before));
    EXPECT_EQ(results[0].correct, 1);
  });
}

TEST(GradientExchange, StopsAllIfOneStops) {
  run_two([](GradientExchange& exchange, ManualTwin& twin, int rank) {
    std::vector<StepResult> results = compute(twin, 1);
    EXPECT_TRUE(exchange.sum(at::zeros({1}, at::kLong), 2, rank == 1, results));
  });
}

TEST(GradientExchange, EndsAllIfOneAnnouncesAFailure) {
  run_two([](GradientExchange& exchange, ManualTwin& twin, int rank) {
    std::vector<StepResult> results = compute(twin, 1);
    if (rank == 1) {
      exchange.announce_failure();
    } else {
      EXPECT_THROW(exchange.sum(at::zeros({1}, at::kLong), 2, false, results), OtherRankFailed);
    }
  });
}

}  // namespace twingrad::gradient_exchange_test
