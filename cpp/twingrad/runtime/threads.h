#pragma once

#include <string>

namespace twingrad {

/// How many threads LibTorch's operations compute with, in its own pool and in that of the matrix library.
///
/// When both pools spin on the same cores a step takes 3 times as long, on a busy machine 20 times: at most one of the two
/// should have more than one thread.
struct ThreadSettings {
  int aten = 1;  ///< LibTorch's own pool: sums, exponentials, optimizer
  int blas = 1;  ///< the pool of the matrix library: products
  bool operator==(const ThreadSettings&) const = default;
};

/// Sets both pools. It costs next to nothing where nothing changes, so each twin calls it before it computes. Where the
/// matrix library's count cannot be set (an unknown library) it is left as it is. A first call with one thread for products
/// ends those that OpenBLAS starts by itself, until more are asked for. Not for two threads at a time.
void use_threads(const ThreadSettings& settings);

/// Takes numbers below the smallest normal one (1.2e-38 in float32) as 0, in this thread and in those that it starts from then
/// on. The running mean of a gradient that has become 0 decays into them, and some processors take ten times as long with them:
/// after some epochs Adam would take as long as the products. torch.set_flush_denormal is its name in Python.
void flush_denormal_numbers();

/// "OpenBLAS 0.3.21 (pthread)", "MKL", …, or "reference BLAS (slow …)"
std::string blas_library();

/// "AMD EPYC 9B14", as the system calls it; "unknown processor" where it does not say.
std::string processor_name();

/// The processors this process may compute on: those of its affinity mask, and no more than its control group's quota.
int available_processors();

/// The work of one training step, from which the threads follow.
struct StepWork {
  double rows = 0;        ///< of a batch
  double parameters = 0;  ///< of the network
  bool shardable = true;  ///< whether the rows of a batch can be treated apart (mlp/spec.h)
  bool float32 = true;    ///< whether that is the dtype

  /// Floating-point operations of the products: x Wᵀ, (∂L/∂y)ᵀ x and ∂L/∂y W, a multiplication and an addition for each row
  /// and weight.
  double operations() const { return 6 * rows * parameters; }
  /// How many threads, of `most`, the rows can be shared by so that each has enough to do to pay for waking it.
  int worthwhile_threads(int most) const;
};

/// Who computes with how many threads.
struct ThreadPlan {
  ThreadSettings autograd;  ///< the autograd twin
  ThreadSettings manual;    ///< the manual twin, in each of its workers
  int workers = 1;          ///< that the manual twin's step and the gathering of a batch are shared by
  /// product_library: of the manual twin, where it is not LibTorch's own (multiply.h)
  std::string describe(bool autograd_twin, bool manual_twin, const std::string& product_library) const;
};

/// Who takes part in a step: one of the twins, or both in turn, in lockstep.
enum class Twins { autograd, manual, both };

/// Chooses for the twins that take part, by the amount of work. requested bounds every count; 0: available_processors().
ThreadPlan plan_threads(int requested, const StepWork& work, Twins twins);

}  // namespace twingrad
