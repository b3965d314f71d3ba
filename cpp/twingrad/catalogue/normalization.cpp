#include <torch/nn/functional.h>

#include <limits>

#include "twingrad/catalogue/entry.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/bias.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/residual.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/layers/tanh.h"

namespace twingrad::catalogue {
namespace {

constexpr std::int64_t kColumns = 6;

/// x, a scale around 1 and a shift. Where rows meet there are at least three: one has no spread, and two are normalized
/// to ±1 whatever they are, so that their gradient is all rounding.
std::vector<Case> affine_cases(bool rows_meet) {
  std::vector<Case> cases = {
      {"random", {draw({5, kColumns}, 2), draw({kColumns}) + 1, draw({kColumns})}},
      {"three rows", {draw({3, kColumns}, 2), draw({kColumns}) + 1, draw({kColumns})}},
      {"far from zero", {draw({5, kColumns}) + 30, draw({kColumns}) + 1, draw({kColumns})}},
      {"not contiguous", {draw({kColumns, 4}, 2).t(), draw({kColumns}) + 1, draw({kColumns})}}};
  if (!rows_meet) {
    cases.push_back({"one row", {draw({1, kColumns}, 2), draw({kColumns}) + 1, draw({kColumns})}});
  }
  return cases;
}

/// The same without the shift, or without both.
std::vector<Case> with_inputs(std::vector<Case> cases, std::size_t count) {
  for (Case& at : cases) {
    at.inputs.resize(count);
  }
  return cases;
}

/// ∂L/∂x̂, for the bugs: the upstream gradient behind the scale.
Tensor behind_scale(const Backward& b) { return b.inputs.size() > 1 ? b.grad_y * b.inputs[1] : b.grad_y; }

/// Mean and inverse deviation along an axis, as the normalizations take them.
struct Moments {
  Tensor mean, inverse_deviation;
};

Moments moments(const Tensor& x, std::int64_t axis) {
  const Tensor mean = x.mean(axis, true);
  return {mean, ((x - mean).square().mean(axis, true) + 1e-5).rsqrt()};
}

Tensors with_first(const Tensors& grads, const Tensor& first) {
  Tensors changed = grads;
  changed[0] = first;
  return changed;
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

// ---- Bias, log-softmax, dropout, residual --------------------------------------------------------------------------

Entry add_bias() {
  return {.name = "bias",
          .make = [] { return of_layer([](const auto& p) { return std::make_unique<AddBias>(p[0]); }); },
          .reference = [](const Tensors& in) { return in[0] + in[1]; },
          .cases = {{"random", {draw({5, 3}), draw({3})}},
                    {"one row", {draw({1, 3}), draw({3})}},
                    {"no rows", {draw({0, 3}), draw({3})}}},
          .bugs = {{"bias.of_one_row", "broadcasting copied b to every row; each copy sends a gradient back",
                    [](const Backward& b) {
                      return Tensors{b.grads[0], b.grad_y.size(0) > 0 ? b.grad_y[0].clone() : b.grads[1]};
                    }},
                   {"bias.averaged", "the mean over the rows in place of the sum", [](const Backward& b) {
                      return Tensors{b.grads[0], b.grads[1] / std::max<std::int64_t>(1, b.grad_y.size(0))};
                    }}}};
}

Entry log_softmax() {
  const Tensor saturated = at::tensor({1e4, -1e4, 0., -1e4, -1e4, -1e4}).to(at::kDouble).view({2, 3});
  return {.name = "log_softmax",
          .make = [] { return of_layer([](const auto&) { return std::make_unique<LogSoftmax>(); }); },
          .reference = [](const Tensors& in) { return torch::log_softmax(in[0], 1); },
          .cases = {{"random", {draw({5, 6}, 2)}},
                    {"one row", {draw({1, 6}, 2)}},
                    {"one column", {draw({4, 1}, 2)}},
                    {"no rows", {draw({0, 6})}},
                    {"saturated", {saturated}, false}},
          .bugs = {{"log_softmax.softmax_forgotten", "only the numerator is differentiated",
                    [](const Backward& b) { return Tensors{b.grad_y.clone()}; }},
                   {"log_softmax.softmax_derivative", "the derivative of softmax, applied to its logarithm",
                    [](const Backward& b) {
                      const Tensor p = b.y.exp();
                      return Tensors{p * (b.grad_y - (b.grad_y * p).sum(1, true))};
                    }}}};
}

Entry dropout(bool training) {
  constexpr double kP = 0.3;
  const std::string name = training ? "dropout" : "dropout.eval";
  const Tensor mask = draw({5, 6}) > -0.5;
  return {
      .name = name,
      .make =
          [=] {
            return of_layer([=](const auto&) {
              auto layer = std::make_unique<Dropout>(kP);
              layer->set_mask(mask);
              layer->set_training(training);
              return layer;
            });
          },
      .reference = [=](const Tensors& in) { return training ? in[0] * mask / (1 - kP) : in[0] * 1; },
      .cases = {{"random", {draw({5, 6})}}},
      .bugs = {{name + ".mask_forgotten", "the gradient of a dropped entry is dropped too, in training alone",
                [=](const Backward& b) { return Tensors{training ? b.grad_y / (1 - kP) : b.grad_y * mask}; }},
               {name + (training ? ".scale_forgotten" : ".scale_in_evaluation"),
                training ? "1/(1 − p) belongs to the backward too"
                         : "the scale of training stays switched on",
                [=](const Backward& b) {
                  return Tensors{training ? b.grad_y * mask : b.grad_y / (1 - kP)};
                }}}};
}

Entry residual() {
  return {
      .name = "residual",
      .make =
          [] {
            return of_layer([](const std::vector<Parameter>& p) {
              std::vector<std::unique_ptr<Layer>> branch;
              branch.push_back(std::make_unique<Linear>(p[0], p[1]));
              branch.push_back(std::make_unique<Tanh>());
              return std::make_unique<Residual>(std::move(branch));
            });
          },
      .reference = [](const Tensors& in) { return in[0] + torch::tanh(torch::linear(in[0], in[1], in[2])); },
      .cases = {{"random", {draw({5, 4}), draw({4, 4}), draw({4})}},
                {"one row", {draw({1, 4}), draw({4, 4}), draw({4})}}},
      .bugs = {{"residual.path_forgotten", "x goes two ways: the gradient of the straight one is lost",
                [](const Backward& b) { return with_first(b.grads, b.grads[0] - b.grad_y); }},
               {"residual.branch_forgotten", "the gradient is overwritten where it should be added",
                [](const Backward& b) { return with_first(b.grads, b.grad_y.clone()); }}}};
}

// ---- Normalizations ------------------------------------------------------------------------------------------------

Entry batch_norm(const std::string& variant) {
  const bool affine = variant != "no_affine";
  const bool evaluates = variant == "eval";
  const bool tracks = variant != "no_statistics";
  const std::string name = "batch_norm" + (variant.empty() ? "" : "." + variant);
  const Tensor mean = draw({kColumns});
  const Tensor variance = draw({kColumns}).abs() + 0.5;
  const auto make = [=](const std::vector<Parameter>& p) {
    RunningStatistics statistics;
    if (tracks) {
      // The dtype of a case without parameters shows in its input alone, so the statistics stay untouched there.
      const at::ScalarType dtype = p.empty() ? at::kDouble : p[0].value.scalar_type();
      statistics = {mean.to(dtype, false, true), variance.to(dtype, false, true)};
    }
    if (p.empty()) {
      statistics = {};
    }
    auto layer =
        std::make_unique<BatchNorm1d>(affine ? p[0] : Parameter{}, affine ? p[1] : Parameter{}, statistics);
    layer->set_training(!evaluates);
    return layer;
  };
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
                const Tensor weight = affine ? in[1] : Tensor();
                const Tensor bias = affine ? in[2] : Tensor();
                return torch::batch_norm(in[0], weight, bias, evaluates ? mean.clone() : Tensor(),
                                         evaluates ? variance.clone() : Tensor(), !evaluates, 0.1, 1e-5,
                                         false);
              },
          .cases = with_inputs(affine_cases(!evaluates), affine ? 3 : 1),
          .bugs = bugs};
}

Entry layer_norm(bool affine) {
  const std::string name = affine ? "layer_norm" : "layer_norm.no_affine";
  return {.name = name,
          .make =
              [=] {
                return of_layer([=](const auto& p) {
                  return std::make_unique<LayerNorm>(affine ? p[0] : Parameter{},
                                                     affine ? p[1] : Parameter{});
                });
              },
          .reference =
              [=](const Tensors& in) {
                return torch::layer_norm(in[0], {kColumns}, affine ? in[1] : Tensor(),
                                         affine ? in[2] : Tensor(), 1e-5, false);
              },
          .cases = with_inputs(affine_cases(false), affine ? 3 : 1),
          .bugs = normalization_bugs(name, 1)};
}

Entry rms_norm(bool affine) {
  const std::string name = affine ? "rms_norm" : "rms_norm.no_affine";
  return {.name = name,
          .make =
              [=] {
                return of_layer(
                    [=](const auto& p) { return std::make_unique<RMSNorm>(affine ? p[0] : Parameter{}); });
              },
          .reference =
              [=](const Tensors& in) {
                const double epsilon = std::numeric_limits<double>::epsilon();
                const Tensor normalized = in[0] * (in[0].square().mean(1, true) + epsilon).rsqrt();
                return affine ? normalized * in[1] : normalized;
              },
          .cases = with_inputs(affine_cases(false), affine ? 2 : 1),
          .bugs = {{name + ".root_as_constant", "the root mean square depends on x too",
                    [](const Backward& b) {
                      return with_first(b.grads,
                                        behind_scale(b) * b.inputs[0].square().mean(1, true).rsqrt());
                    }},
                   {name + ".mean_subtracted", "the backward of LayerNorm, copied", [](const Backward& b) {
                      return with_first(b.grads, b.grads[0] - b.grads[0].mean(1, true));
                    }}}};
}

}  // namespace

std::vector<Entry> more_layer_entries() {
  return {add_bias(),
          log_softmax(),
          dropout(true),
          dropout(false),
          residual(),
          batch_norm(""),
          batch_norm("eval"),
          batch_norm("no_affine"),
          batch_norm("no_statistics"),
          layer_norm(true),
          layer_norm(false),
          rms_norm(true),
          rms_norm(false)};
}

}  // namespace twingrad::catalogue
