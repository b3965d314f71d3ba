#pragma once

#include <string>

namespace twingrad {

/// How many threads compute, and in which library.
struct ThreadSettings {
  int aten = 1;              ///< LibTorch's own pool
  int blas = 1;              ///< the pool of the matrix library
  std::string blas_library;  ///< "OpenBLAS 0.3.21 (pthread)", "MKL", …, or "reference BLAS (slow)"
  std::string describe() const;
};

/// Sets both pools together, so that no more than `requested` threads compute at a time; 0 chooses.
///
/// LibTorch and the matrix library bring a pool each. When both spin on the same cores a step takes 3 times
/// as long, on a busy machine 20 times: so only one of the two gets more than one thread, the matrix library,
/// where the time is spent. Where its count cannot be set (an unknown library), LibTorch's pool gets them.
ThreadSettings set_threads(int requested);

}  // namespace twingrad
