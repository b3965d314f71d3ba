#include <torch/nn/functional.h>

#include <limits>

#include "twingrad/catalogue/cases.h"
#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/l1_loss.h"
#include "twingrad/losses/log_likelihood_loss.h"
#include "twingrad/losses/mse_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"

// The inputs of a loss are the input, the target, and weights if it has any; all but the first are constants.

namespace twingrad::catalogue {
namespace {

at::Reduction::Reduction of_torch(Reduction reduction) {
  return reduction == Reduction::mean  ? at::Reduction::Mean
         : reduction == Reduction::sum ? at::Reduction::Sum
                                       : at::Reduction::None;
}

/// "mse", "mse.sum", "mse.none"
std::string name_with(const std::string& name, Reduction reduction) {
  return name + (reduction == Reduction::mean ? "" : reduction == Reduction::sum ? ".sum" : ".none");
}

/// Classes 1, 3, 5, … of C, in a circle: every case of four columns or more has the class 3 in its second row.
Tensor class_indices(std::int64_t rows, std::int64_t columns) {
  return (at::arange(rows, at::kLong) * 2 + 1).remainder(columns);
}

/// Of the classes, all different.
Tensor class_weights(std::int64_t columns) { return at::arange(columns, at::kDouble).mul_(0.75).add_(0.5); }

Tensor one_hot(const Backward& b) {
  return at::zeros_like(b.grads[0]).scatter_(1, b.inputs[1].unsqueeze(1), 1);
}

/// What the mean divides by.
double rows_of(const Backward& b) { return static_cast<double>(b.grads[0].size(0)); }

/// ∂J/∂ℓ, in the shape of the input or broadcast to it.
Tensor upstream_of(const Backward& b) { return b.grad_y.dim() == 1 ? b.grad_y.unsqueeze(1) : b.grad_y; }

/// The mistake in the reduction that fits it, and a lost sign: every loss has these two.
std::vector<Bug> reduction_bugs(const std::string& name, Reduction reduction) {
  Bug wrong_scale = {name + ".missing_one_over_n",
                     "the mean's 1/N belongs to the gradient too; Adam hides its absence",
                     [](const Backward& b) { return Tensors{b.grads[0] * rows_of(b)}; }};
  if (reduction == Reduction::sum) {
    wrong_scale = {name + ".extra_one_over_n", "the 1/N of the mean, left in after a change to the sum",
                   [](const Backward& b) { return Tensors{b.grads[0] / rows_of(b)}; }};
  } else if (reduction == Reduction::none) {
    wrong_scale = {name + ".upstream_forgotten",
                   "without a reduction every loss has an upstream gradient of its own",
                   [](const Backward& b) { return Tensors{b.grads[0] / upstream_of(b)}; }};
  }
  return {wrong_scale,
          {name + ".sign", "the gradient of the likelihood, where that of the loss is asked for",
           [](const Backward& b) { return Tensors{-b.grads[0]}; }}};
}

std::vector<Bug> operator+(std::vector<Bug> bugs, const Bug& bug) {
  bugs.push_back(bug);
  return bugs;
}

// ---- From classes ----

/// Logits of ±1e4 that saturate, with the label on the largest, on the smallest and in between.
Case saturated(const Inputs& inputs) {
  Case at = {"logits of ±1e4", inputs(5, 4), false};
  at.inputs[0].zero_().select(1, 0).fill_(1e4);
  at.inputs[0].select(1, 1).fill_(-1e4);
  return at;
}

/// The log-probability −∞ for one label: the loss is infinite, and still has a gradient. (Not +∞: ∞ − ∞ is
/// NaN.)
Case impossible(const Inputs& inputs) {
  Case at = {"infinite", inputs(5, 4), false};
  at.inputs[0][0][1] = -kInfinity;
  return at;
}

/// Logits or, for the likelihoods, log-probabilities, with class indices as target, and the weights.
Inputs of_classes(bool logits, bool weights) {
  return [=](std::int64_t rows, std::int64_t columns) {
    const Tensor input = draw({rows, columns}, logits ? 3 : 1);
    Tensors inputs = {logits ? input : input.log_softmax(1), class_indices(rows, columns)};
    if (weights) {
      inputs.push_back(class_weights(columns));
    }
    return inputs;
  };
}

/// One column at least: among no classes there is no label.
Limits class_limits(Reduction reduction) { return {.columns = 1, .mean = reduction == Reduction::mean}; }

Entry cross_entropy(Reduction reduction) {
  const std::string name = name_with("cross_entropy", reduction);
  const Inputs inputs = of_classes(true, false);
  return {
      .name = name,
      .make =
          [=] {
            return of_loss([=](const Tensors&) { return std::make_unique<CrossEntropyLoss>(reduction); });
          },
      .reference =
          [=](const Tensors& in) { return torch::cross_entropy_loss(in[0], in[1], {}, of_torch(reduction)); },
      .constants = 1,
      .cases = cases_of(inputs, class_limits(reduction)) +
               std::vector<Case>{saturated(inputs), impossible(inputs)},
      .bugs = reduction_bugs(name, reduction) +
              Bug{name + ".one_hot_forgotten", "p alone is the gradient of log Σ exp, the first of two terms",
                  [=](const Backward& b) {
                    const double rows = reduction == Reduction::mean ? rows_of(b) : 1;
                    return Tensors{b.inputs[0].softmax(1) * upstream_of(b) / rows};
                  }}};
}

/// The variants that share a target of class indices.
struct ClassVariant {
  std::string name;
  bool weights = false;
  bool ignores = false;
  double smoothing = 0;
};

constexpr std::int64_t kIgnored = 3;

ClassLossOptions class_options(const ClassVariant& variant, Reduction reduction, const Tensors& inputs) {
  return {.reduction = reduction,
          .class_weights = variant.weights ? inputs[2] : Tensor(),
          .ignore_index = variant.ignores ? kIgnored : -100};
}

/// Every row ignored: the mean is 0/0, the gradient 0.
std::vector<Case> all_ignored(const ClassVariant& variant, const Inputs& inputs, Reduction reduction) {
  if (!variant.ignores) {
    return {};
  }
  Case at = {"every row ignored", inputs(4, 5)};
  at.inputs[1].fill_(kIgnored);
  at.nan_expected = reduction == Reduction::mean;
  at.smooth = !at.nan_expected;
  return {at};
}

Entry weighted_cross_entropy(const ClassVariant& variant, Reduction reduction) {
  const std::string name = name_with("cross_entropy." + variant.name, reduction);
  const Inputs inputs = of_classes(true, variant.weights);
  const auto make = [=](const Tensors& in) {
    return std::make_unique<WeightedCrossEntropyLoss>(class_options(variant, reduction, in),
                                                      variant.smoothing);
  };
  return {.name = name,
          .make = [=] { return of_loss(make); },
          .reference =
              [=](const Tensors& in) {
                return torch::cross_entropy_loss(in[0], in[1], variant.weights ? in[2] : Tensor(),
                                                 of_torch(reduction), variant.ignores ? kIgnored : -100,
                                                 variant.smoothing);
              },
          .constants = variant.weights ? 2U : 1U,
          .cases = cases_of(inputs, class_limits(reduction)) +
                   std::vector<Case>{saturated(inputs), impossible(inputs)} +
                   all_ignored(variant, inputs, reduction),
          .bugs = reduction_bugs(name, reduction) +
                  Bug{name + ".plain", "the option changes the loss, but the old gradient p − [j = t] stays",
                      [=](const Backward& b) {
                        const double rows = reduction == Reduction::mean ? rows_of(b) : 1;
                        return Tensors{(b.inputs[0].softmax(1) - one_hot(b)) * upstream_of(b) / rows};
                      }}};
}

Entry soft_cross_entropy(bool weights_and_smoothing) {
  const std::string name =
      std::string("cross_entropy.class_probabilities") + (weights_and_smoothing ? ".weighted" : "");
  const double smoothing = weights_and_smoothing ? 0.1 : 0;
  const Inputs inputs = [=](std::int64_t rows, std::int64_t columns) {
    Tensors drawn = {draw({rows, columns}, 3), draw({rows, columns}).softmax(1)};
    if (weights_and_smoothing) {
      drawn.push_back(class_weights(columns));
    }
    return drawn;
  };
  const auto make = [=](const Tensors& in) {
    return std::make_unique<SoftCrossEntropyLoss>(SoftCrossEntropyLossOptions{
        .class_weights = weights_and_smoothing ? in[2] : Tensor(), .label_smoothing = smoothing});
  };
  return {.name = name,
          .make = [=] { return of_loss(make); },
          .reference =
              [=](const Tensors& in) {
                return torch::cross_entropy_loss(in[0], in[1], weights_and_smoothing ? in[2] : Tensor(),
                                                 at::Reduction::Mean, -100, smoothing);
              },
          .constants = weights_and_smoothing ? 2U : 1U,
          .cases = cases_of(inputs, class_limits(Reduction::mean)) +
                   std::vector<Case>{saturated(inputs), impossible(inputs)},
          .bugs = reduction_bugs(name, Reduction::mean) +
                  Bug{name + ".hard_label", "argmax of the probabilities, as if they were one-hot",
                      [=](const Backward& b) {
                        const Tensor hard =
                            at::zeros_like(b.grads[0]).scatter_(1, b.inputs[1].argmax(1, true), 1);
                        return Tensors{(b.inputs[0].softmax(1) - hard) * b.grad_y / rows_of(b)};
                      }}};
}

// ---- Likelihoods ----

Entry nll(const ClassVariant& variant, Reduction reduction) {
  const std::string name = name_with(variant.name.empty() ? "nll" : "nll." + variant.name, reduction);
  const Inputs inputs = of_classes(false, variant.weights);
  const auto make = [=](const Tensors& in) {
    return std::make_unique<NLLLoss>(class_options(variant, reduction, in));
  };
  return {.name = name,
          .make = [=] { return of_loss(make); },
          .reference =
              [=](const Tensors& in) {
                return torch::nll_loss(in[0], in[1], variant.weights ? in[2] : Tensor(), of_torch(reduction),
                                       variant.ignores ? kIgnored : -100);
              },
          .constants = variant.weights ? 2U : 1U,
          .cases = cases_of(inputs, class_limits(reduction)) + std::vector<Case>{impossible(inputs)} +
                   all_ignored(variant, inputs, reduction),
          .bugs = reduction_bugs(name, reduction)};
}

Entry negative_log_likelihood(Reduction reduction) {
  const std::string name = name_with("negative_log_likelihood", reduction);
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    Tensor labels = at::zeros({rows, columns}, at::kDouble);
    if (columns > 0) {
      labels.scatter_(1, class_indices(rows, columns).unsqueeze(1), 1);
    }
    if (rows >= 3 && columns >= 3) {
      labels[1] = 0;  // several labels in a row
      labels[1][0] = 0.75;
      labels[1][2] = 0.25;
      labels[2] = 0;  // and none
    }
    return Tensors{draw({rows, columns}).log_softmax(1), labels};
  };
  // The sum over no columns is 0, not NaN. Nothing infinite: label · log p is 0 · ∞ = NaN.
  const Limits limits = {.columns = 1, .mean = reduction == Reduction::mean};
  return {
      .name = name,
      .make =
          [=] {
            return of_loss([=](const Tensors&) { return std::make_unique<LogLikelihoodLoss>(reduction); });
          },
      .reference =
          [=](const Tensors& in) {
            const Tensor losses = -(in[1] * in[0]).sum(1);
            return reduction == Reduction::mean  ? losses.mean()
                   : reduction == Reduction::sum ? losses.sum()
                                                 : losses;
          },
      .constants = 1,
      .cases = cases_of(inputs, limits) + std::vector<Case>{{"no columns", inputs(4, 0)}},
      .bugs = reduction_bugs(name, reduction) +
              Bug{name + ".one_label_a_row", "argmax of the labels: right for one-hot rows alone",
                  [=](const Backward& b) {
                    if (b.grads[0].size(1) == 0) {
                      return b.grads;
                    }
                    return Tensors{b.grads[0] *
                                   at::zeros_like(b.grads[0]).scatter_(1, b.inputs[1].argmax(1, true), 1)};
                  }}};
}

// ---- Differences, binary labels, divergence ----

struct DifferenceVariant {
  std::string name;
  std::function<std::unique_ptr<Loss>(Reduction)> make;
  std::function<Tensor(const Tensor& input, const Tensor& target, at::Reduction::Reduction)> reference;
  std::string bug, why;
  std::function<Tensor(const Tensor& d)> wrong_slope;
};

std::vector<DifferenceVariant> difference_variants() {
  using T = const Tensor&;
  using R = at::Reduction::Reduction;
  return {{"mse", [](Reduction r) { return std::make_unique<MSELoss>(r); },
           [](T x, T t, R r) { return torch::mse_loss(x, t, r); }, "factor_two",
           "the 2 of the square is forgotten", [](T d) { return d; }},
          {"l1", [](Reduction r) { return std::make_unique<L1Loss>(r); },
           [](T x, T t, R r) { return torch::l1_loss(x, t, r); }, "slope_of_the_square",
           "d in place of sign(d)", [](T d) { return d; }},
          {"smooth_l1", [](Reduction r) { return std::make_unique<SmoothL1Loss>(r, 0.5); },
           [](T x, T t, R r) { return torch::smooth_l1_loss(x, t, r, 0.5); }, "beta_forgotten",
           "inside, the slope is d/β: with β = 1 nobody sees it", [](T d) { return d.clamp(-0.5, 0.5); }},
          {"huber", [](Reduction r) { return std::make_unique<HuberLoss>(r, 0.5); },
           [](T x, T t, R r) { return torch::huber_loss(x, t, r, 0.5); }, "delta_forgotten",
           "outside, the slope is δ sign(d): with δ = 1 nobody sees it",
           [](T d) { return (d / 0.5).clamp(-1, 1); }}};
}

Limits entry_limits(Reduction reduction) { return {.mean = reduction == Reduction::mean}; }

Entry difference_loss(const DifferenceVariant& variant, Reduction reduction) {
  const std::string name = name_with(variant.name, reduction);
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}), draw({rows, columns})};
  };
  Case equal = {"no difference", inputs(5, 4), false};
  equal.inputs[0].copy_(equal.inputs[1]);
  Case infinite = {"infinite", inputs(2, 3), false};
  infinite.inputs[0][0][1] = kInfinity;
  infinite.inputs[0][1][0] = -kInfinity;
  const auto wrong_slope = variant.wrong_slope;
  return {
      .name = name,
      .make = [=] { return of_loss([=](const Tensors&) { return variant.make(reduction); }); },
      .reference = [=](const Tensors& in) { return variant.reference(in[0], in[1], of_torch(reduction)); },
      .constants = 1,
      .cases = cases_of(inputs, entry_limits(reduction)) + std::vector<Case>{equal, infinite},
      .bugs = reduction_bugs(name, reduction) +
              Bug{name + "." + variant.bug, variant.why, [=](const Backward& b) {
                    const double count =
                        reduction == Reduction::mean ? static_cast<double>(b.grads[0].numel()) : 1;
                    return Tensors{wrong_slope(b.inputs[0] - b.inputs[1]) * b.grad_y / count};
                  }}};
}

