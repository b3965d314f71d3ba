#include "twingrad/catalogue/cases.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/mlp/torch_reference.h"

namespace twingrad::catalogue {
namespace {

/// x, and on request a scale around 1, a shift, and a running mean and variance.
Inputs affine(bool scale, bool shift, bool statistics = false) {
  return [=](std::int64_t rows, std::int64_t columns) {
    Tensors inputs = {draw({rows, columns}, 2)};
    if (scale) {
      inputs.push_back(draw({columns}) + 1);
    }
    if (shift) {
      inputs.push_back(draw({columns}));
    }
    if (statistics) {
      inputs.push_back(draw({columns}));
      inputs.push_back(draw({columns}).abs() + 0.5);
    }
    return inputs;
  };
}

/// A batch whose mean is ten times its standard deviation. Farther away, the rounding of the mean, |μ|/σ ·
/// 6e-8 in float32, would dominate the result.
Case far_from_zero(const Inputs& inputs) {
  Case far = {"far from zero", inputs(5, 6)};
  far.inputs[0].div_(2).add_(10);
  return far;
}

/// ∂L/∂x̂: the upstream gradient times the scale.
Tensor behind_scale(const Backward& b) { return b.grads.size() > 1 ? b.grad_y * b.inputs[1] : b.grad_y; }

struct Moments {
  Tensor mean, inverse_deviation;
};

Moments moments(const Tensor& x, std::int64_t axis) {
  const Tensor mean = x.mean(axis, true);
  return {mean, ((x - mean).square().mean(axis, true) + 1e-5).rsqrt()};
}

/// Terms that are easily forgotten in the backward pass of a normalization along an axis.
std::vector<Bug> normalization_bugs(const std::string& name, std::int64_t axis) {
  return {{name + ".statistics_as_constants", "in training μ and σ² depend on x too",
           [axis](const Backward& b) {
             return with_first(b.grads, behind_scale(b) * moments(b.inputs[0], axis).inverse_deviation);
           }},
          {name + ".variance_as_constant", "the term through μ is there, the term through σ² is missing",
           [axis](const Backward& b) {
             const Tensor h = behind_scale(b);
             return with_first(b.grads,
                               (h - h.mean(axis, true)) * moments(b.inputs[0], axis).inverse_deviation);
           }}};
}

FunctionEntry batch_norm(const std::string& variant) {
  const bool affine_too = variant != "no_affine";
  const bool evaluates = variant == "eval";
  const bool tracks = variant != "no_statistics";
  const std::string name = "batch_norm" + (variant.empty() ? "" : "." + variant);
  const Inputs inputs = affine(affine_too, affine_too, tracks);
  const auto make = [=](const std::vector<nn::Parameter>& p) {
    nn::RunningStatistics statistics;
    if (tracks) {  // copies, because training changes them
      statistics = {p[p.size() - 2].value.clone(), p[p.size() - 1].value.clone()};
    }
    auto layer = std::make_unique<nn::BatchNorm1d>(affine_too ? p[0] : nn::Parameter{},
                                                   affine_too ? p[1] : nn::Parameter{}, statistics);
    layer->train(!evaluates);
    return layer;
  };
  // In training, a single row has no variance, and two rows are normalized to ±1 whatever their values: their
  // gradient is rounding error only. LibTorch accepts zero columns only without γ.
  const Limits limits = {.rows = evaluates ? 0 : 3, .columns = affine_too ? 1 : 0};
  std::vector<Case> cases = cases_of(inputs, limits) + std::vector<Case>{far_from_zero(inputs)};
  std::vector<Bug> bugs = normalization_bugs(name, 0);
  if (evaluates) {
    cases.push_back({"infinite", inputs(2, 3), false});
    cases.back().inputs[0][0][1] = kInfinity;
    bugs = {{name + ".batch_statistics", "the backward pass of training is used in evaluation",
             [](const Backward& b) {
               const Tensor h = behind_scale(b);
               const auto [mean, inverse] = moments(b.inputs[0], 0);
               const Tensor normalized = (b.inputs[0] - mean) * inverse;
               return with_first(
                   b.grads, (h - h.mean(0, true) - normalized * (h * normalized).mean(0, true)) * inverse);
             }},
            {name + ".scale_forgotten", "∂L/∂y is divided by the deviation, but not multiplied by γ",
             [](const Backward& b) { return with_first(b.grads, b.grads[0] / b.inputs[1]); }}};
  } else {
    cases.push_back({"no rows", inputs(0, 6)});
    cases.push_back({"three rows", inputs(3, 6)});
    cases.push_back({"constant column", inputs(6, 4), false});
    cases.back().inputs[0].select(1, 2).fill_(7);
  }
  return {.name = name,
          .make = [=] { return of_layer(make); },
          .reference =
              [=](const Tensors& in) {
                const Tensor none;
                return at::batch_norm(in[0], affine_too ? in[1] : none, affine_too ? in[2] : none,
                                      evaluates ? in[3] : none, evaluates ? in[4] : none, !evaluates, 0.1,
                                      1e-5, false);
              },
          .constants = tracks ? 2U : 0U,
          .cases = cases,
          .bugs = bugs};
}

FunctionEntry layer_norm(bool affine_too) {
  // At least three columns, for the reason given in batch_norm.
  const Inputs inputs = affine(affine_too, affine_too);
  const std::string name = affine_too ? "layer_norm" : "layer_norm.no_affine";
  return {.name = name,
          .make = affine_too ? make_layer<nn::LayerNorm, 2>()
                             : make_layer<nn::LayerNorm>(nn::Parameter{}, nn::Parameter{}),
          .reference =
              [=](const Tensors& in) {
                return at::layer_norm(in[0], {in[0].size(1)}, affine_too ? in[1] : Tensor(),
                                      affine_too ? in[2] : Tensor(), 1e-5, false);
              },
          .cases = cases_of(inputs, {.columns = 3}) +
                   std::vector<Case>{far_from_zero(inputs), {"no columns", inputs(4, 0)}},
          .bugs = normalization_bugs(name, 1)};
}

FunctionEntry rms_norm(bool affine_too) {
  // At least two columns: in one column y is ±γ up to ε, and the gradient is rounding error only.
  const Inputs inputs = affine(affine_too, false);
  const std::string name = affine_too ? "rms_norm" : "rms_norm.no_affine";
  return {
      .name = name,
      .make = affine_too ? make_layer<nn::RMSNorm, 1>() : make_layer<nn::RMSNorm>(nn::Parameter{}),
      .reference =
          [=](const Tensors& in) { return torch_reference::rms_norm(in[0], affine_too ? in[1] : Tensor()); },
      .cases = cases_of(inputs, {.columns = 2}) +
               std::vector<Case>{far_from_zero(inputs), {"no columns", inputs(4, 0)}},
      .bugs = {
          {name + ".root_as_constant", "the root mean square depends on x too",
           [](const Backward& b) {
             return with_first(b.grads, behind_scale(b) * b.inputs[0].square().mean(1, true).rsqrt());
           }},
          {name + ".mean_subtracted", "copied from LayerNorm: RMSNorm subtracts no mean",
           [](const Backward& b) { return with_first(b.grads, b.grads[0] - b.grads[0].mean(1, true)); }}}};
}

}  // namespace

std::vector<FunctionEntry> normalization_entries() {
  return {batch_norm(""),   batch_norm("eval"), batch_norm("no_affine"), batch_norm("no_statistics"),
          layer_norm(true), layer_norm(false),  rms_norm(true),          rms_norm(false)};
}

}  // namespace twingrad::catalogue
