#include <ATen/ATen.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "twingrad/gradcheck/gradcheck.h"

// Times a check of log_softmax(relu(x W1 + b1) W2 + b2), float64, N, D, H, C = 16, 64, 48, 10. For each line
// "full" or "fast" on standard input, runs one check and prints its time in seconds.
// tests/python/gradcheck_benchmark.py runs this program and times Python's gradcheck of the same function
// between the repeats.
namespace {

at::Tensor parameter(at::IntArrayRef shape, double size) {
  return (at::randn(shape, at::kDouble) * size).requires_grad_();
}

std::vector<at::Tensor> classifier(const std::vector<at::Tensor>& in) {
  const at::Tensor hidden = at::relu(at::matmul(in[0], in[1]) + in[2]);
  return {at::log_softmax(at::matmul(hidden, in[3]) + in[4], 1)};
}

}  // namespace

int main() {
  at::manual_seed(1);
  const std::vector<at::Tensor> inputs = {parameter({16, 64}, 1), parameter({64, 48}, 0.1),
                                          parameter({48}, 0.1), parameter({48, 10}, 0.1),
                                          parameter({10}, 0.1)};
  for (std::string mode; std::getline(std::cin, mode);) {
    twingrad::GradcheckOptions options;
    options.mode = mode == "fast" ? twingrad::GradcheckMode::fast : twingrad::GradcheckMode::full;
    const auto start = std::chrono::steady_clock::now();
    const twingrad::GradcheckResult result = twingrad::gradcheck(classifier, inputs, options);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (!result) {
      std::fputs(result.to_string().c_str(), stderr);
      return 1;
    }
    std::printf("%.6f\n", time.count());
    std::fflush(stdout);
  }
}