Entry bce_with_logits(const std::string& variant, Reduction reduction) {
  const std::string name = name_with("bce_with_logits" + (variant.empty() ? "" : "." + variant), reduction);
  const bool weight = variant == "weight";
  const bool positive = variant == "pos_weight";
  const Inputs inputs = [=](std::int64_t rows, std::int64_t columns) {
    Tensors drawn = {draw({rows, columns}, 3), (draw({rows, columns}) > 0).to(at::kDouble)};
    if (weight) {
      drawn.push_back(draw({rows, columns}).abs());
    }
    if (positive) {
      drawn.push_back(class_weights(columns));
    }
    return drawn;
  };
  const auto make = [=](const Tensors& in) {
    return std::make_unique<BCEWithLogitsLoss>(
        BCEWithLogitsLossOptions{.reduction = reduction,
                                 .weight = weight ? in[2] : Tensor(),
                                 .pos_weight = positive ? in[2] : Tensor()});
  };
  // Nothing infinite: (1 − t) z is 0 · ∞ = NaN, in LibTorch too.
  Case far = {"far logits", inputs(5, 4), false};
  far.inputs[0].copy_(at::tensor({1e4, -1e4, 50., -50.}).to(at::kDouble).expand({5, 4}));
  return {.name = name,
          .make = [=] { return of_loss(make); },
          .reference =
              [=](const Tensors& in) {
                return torch::binary_cross_entropy_with_logits(in[0], in[1], weight ? in[2] : Tensor(),
                                                               positive ? in[2] : Tensor(),
                                                               of_torch(reduction));
              },
          .constants = weight || positive ? 2U : 1U,
          .cases = cases_of(inputs, entry_limits(reduction)) + std::vector<Case>{far},
          .bugs = reduction_bugs(name, reduction)};
}

