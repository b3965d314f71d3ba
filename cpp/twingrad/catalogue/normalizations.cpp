#include <limits>

#include "twingrad/catalogue/cases.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/rms_norm.h"

namespace twingrad::catalogue {
namespace {

/// x, then as many as asked for of: a scale around 1, a shift, a running mean, a running variance.
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

/// A batch whose mean is ten times its spread. Further away the rounding of the mean, |μ|/σ · 6e-8 in float32,
/// would be the larger part of the result.
Case far_from_zero(const Inputs& inputs) {
  Case far = {"far from zero", inputs(5, 6)};
  far.inputs[0].div_(2).add_(10);
  return far;
}

/// ∂L/∂x̂, for the bugs: the upstream gradient behind the scale.
Tensor behind_scale(const Backward& b) { return b.grads.size() > 1 ? b.grad_y * b.inputs[1] : b.grad_y; }

/// Mean and inverse deviation along an axis, as the normalizations take them.
struct Moments {
  Tensor mean, inverse_deviation;
};

Moments moments(const Tensor& x, std::int64_t axis) {
  const Tensor mean = x.mean(axis, true);
  return {mean, ((x - mean).square().mean(axis, true) + 1e-5).rsqrt()};
}

/// What people forget when they write the backward of a normalization along an axis.
std::vector<Bug> normalization_bugs(const std::string& name, std::int64_t axis) {
  return {{name + ".statistics_as_constants", "μ and σ² depend on x too; in evaluation they would not",
           [axis](const Backward& b) {
             return with_first(b.grads, behind_scale(b) * moments(b.inputs[0], axis).inverse_deviation);
           }},
          {name + ".variance_as_constant", "the way over μ is there, the way over σ² is forgotten",
           [axis](const Backward& b) {
             const Tensor h = behind_scale(b);
             return with_first(b.grads,
                               (h - h.mean(axis, true)) * moments(b.inputs[0], axis).inverse_deviation);
           }}};
}

Entry batch_norm(const std::string& variant) {
  const bool affine_too = variant != "no_affine";
  const bool evaluates = variant == "eval";
  const bool tracks = variant != "no_statistics";
  const std::string name = "batch_norm" + (variant.empty() ? "" : "." + variant);
  const Inputs inputs = affine(affine_too, affine_too, tracks);
  const auto make = [=](const std::vector<Parameter>& p) {
    RunningStatistics statistics;
    if (tracks) {  // training moves them: copies
      statistics = {p[p.size() - 2].value.clone(), p[p.size() - 1].value.clone()};
    }
    auto layer = std::make_unique<BatchNorm1d>(affine_too ? p[0] : Parameter{},
                                               affine_too ? p[1] : Parameter{}, statistics);
    layer->train(!evaluates);
    return layer;
  };
  // In training a row alone has no spread, and two are normalized to ±1 whatever they are, so that their
  // gradient is all rounding. No rows are welcome;
  // no columns LibTorch takes only without γ.
  const Limits limits = {.rows = evaluates ? 0 : 3, .columns = affine_too ? 1 : 0};
  std::vector<Case> cases = cases_of(inputs, limits) + std::vector<Case>{far_from_zero(inputs)};
  if (evaluates) {
    cases.push_back({"infinite", inputs(2, 3), false});
    cases.back().inputs[0][0][1] = std::numeric_limits<double>::infinity();
  } else {
    cases.push_back({"no rows", inputs(0, 6)});
    cases.push_back({"three rows", inputs(3, 6)});
  }
  std::vector<Bug> bugs = normalization_bugs(name, 0);
  if (evaluates) {
    bugs = {{name + ".statistics_of_the_batch", "the backward of training, in evaluation",
             [](const Backward& b) {
               const Tensor h = behind_scale(b);
               const auto [batch_mean, inverse] = moments(b.inputs[0], 0);
               const Tensor normalized = (b.inputs[0] - batch_mean) * inverse;
               return with_first(
                   b.grads, (h - h.mean(0, true) - normalized * (h * normalized).mean(0, true)) * inverse);
             }},
            {name + ".scale_forgotten", "∂L/∂y is divided by the deviation, but not multiplied by γ",
             [](const Backward& b) { return with_first(b.grads, b.grads[0] / b.inputs[1]); }}};
  }
  return {.name = name,
          .make = [=] { return of_layer(make); },
          .reference =
              [=](const Tensors& in) {
                const Tensor weight = affine_too ? in[1] : Tensor();
                const Tensor bias = affine_too ? in[2] : Tensor();
                return at::batch_norm(in[0], weight, bias, evaluates ? in[3] : Tensor(),
                                      evaluates ? in[4] : Tensor(), !evaluates, 0.1, 1e-5, false);
              },
          .constants = tracks ? 2U : 0U,
          .cases = cases,
          .bugs = bugs};
}

Entry layer_norm(bool affine_too) {
  // Not one column: a row of one has no spread, and its gradient is all rounding; nor two (see batch_norm).
  const Inputs inputs = affine(affine_too, affine_too);
  const Limits limits = {.columns = 3};
  const std::string name = affine_too ? "layer_norm" : "layer_norm.no_affine";
  return {.name = name,
          .make =
              [=] {
                return of_layer([=](const auto& p) {
                  return std::make_unique<LayerNorm>(affine_too ? p[0] : Parameter{},
                                                     affine_too ? p[1] : Parameter{});
                });
              },
          .reference =
              [=](const Tensors& in) {
                return at::layer_norm(in[0], {in[0].size(1)}, affine_too ? in[1] : Tensor(),
                                      affine_too ? in[2] : Tensor(), 1e-5, false);
              },
          .cases = cases_of(inputs, limits) +
                   std::vector<Case>{far_from_zero(inputs), {"no columns", inputs(4, 0)}},
          .bugs = normalization_bugs(name, 1)};
}

Entry rms_norm(bool affine_too) {
  // Not one column: there y is ±γ but for ε, and the gradient is all rounding.
  const Inputs inputs = affine(affine_too, false);
  const Limits limits = {.columns = 2};
  const std::string name = affine_too ? "rms_norm" : "rms_norm.no_affine";
  return {
      .name = name,
      .make =
          [=] {
            return of_layer(
                [=](const auto& p) { return std::make_unique<RMSNorm>(affine_too ? p[0] : Parameter{}); });
          },
      .reference =
          [=](const Tensors& in) {
            const double epsilon = std::numeric_limits<double>::epsilon();
            const Tensor normalized = in[0] * (in[0].square().mean(1, true) + epsilon).rsqrt();
            return affine_too ? normalized * in[1] : normalized;
          },
      .cases =
          cases_of(inputs, limits) + std::vector<Case>{far_from_zero(inputs), {"no columns", inputs(4, 0)}},
      .bugs = {{name + ".root_as_constant", "the root mean square depends on x too",
                [](const Backward& b) {
                  return with_first(b.grads, behind_scale(b) * b.inputs[0].square().mean(1, true).rsqrt());
                }},
               {name + ".mean_subtracted", "the backward of LayerNorm, copied", [](const Backward& b) {
                  return with_first(b.grads, b.grads[0] - b.grads[0].mean(1, true));
                }}}};
}

}  // namespace

std::vector<Entry> normalization_entries() {
  return {batch_norm(""),   batch_norm("eval"), batch_norm("no_affine"), batch_norm("no_statistics"),
          layer_norm(true), layer_norm(false),  rms_norm(true),          rms_norm(false)};
}

}  // namespace twingrad::catalogue
