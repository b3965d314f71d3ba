#include "twingrad/runtime/threads.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <sstream>

namespace twingrad {
namespace {

/// A function of a library that is already loaded, or nullptr.
template <typename Function>
Function* loaded_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

/// "OpenBLAS 0.3.21 NO_LAFC DYNAMIC_ARCH … MAX_THREADS=128" → "OpenBLAS 0.3.21"
std::string first_two_words(const char* config) {
  std::istringstream words(config);
  std::string name;
  std::string version;
  words >> name >> version;
  return name + " " + version;
}

/// Sets the matrix library's count and tells which library it is; returns false where it cannot be set.
bool set_blas_threads(int count, std::string& library) {
  if (auto* set = loaded_function<void(int)>("openblas_set_num_threads")) {
    auto* config = loaded_function<char*()>("openblas_get_config");
    auto* parallel = loaded_function<int()>("openblas_get_parallel");
    const int kind = parallel != nullptr ? parallel() : 0;
    library = fmt::format("{}{}", config != nullptr ? first_two_words(config()) : "OpenBLAS",
                          kind == 1   ? " (pthread)"
                          : kind == 2 ? " (OpenMP)"
                                      : "");
    set(count);
    return true;
  }
  if (auto* set = loaded_function<void(int)>("MKL_Set_Num_Threads")) {
    library = "MKL";
    set(count);
    return true;
  }
  if (auto* set = loaded_function<void(int)>("bli_thread_set_num_threads")) {
    library = "BLIS";
    set(count);
    return true;
  }
  library = "reference BLAS (slow: install libopenblas0-pthread)";
  return false;
}

}  // namespace

std::string ThreadSettings::describe() const {
  return fmt::format("{} · {} thread{} for products, {} for the rest", blas_library, blas,
                     blas == 1 ? "" : "s", aten);
}

ThreadSettings set_threads(int requested) {
  ThreadSettings settings;
  const int threads = requested > 0 ? requested : 1;
  if (set_blas_threads(threads, settings.blas_library)) {
    settings.blas = threads;
  } else {
    settings.aten = threads;
  }
  at::set_num_threads(settings.aten);
  return settings;
}

}  // namespace twingrad
