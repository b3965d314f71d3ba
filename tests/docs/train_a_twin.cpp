// The sample of docs/training.md: a manual twin in a program of its own.

#include <ATen/ATen.h>
#include <twingrad/mlp/manual_twin.h>

#include <cstdio>

/// Trains on one batch, images [N, 784] and labels [N]. Returns the loss before the last update.
double train(const at::Tensor& images, const at::Tensor& labels) {
  const twingrad::MlpSpec spec{.inputs = 784, .hidden = {128}, .classes = 10};
  twingrad::ManualTwin twin(spec, {}, twingrad::draw_initial_parameters(spec, /*seed=*/1), at::kFloat);
  double loss = 0;
  for (int step = 0; step < 50; ++step) {
    loss = twin.forward(images, labels);
    twin.backward();
    twin.update();
  }
  return loss;
}

int main() {
  at::manual_seed(1);
  const double loss = train(at::rand({64, 784}), at::randint(10, {64}, at::kLong));
  std::printf("loss %.4f\n", loss);
  return loss < 1 ? 0 : 1;  // at the start, it is about log(10) = 2.3
}
