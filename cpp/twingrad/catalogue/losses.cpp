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
#include "twingrad/mlp/torch_reference.h"

// The inputs of a loss are the input, the target, and weights if it has any; all but the first are constants.

namespace twingrad::catalogue {
namespace {

using nn::Reduction;

/// "mse", "mse.sum", "mse.none"
std::string name_with(const std::string& name, Reduction reduction) {
  return name + (reduction == Reduction::mean ? "" : reduction == Reduction::sum ? ".sum" : ".none");
}

/// Classes 1, 3, 5, … modulo C: with four columns or more, the second row always has class 3.
Tensor class_indices(std::int64_t rows, std::int64_t columns) {
  return (at::arange(rows, at::kLong) * 2 + 1).remainder(columns);
}

/// Weights [C], all different.
Tensor class_weights(std::int64_t columns) { return at::arange(columns, at::kDouble).mul_(0.75).add_(0.5); }

/// The number of rows for the mean, otherwise 1.
double divisor(const Backward& b, Reduction reduction) {
  return reduction == Reduction::mean ? static_cast<double>(b.grads[0].size(0)) : 1;
}

/// ∂J/∂ℓ, in the shape of the input or broadcast to it.
Tensor upstream_of(const Backward& b) { return b.grad_y.dim() == 1 ? b.grad_y.unsqueeze(1) : b.grad_y; }

/// 1 at the class in each row, 0 elsewhere.
Tensor one_hot(const Tensor& classes, const Tensor& like) {
  return at::zeros_like(like).scatter_(1, classes.dim() == 1 ? classes.unsqueeze(1) : classes, 1);
}

/// The two bugs of every loss: one in the reduction, and a wrong sign.
std::vector<Bug> reduction_bugs(const std::string& name, Reduction reduction) {
  Bug wrong_scale = {name + ".missing_one_over_n",
                     "the mean's factor 1/N belongs to the gradient too; Adam hides its absence",
                     [](const Backward& b) { return Tensors{b.grads[0] * divisor(b, Reduction::mean)}; }};
  if (reduction == Reduction::sum) {
    wrong_scale = {name + ".extra_one_over_n", "the mean's factor 1/N is left in after a change to the sum",
                   [](const Backward& b) { return Tensors{b.grads[0] / divisor(b, Reduction::mean)}; }};
  } else if (reduction == Reduction::none) {
    wrong_scale = {name + ".upstream_forgotten",
                   "without a reduction every loss has its own upstream gradient",
                   [](const Backward& b) { return Tensors{b.grads[0] / upstream_of(b)}; }};
  }
  return {wrong_scale,
          {name + ".sign", "the gradient of the likelihood instead of the loss: the sign is wrong",
           [](const Backward& b) { return Tensors{-b.grads[0]}; }}};
}

/// An entry with the bugs of every loss.
template <typename LossType>
FunctionEntry entry_of(const std::string& name, Reduction reduction, const std::vector<Case>& cases,
                       const auto& options, const auto& reference) {
  FunctionEntry entry = loss_entry<LossType>(name, cases, options, reference);
  entry.bugs = reduction_bugs(name, reduction);
  return entry;
}

// ---- From classes ----

/// Saturated logits of ±1e4, with the label on the largest, on the smallest and in between.
Case saturated(const Inputs& inputs) {
  Case at = {"logits of ±1e4", inputs(5, 4), false};
  at.inputs[0].zero_().select(1, 0).fill_(1e4);
  at.inputs[0].select(1, 1).fill_(-1e4);
  return at;
}

/// The log-probability −∞ for one label: the loss is infinite, but has a gradient.
Case impossible(const Inputs& inputs) {
  Case at = {"infinite", inputs(5, 4), false};
  at.inputs[0][0][1] = -kInfinity;
  return at;
}

/// NaN for the label of a row, NaN in a row that may be ignored, and +∞, where ∞ − ∞ is NaN.
Case not_finite(const Inputs& inputs) {
  Case at = {.name = "NaN", .inputs = inputs(5, 4), .smooth = false, .nan_expected = true};
  at.inputs[0][0][1] = NAN;
  at.inputs[0][1][3] = NAN;
  at.inputs[0][2][0] = kInfinity;
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

/// At least one column: without classes there is no valid label.
std::vector<Case> class_cases(const Inputs& inputs, Reduction reduction) {
  return cases_of(inputs, {.columns = 1, .mean = reduction == Reduction::mean}) +
         std::vector<Case>{impossible(inputs), not_finite(inputs)};
}

FunctionEntry cross_entropy(Reduction reduction) {
  const std::string name = name_with("cross_entropy", reduction);
  const Inputs inputs = of_classes(true, false);
  FunctionEntry entry = entry_of<nn::CrossEntropyLoss>(
      name, reduction, class_cases(inputs, reduction) + std::vector<Case>{saturated(inputs)},
      [=](const Tensors&) { return std::tuple(reduction); }, torch_reference::plain_cross_entropy);
  entry.bugs.push_back({name + ".one_hot_forgotten",
                        "p is the gradient of log Σ exp z alone; the term −z_t is missing",
                        [=](const Backward& b) {
                          return Tensors{b.inputs[0].softmax(1) * upstream_of(b) / divisor(b, reduction)};
                        }});
  return entry;
}

/// The variants whose target is a class index.
struct ClassVariant {
  std::string name = {};
  bool weights = false;
  bool ignores = false;
  double smoothing = 0;
};

constexpr std::int64_t kIgnored = 3;

nn::ClassLossOptions class_options(const ClassVariant& variant, Reduction reduction, const Tensors& inputs) {
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

FunctionEntry weighted_cross_entropy(const ClassVariant& variant, Reduction reduction) {
  const std::string name = name_with("cross_entropy." + variant.name, reduction);
  const Inputs inputs = of_classes(true, variant.weights);
  FunctionEntry entry = entry_of<nn::WeightedCrossEntropyLoss>(
      name, reduction,
      class_cases(inputs, reduction) + std::vector<Case>{saturated(inputs)} +
          all_ignored(variant, inputs, reduction),
      [=](const Tensors& in) { return std::tuple(class_options(variant, reduction, in), variant.smoothing); },
      torch_reference::cross_entropy);
  entry.bugs.push_back({name + ".plain", "the loss uses the option, but the gradient is still p − [j = t]",
                        [=](const Backward& b) {
                          const Tensor wrong = b.inputs[0].softmax(1) - one_hot(b.inputs[1], b.grads[0]);
                          return Tensors{wrong * upstream_of(b) / divisor(b, reduction)};
                        }});
  return entry;
}

FunctionEntry soft_cross_entropy(bool weights_and_smoothing) {
  const std::string name =
      std::string("cross_entropy.class_probabilities") + (weights_and_smoothing ? ".weighted" : "");
  const Inputs inputs = [=](std::int64_t rows, std::int64_t columns) {
    Tensors drawn = {draw({rows, columns}, 3), draw({rows, columns}).softmax(1)};
    if (weights_and_smoothing) {
      drawn.push_back(class_weights(columns));
    }
    return drawn;
  };
  FunctionEntry entry = entry_of<nn::SoftCrossEntropyLoss>(
      name, Reduction::mean, class_cases(inputs, Reduction::mean) + std::vector<Case>{saturated(inputs)},
      [=](const Tensors& in) {
        return std::tuple(
            nn::SoftCrossEntropyLossOptions{.class_weights = weights_and_smoothing ? in[2] : Tensor(),
                                            .label_smoothing = weights_and_smoothing ? 0.1 : 0});
      },
      torch_reference::soft_cross_entropy);
  entry.bugs.push_back(
      {name + ".hard_label", "the largest probability is taken for a one-hot label", [=](const Backward& b) {
         const Tensor hard = one_hot(b.inputs[1].argmax(1, true), b.grads[0]);
         return Tensors{(b.inputs[0].softmax(1) - hard) * b.grad_y / divisor(b, Reduction::mean)};
       }});
  return entry;
}

// ---- Likelihoods ----

FunctionEntry nll(const ClassVariant& variant, Reduction reduction) {
  const std::string name = name_with(variant.name.empty() ? "nll" : "nll." + variant.name, reduction);
  const Inputs inputs = of_classes(false, variant.weights);
  return entry_of<nn::NLLLoss>(
      name, reduction, class_cases(inputs, reduction) + all_ignored(variant, inputs, reduction),
      [=](const Tensors& in) { return std::tuple(class_options(variant, reduction, in)); },
      torch_reference::nll);
}

FunctionEntry negative_log_likelihood(Reduction reduction) {
  const std::string name = name_with("negative_log_likelihood", reduction);
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    Tensor labels = at::zeros({rows, columns}, at::kDouble);
    if (columns > 0) {
      labels.scatter_(1, class_indices(rows, columns).unsqueeze(1), 1);
    }
    if (rows >= 3 && columns >= 3) {
      labels[1] = 0;  // a row with several labels
      labels[1][0] = 0.75;
      labels[1][2] = 0.25;
      labels[2] = 0;  // a row without labels
    }
    return Tensors{draw({rows, columns}).log_softmax(1), labels};
  };
  // The sum over no columns is 0, not NaN. Nothing infinite: label · log p is 0 · ∞ = NaN.
  const Limits limits = {.columns = 1, .mean = reduction == Reduction::mean};
  FunctionEntry entry = entry_of<nn::LogLikelihoodLoss>(
      name, reduction, cases_of(inputs, limits) + std::vector<Case>{{"no columns", inputs(4, 0)}},
      [=](const Tensors&) { return std::tuple(reduction); }, torch_reference::log_likelihood);
  entry.bugs.push_back({name + ".one_label_per_row",
                        "the largest label is taken for the only label of its row", [=](const Backward& b) {
                          return b.grads[0].size(1) == 0
                                     ? b.grads
                                     : Tensors{b.grads[0] * one_hot(b.inputs[1].argmax(1, true), b.grads[0])};
                        }});
  return entry;
}

// ---- Differences, binary labels, divergence ----

constexpr double kSeam = 0.5;  ///< β or δ

/// A loss of the difference d = input − target, with a common wrong slope. parameters: β or δ.
template <typename LossType>
FunctionEntry difference_loss(const std::string& variant, Reduction reduction, const auto& reference, Bug bug,
                              const std::function<Tensor(const Tensor& d)>& wrong_slope, auto... parameters) {
  const std::string name = name_with(variant, reduction);
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}), draw({rows, columns})};
  };
  const auto at_differences = [](const char* case_name, const Tensor& d) {
    return Case{case_name, {d, at::zeros_like(d)}, false};
  };
  Case equal = {"no difference", inputs(5, 4), false};
  equal.inputs[0].copy_(equal.inputs[1]);
  Case with_nan = at_differences("NaN", matrix({NAN, 1}));
  with_nan.nan_expected = true;
  FunctionEntry entry = entry_of<LossType>(
      name, reduction,
      cases_of(inputs, {.mean = reduction == Reduction::mean}) +
          std::vector<Case>{equal, at_differences("infinite", matrix({kInfinity, 1, -kInfinity, 2}, 2)),
                            at_differences("seam", matrix({kSeam, -kSeam, -0.0})), with_nan},
      [=](const Tensors&) { return std::tuple(reduction, parameters...); }, reference);
  bug.name = name + "." + bug.name;
  bug.wrong = [=](const Backward& b) {
    const auto count = reduction == Reduction::mean ? static_cast<double>(b.grads[0].numel()) : 1;
    return Tensors{wrong_slope(b.inputs[0] - b.inputs[1]) * b.grad_y / count};
  };
  entry.bugs.push_back(bug);
  return entry;
}

