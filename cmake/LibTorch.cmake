# Finds LibTorch by Torch_DIR or CMAKE_PREFIX_PATH, in the system, or in a Python wheel. Provides the target
# `torch` and prints the version found, or how to get LibTorch.
if(NOT TARGET torch)
  find_package(Torch QUIET)
  if(NOT Torch_FOUND)
    find_program(TWINGRAD_PYTHON NAMES python3 python)
    if(TWINGRAD_PYTHON)
      execute_process(COMMAND ${TWINGRAD_PYTHON} -c "import torch; print(torch.utils.cmake_prefix_path)"
                      OUTPUT_VARIABLE wheel_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(wheel_prefix)
        find_package(Torch QUIET PATHS ${wheel_prefix})
      endif()
    endif()
  endif()
  if(NOT Torch_FOUND)
    message(FATAL_ERROR "LibTorch: not found. "
                        "On Debian: sudo apt-get install libtorch-dev libopenblas0-pthread. "
                        "Elsewhere: unpack LibTorch, or pip install torch, and pass "
                        "-DCMAKE_PREFIX_PATH=<its directory>.")
  endif()
endif()
message(STATUS "LibTorch: ${Torch_VERSION} in ${TORCH_INSTALL_PREFIX}")