Entry kl_divergence(const std::string& variant, Reduction reduction) {
  const std::string name = name_with("kl_divergence" + (variant.empty() ? "" : "." + variant), reduction);
  const bool log_target = variant == "log_target";
  const bool batch_mean = variant == "batch_mean";
  const Inputs inputs = [=](std::int64_t rows, std::int64_t columns) {
    const Tensor target = draw({rows, columns}).log_softmax(1);
    return Tensors{draw({rows, columns}).log_softmax(1), log_target ? target : target.exp()};
  };
  const auto make = [=](const Tensors&) {
    return std::make_unique<KLDivLoss>(
        KLDivLossOptions{.reduction = reduction, .log_target = log_target, .batch_mean = batch_mean});
  };
  // Over no columns the mean over the rows is 0, not NaN.
  Limits limits = entry_limits(reduction);
  limits.columns = 1;
  std::vector<Case> cases = cases_of(inputs, limits) + std::vector<Case>{impossible(inputs)};
  const bool mean_of_entries = reduction == Reduction::mean && !batch_mean;
  cases.push_back({.name = "no columns",
                   .inputs = inputs(4, 0),
                   .smooth = !mean_of_entries,
                   .nan_expected = mean_of_entries});
  return {.name = name,
          .make = [=] { return of_loss(make); },
          .reference =
              [=](const Tensors& in) {
                if (batch_mean) {
                  return torch::kl_div(in[0], in[1], at::Reduction::Sum) / static_cast<double>(in[0].size(0));
                }
                return torch::kl_div(in[0], in[1], of_torch(reduction), log_target);
              },
          .constants = 1,
          .cases = cases,
          .bugs = reduction_bugs(name, reduction)};
}

}  // namespace