FunctionEntry mse(Reduction reduction) {
  return difference_loss<nn::MSELoss>("mse", reduction, torch_reference::mse,
                                      {"factor_two", "the factor 2 of the square is missing", {}},
                                      [](const Tensor& d) { return d; });
}

FunctionEntry l1(Reduction reduction) {
  return difference_loss<nn::L1Loss>("l1", reduction, torch_reference::l1,
                                     {"slope_of_square", "d instead of sign(d)", {}},
                                     [](const Tensor& d) { return d; });
}

FunctionEntry smooth_l1(Reduction reduction) {
  return difference_loss<nn::SmoothL1Loss>(
      "smooth_l1", reduction, torch_reference::smooth_l1,
      {"beta_forgotten", "for |d| < β the slope is d/β; with β = 1 it does not show", {}},
      [](const Tensor& d) { return d.clamp(-kSeam, kSeam); }, kSeam);
}

FunctionEntry huber(Reduction reduction) {
  return difference_loss<nn::HuberLoss>(
      "huber", reduction, torch_reference::huber,
      {"delta_forgotten", "for |d| > δ the slope is δ sign(d); with δ = 1 it does not show", {}},
      [](const Tensor& d) { return (d / kSeam).clamp(-1, 1); }, kSeam);
}

FunctionEntry bce_with_logits(const std::string& variant, Reduction reduction) {
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
  // Nothing infinite: (1 − t) z is 0 · ∞ = NaN, in LibTorch too.
  Case far = {"far logits", inputs(5, 4), false};
  far.inputs[0].copy_(matrix({1e4, -1e4, 50, -50}).expand({5, 4}));
  return entry_of<nn::BCEWithLogitsLoss>(
      name, reduction, cases_of(inputs, {.mean = reduction == Reduction::mean}) + std::vector<Case>{far},
      [=](const Tensors& in) {
        return std::tuple(nn::BCEWithLogitsLossOptions{.reduction = reduction,
                                                       .weight = weight ? in[2] : Tensor(),
                                                       .pos_weight = positive ? in[2] : Tensor()});
      },
      torch_reference::bce_with_logits);
}

