#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "twingrad/gradcheck/gradcheck.h"

// Times a check of log_softmax(relu(x W1 + b1) W2 + b2), float64, N, D, H, C = 16, 64, 48, 10. One repeat for
// each line on standard input, "full" or "fast"; answers with its seconds.
// tests/python/gradcheck_benchmark.py drives it and times Python's gradcheck of the same in between.
namespace {

torch::Tensor parameter(at::IntArrayRef shape, double size) {
  return (torch::randn(shape, torch::kDouble) * size).requires_grad_();
}

std::vector<torch::Tensor> classifier(const std::vector<torch::Tensor>& in) {
  const torch::Tensor hidden = torch::relu(torch::matmul(in[0], in[1]) + in[2]);
  return {torch::log_softmax(torch::matmul(hidden, in[3]) + in[4], 1)};
}

}  // namespace

int main() {
  torch::manual_seed(1);
  const std::vector<torch::Tensor> inputs = {parameter({16, 64}, 1), parameter({64, 48}, 0.1),
                                             parameter({48}, 0.1), parameter({48, 10}, 0.1),
                                             parameter({10}, 0.1)};
  for (std::string mode; std::getline(std::cin, mode);) {
    twingrad::Options options;
    options.mode = mode == "fast" ? twingrad::Mode::fast : twingrad::Mode::full;
    const auto start = std::chrono::steady_clock::now();
    const twingrad::Verdict verdict = twingrad::gradcheck(classifier, inputs, options);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (!verdict) {
      std::fputs(verdict.to_string().c_str(), stderr);
      return 1;
    }
    std::printf("%.6f\n", time.count());
    std::fflush(stdout);
  }
}