std::vector<Entry> loss_entries() {
  const ClassVariant smoothing{.name = "label_smoothing", .smoothing = 0.1};
  const ClassVariant weights{.name = "class_weights", .weights = true};
  const ClassVariant ignores{.name = "ignore_index", .ignores = true};
  const ClassVariant together{.name = "all_options", .weights = true, .ignores = true, .smoothing = 0.1};
  restart_draws();
  std::vector<Entry> entries;
  const auto add_each_reduction = [&](const auto& make) {
    for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
      entries.push_back(make(reduction));
    }
  };
  add_each_reduction(cross_entropy);
  for (const ClassVariant& variant : {smoothing, weights, ignores, together}) {
    add_each_reduction([&](Reduction reduction) { return weighted_cross_entropy(variant, reduction); });
  }
  entries.push_back(soft_cross_entropy(false));
  entries.push_back(soft_cross_entropy(true));
  add_each_reduction(negative_log_likelihood);
  add_each_reduction([](Reduction reduction) { return nll({}, reduction); });
  entries.push_back(nll(weights, Reduction::mean));
  entries.push_back(nll(ignores, Reduction::mean));
  for (const DifferenceVariant& variant : difference_variants()) {
    add_each_reduction([&](Reduction reduction) { return difference_loss(variant, reduction); });
  }
  add_each_reduction([](Reduction reduction) { return bce_with_logits("", reduction); });
  entries.push_back(bce_with_logits("weight", Reduction::mean));
  entries.push_back(bce_with_logits("pos_weight", Reduction::mean));
  add_each_reduction([](Reduction reduction) { return kl_divergence("", reduction); });
  entries.push_back(kl_divergence("log_target", Reduction::mean));
  entries.push_back(kl_divergence("batch_mean", Reduction::mean));
  return entries;
}

}  // namespace twingrad::catalogue