FunctionEntry kl_divergence(const std::string& variant, Reduction reduction) {
  const std::string name = name_with("kl_divergence" + (variant.empty() ? "" : "." + variant), reduction);
  const nn::KLDivLossOptions options = {
      .reduction = reduction, .log_target = variant == "log_target", .batch_mean = variant == "batch_mean"};
  const Inputs inputs = [=](std::int64_t rows, std::int64_t columns) {
    const Tensor target = draw({rows, columns}).log_softmax(1);
    return Tensors{draw({rows, columns}).log_softmax(1), options.log_target ? target : target.exp()};
  };
  // Over no columns the mean over the rows is 0, not NaN.
  const bool mean_of_entries = reduction == Reduction::mean && !options.batch_mean;
  const Case no_columns = {.name = "no columns",
                           .inputs = inputs(4, 0),
                           .smooth = !mean_of_entries,
                           .nan_expected = mean_of_entries};
  return entry_of<nn::KLDivLoss>(
      name, reduction,
      cases_of(inputs, {.columns = 1, .mean = reduction == Reduction::mean}) +
          std::vector<Case>{impossible(inputs), no_columns},
      [=](const Tensors&) { return std::tuple(options); }, torch_reference::kl_div);
}

}  // namespace

std::vector<FunctionEntry> loss_entries() {
  const ClassVariant smoothing{.name = "label_smoothing", .smoothing = 0.1};
  const ClassVariant weights{.name = "class_weights", .weights = true};
  const ClassVariant ignores{.name = "ignore_index", .ignores = true};
  const ClassVariant together{.name = "all_options", .weights = true, .ignores = true, .smoothing = 0.1};
  restart_draws();
  std::vector<FunctionEntry> entries;
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
  for (const auto& loss : {mse, l1, smooth_l1, huber}) {
    add_each_reduction(loss);
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
