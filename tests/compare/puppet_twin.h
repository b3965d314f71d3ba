#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/mlp/twin.h"

namespace twingrad::testing {

/// A twin without a network. A test scripts what it returns and reads what it was asked to do.
class PuppetTwin : public Twin {
 public:
  using Tensors = std::vector<NamedTensor>;

  explicit PuppetTwin(std::string twin) : name_(std::move(twin)) {}

  std::string name() const override { return name_; }
  double forward(const at::Tensor& images, const at::Tensor& labels) override {
    return begin("forward", images, labels);
  }
  at::Tensor predict(const at::Tensor& images) override {
    begin("predict", images, at::zeros({images.size(0)}, at::kLong));
    return logits();
  }
  void backward() override {
    calls.emplace_back(keeps ? "backward" : "backward without intermediate gradients");
    on_backward();
  }
  double compute_gradients(const at::Tensor& images, const at::Tensor& labels) override {
    seconds_in_forward_ = of_forward;
    on_compute();
    return begin("compute", images, labels);
  }
  void update() override {
    calls.emplace_back("update");
    on_update();
  }
  void set_lr(double lr) override { rates.push_back(lr); }
  void train(bool on = true) override { calls.emplace_back(on ? "train" : "eval"); }
  void set_dropout_masks(const std::vector<at::Tensor>& masks) override {
    calls.emplace_back("masks");
    masks_seen.push_back(masks);
  }
  void keep_intermediate_gradients(bool keep) override { keeps = keep; }
  at::Tensor logits() const override { return logits_of(labels_seen.back()); }
  Tensors intermediates() const override { return results; }
  Tensors parameters() const override { return weights; }
  Tensors buffers() const override { return statistics; }
  Tensors optimizer_state() const override { return state; }
  void load_optimizer_state(const Tensors& loaded) override {
    calls.emplace_back("load state");
    for (std::size_t i = 0; i < std::min(state.size(), loaded.size()); ++i) {
      state[i].tensor.copy_(loaded[i].tensor);
    }
  }
  Tensors gradients() const override { return gradient; }
  std::vector<at::Tensor> gradient_vectors() override { return {}; }
  Tensors kink_distances() const override { return distances_of(images_seen.back()); }
  std::string describe_layer(const std::string& layer) const override {
    const auto found = descriptions.find(layer);
    return found == descriptions.end() ? "" : found->second;
  }
  std::unique_ptr<Twin> in_float64() const override { return make_reference(); }
  bool simulate_rounding(double epsilon, std::uint64_t seed) override {
    simulations.emplace_back(epsilon, seed);
    return simulates;
  }
  std::map<std::string, double> local_rounding_errors() const override { return local_errors; }
  double normalization_noise() const override { return of_normalization; }

  // What it returns and does.
  Tensors weights, statistics, state, gradient, results;
  std::function<double(const at::Tensor& images, const at::Tensor& labels)> loss_of =
      [](const at::Tensor&, const at::Tensor&) { return 0.; };
  std::function<at::Tensor(const at::Tensor& labels)> logits_of;
  std::function<Tensors(const at::Tensor& images)> distances_of = [](const at::Tensor&) { return Tensors(); };
  std::function<std::unique_ptr<Twin>()> make_reference = [] { return nullptr; };
  std::function<void()> on_backward = [] {}, on_compute = [] {}, on_update = [] {};
  std::map<std::string, std::string> descriptions;
  double of_forward = 0;  ///< seconds_in_forward
  bool simulates = false;
  std::map<std::string, double> local_errors;
  double of_normalization = 0;

  // What it was asked.
  std::vector<std::string> calls;
  std::vector<at::Tensor> images_seen, labels_seen;
  std::vector<std::vector<at::Tensor>> masks_seen;
  std::vector<double> rates;
  std::vector<std::pair<double, std::uint64_t>> simulations;
  bool keeps = false;

 private:
  double begin(const std::string& call, const at::Tensor& images, const at::Tensor& labels) {
    calls.push_back(call + " " + std::to_string(images.size(0)));
    images_seen.push_back(images.clone());
    labels_seen.push_back(labels.clone());
    return loss_of(images, labels);
  }

  std::string name_;
};

}  // namespace twingrad::testing
