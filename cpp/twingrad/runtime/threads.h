#pragma once

#include <string>

#include "twingrad/runtime/error.h"

namespace twingrad {

constexpr int kMaxThreads = 1024;  ///< that can be requested

/// The number of threads that LibTorch's operations and the matrix library compute with.
///
/// Two thread pools that spin on the same cores make a step 3 times slower, or 20 times on a busy machine. So
/// at most one of the two should have more than one thread.
struct ThreadSettings {
  int aten = 1;  ///< LibTorch's own operations: sums, exponentials, optimizer
  int blas = 1;  ///< matrix products in the matrix library
  bool operator==(const ThreadSettings&) const = default;
};

/// Applies the settings. Cheap if nothing changes, so each twin calls it before it computes. The number of
/// threads of an unknown matrix library is not changed. A first call with one thread for products ends the
/// threads that OpenBLAS started at load time. Throws ThreadsRefused if the system does. Not
/// thread-safe.
void use_threads(const ThreadSettings& settings);

/// Flushes denormal numbers (below 1.2e-38 in float32) to 0 in this thread and in threads that it starts
/// later, as torch.set_flush_denormal does in Python. The running mean of a gradient that has become 0 decays
/// to denormal numbers, which are ten times slower on some processors: after a few epochs Adam would take as
/// long as the matrix products.
void flush_denormal_numbers();

/// "OpenBLAS 0.3.21 (pthread)", "MKL", …, or "reference BLAS (slow …)"
std::string blas_library();

/// The processor's model name, "AMD EPYC 9B14", or "unknown processor".
std::string processor_name();

/// The number of processors that this process may use: the size of its affinity mask, limited by the CPU
/// quota of its control groups.
int available_processors();

/// The number of threads if none is requested: OMP_NUM_THREADS if it is a number from 1 to kMaxThreads, else
/// available_processors().
int default_threads();

/// The system refuses threads, or the address space that they need. OpenBLAS may be waiting for it in threads
/// that it started before main, and its exit handler waits for these: end the program by std::_Exit.
class ThreadsRefused : public UserError {
 public:
  /// what: "2 more threads"
  explicit ThreadsRefused(const std::string& what);
};

/// The amount of work in one training step, which determines the number of threads.
struct StepWork {
  double rows = 0;        ///< batch size
  double parameters = 0;  ///< of the network
  bool shardable = true;  ///< whether the rows of a batch are independent (mlp/spec.h)
  bool float32 = true;    ///< whether the dtype is float32

  /// Floating-point operations of the products x Wᵀ, (∂L/∂y)ᵀ x and ∂L/∂y W, each with one multiplication and
  /// one addition per row and weight.
  double operations() const { return 6 * rows * parameters; }
  /// The number of threads, at most `most`, for which splitting the rows is faster.
  int worthwhile_threads(int most) const;
};

/// The threads of each twin.
struct ThreadPlan {
  ThreadSettings autograd;  ///< the autograd twin
  ThreadSettings manual;    ///< the manual twin, in each of its pool threads
  int workers = 1;          ///< pool threads that share the manual twin's step and the gathering of batches
  /// product_library: the manual twin's, if it differs from LibTorch's (ops/matmul.h)
  std::string describe(bool autograd_twin, bool manual_twin, const std::string& product_library) const;
};

/// The twins that take part in a step: one of them, or both in lockstep.
enum class Twins { autograd, manual, both };

/// Chooses the threads for these twins by the amount of work. `requested` limits every count; 0 means
/// default_threads(). The plan depends only on the arguments, which keeps runs bitwise reproducible.
ThreadPlan plan_threads(int requested, const StepWork& work, Twins twins);

}  // namespace twingrad
