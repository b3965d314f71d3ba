#include <fmt/format.h>
#include <torch/nn/functional.h>

#include "twingrad/catalogue/entry.h"
#include "twingrad/losses/bce_with_logits.h"
#include "twingrad/losses/cross_entropy.h"
#include "twingrad/losses/huber.h"
#include "twingrad/losses/kl_divergence.h"
#include "twingrad/losses/l1.h"
#include "twingrad/losses/mse.h"
#include "twingrad/losses/negative_log_likelihood.h"
#include "twingrad/losses/nll.h"
#include "twingrad/losses/smooth_l1.h"
#include "twingrad/losses/soft_cross_entropy.h"
#include "twingrad/losses/weighted_cross_entropy.h"

namespace twingrad::catalogue {
namespace {

constexpr std::int64_t kRows = 5;
constexpr std::int64_t kClasses = 4;

at::Reduction::Reduction of_torch(Reduction reduction) {
  return reduction == Reduction::mean  ? at::Reduction::Mean
         : reduction == Reduction::sum ? at::Reduction::Sum
                                       : at::Reduction::None;
}

/// "mse", "mse.sum", "mse.none"
std::string name_with(const std::string& name, Reduction reduction) {
  return name + (reduction == Reduction::mean ? "" : reduction == Reduction::sum ? ".sum" : ".none");
}

Tensor class_indices() { return at::tensor({2, 0, 3, 3, 1}, at::kLong); }

Tensor probabilities() { return draw({kRows, kClasses}).softmax(1); }

/// The mistake in the reduction that fits it, and a lost sign: every loss has these two.
std::vector<Bug> reduction_bugs(const std::string& name, Reduction reduction) {
  Bug wrong_scale = {name + ".missing_one_over_n",
                     "the mean's 1/N belongs to the gradient too; Adam hides its absence",
                     [](const Backward& b) { return Tensors{b.grads[0] * static_cast<double>(kRows)}; }};
  if (reduction == Reduction::sum) {
    wrong_scale = {name + ".extra_one_over_n", "the 1/N of the mean, left in after a change to the sum",
                   [](const Backward& b) { return Tensors{b.grads[0] / static_cast<double>(kRows)}; }};
  } else if (reduction == Reduction::none) {
    wrong_scale = {
        name + ".upstream_forgotten", "without a reduction every loss has an upstream gradient of its own",
        [](const Backward& b) {
          const Tensor upstream = b.grad_y.dim() < b.grads[0].dim() ? b.grad_y.unsqueeze(1) : b.grad_y;
          return Tensors{b.grads[0] / upstream};
        }};
  }
  return {wrong_scale,
          {name + ".sign", "the gradient of the likelihood, where that of the loss is asked for",
           [](const Backward& b) { return Tensors{-b.grads[0]}; }}};
}

std::vector<Bug> operator+(std::vector<Bug> bugs, const Bug& bug) {
  bugs.push_back(bug);
  return bugs;
}

// ---- Cross-entropy -------------------------------------------------------------------------------------------------

std::vector<Case> logit_cases() {
  Tensor saturated = at::zeros({kRows, kClasses}, at::kDouble);
  saturated.select(1, 0).fill_(1e4);
  saturated.select(1, 1).fill_(-1e4);
  return {{"random", {draw({kRows, kClasses}, 3)}},
          {"not contiguous", {draw({kClasses, kRows}, 3).t()}},
          {"logits of ±1e4", {saturated}, false}};
}

Entry cross_entropy(Reduction reduction) {
  const std::string name = name_with("cross_entropy", reduction);
  return {.name = name,
          .make =
              [=] {
                return of_loss([=](at::ScalarType) { return std::make_unique<CrossEntropy>(reduction); },
                               class_indices());
              },
          .reference =
              [=](const Tensors& in) {
                return torch::cross_entropy_loss(in[0], class_indices(), {}, of_torch(reduction));
              },
          .cases = logit_cases(),
          .bugs = reduction_bugs(name, reduction) +
                  Bug{name + ".one_hot_forgotten",
                      "p alone is the gradient of log Σ exp, the first of two terms", [=](const Backward& b) {
                        const Tensor upstream = b.grad_y.dim() == 0 ? b.grad_y : b.grad_y.unsqueeze(1);
                        const double rows = reduction == Reduction::mean ? kRows : 1;
                        return Tensors{b.inputs[0].softmax(1) * upstream / rows};
                      }}};
}

/// The variants that share a target of class indices.
struct ClassVariant {
  std::string name;
  bool weights = false;
  bool ignores = false;
  double smoothing = 0;
};

Tensor class_weights() { return at::tensor({0.5, 2., 1., 3.}).to(at::kDouble); }

ClassLossOptions class_options(const ClassVariant& variant, Reduction reduction, at::ScalarType dtype) {
  return {.reduction = reduction,
          .class_weights = variant.weights ? class_weights().to(dtype) : Tensor(),
          .ignore_index = variant.ignores ? 3 : -100};
}

Entry weighted_cross_entropy(const ClassVariant& variant, Reduction reduction) {
  const std::string name = name_with("cross_entropy." + variant.name, reduction);
  const auto make = [=](at::ScalarType dtype) {
    return std::make_unique<WeightedCrossEntropy>(class_options(variant, reduction, dtype),
                                                  variant.smoothing);
  };
  const Tensor weights = variant.weights ? class_weights() : Tensor();
  return {.name = name,
          .make = [=] { return of_loss(make, class_indices()); },
          .reference =
              [=](const Tensors& in) {
                return torch::cross_entropy_loss(in[0], class_indices(), weights, of_torch(reduction),
                                                 variant.ignores ? 3 : -100, variant.smoothing);
              },
          .cases = logit_cases(),
          .bugs = reduction_bugs(name, reduction) +
                  Bug{name + ".plain", "the option changes the loss, but the old gradient p − [j = t] stays",
                      [=](const Backward& b) {
                        const Tensor one_hot =
                            at::zeros_like(b.grads[0]).scatter_(1, class_indices().unsqueeze(1), 1);
                        const Tensor upstream = b.grad_y.dim() == 0 ? b.grad_y : b.grad_y.unsqueeze(1);
                        const double rows = reduction == Reduction::mean ? kRows : 1;
                        return Tensors{(b.inputs[0].softmax(1) - one_hot) * upstream / rows};
                      }}};
}

Entry soft_cross_entropy(bool weights_and_smoothing) {
  const std::string name =
      std::string("cross_entropy.class_probabilities") + (weights_and_smoothing ? ".weighted" : "");
  const Tensor target = probabilities();
  const double smoothing = weights_and_smoothing ? 0.1 : 0;
  const auto make = [=](at::ScalarType dtype) {
    return std::make_unique<SoftCrossEntropy>(SoftCrossEntropy::Options{
        .class_weights = weights_and_smoothing ? class_weights().to(dtype) : Tensor(),
        .label_smoothing = smoothing});
  };
  return {.name = name,
          .make = [=] { return of_loss(make, target); },
          .reference =
              [=](const Tensors& in) {
                return torch::cross_entropy_loss(in[0], target,
                                                 weights_and_smoothing ? class_weights() : Tensor(),
                                                 at::Reduction::Mean, -100, smoothing);
              },
          .cases = logit_cases(),
          .bugs = reduction_bugs(name, Reduction::mean) +
                  Bug{name + ".hard_label", "argmax of the probabilities, as if they were one-hot",
                      [=](const Backward& b) {
                        const Tensor one_hot =
                            at::zeros_like(b.grads[0]).scatter_(1, target.argmax(1, true), 1);
                        return Tensors{(b.inputs[0].softmax(1) - one_hot) * b.grad_y /
                                       static_cast<double>(kRows)};
                      }}};
}

// ---- Likelihoods ---------------------------------------------------------------------------------------------------

Entry nll(const ClassVariant& variant, Reduction reduction) {
  const std::string name = name_with(variant.name.empty() ? "nll" : "nll." + variant.name, reduction);
  const auto make = [=](at::ScalarType dtype) {
    return std::make_unique<NLL>(class_options(variant, reduction, dtype));
  };
  return {.name = name,
          .make = [=] { return of_loss(make, class_indices()); },
          .reference =
              [=](const Tensors& in) {
                return torch::nll_loss(in[0], class_indices(), variant.weights ? class_weights() : Tensor(),
                                       of_torch(reduction), variant.ignores ? 3 : -100);
              },
          .cases = {{"random", {draw({kRows, kClasses}).log_softmax(1)}}},
          .bugs = reduction_bugs(name, reduction)};
}

Entry negative_log_likelihood(Reduction reduction) {
  const std::string name = name_with("negative_log_likelihood", reduction);
  Tensor labels = at::zeros({kRows, kClasses}, at::kDouble).scatter_(1, class_indices().unsqueeze(1), 1);
  labels[1] = at::tensor({0.5, 0.25, 0., 0.25}).to(at::kDouble);  // several labels in a row
  labels[2] = 0;                                                  // and none
  return {
      .name = name,
      .make =
          [=] {
            return of_loss([=](at::ScalarType) { return std::make_unique<NegativeLogLikelihood>(reduction); },
                           labels);
          },
      .reference =
          [=](const Tensors& in) {
            const Tensor losses = -(labels * in[0]).sum(1);
            return reduction == Reduction::mean  ? losses.mean()
                   : reduction == Reduction::sum ? losses.sum()
                                                 : losses;
          },
      .cases = {{"random", {draw({kRows, kClasses}).log_softmax(1)}}},
      .bugs = reduction_bugs(name, reduction) +
              Bug{name + ".one_label_a_row", "argmax of the labels: right for one-hot rows alone",
                  [=](const Backward& b) {
                    const Tensor one_hot = at::zeros_like(b.grads[0]).scatter_(1, labels.argmax(1, true), 1);
                    return Tensors{b.grads[0] * one_hot};
                  }}};
}

// ---- Differences, binary labels, divergence ------------------------------------------------------------------------

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
  return {{"mse", [](Reduction r) { return std::make_unique<MSE>(r); },
           [](T x, T t, R r) { return torch::mse_loss(x, t, r); }, "factor_two",
           "the 2 of the square is forgotten", [](T d) { return d; }},
          {"l1", [](Reduction r) { return std::make_unique<L1>(r); },
           [](T x, T t, R r) { return torch::l1_loss(x, t, r); }, "slope_of_the_square",
           "d in place of sign(d)", [](T d) { return d; }},
          {"smooth_l1", [](Reduction r) { return std::make_unique<SmoothL1>(r, 0.5); },
           [](T x, T t, R r) { return torch::smooth_l1_loss(x, t, r, 0.5); }, "beta_forgotten",
           "inside, the slope is d/β: with β = 1 nobody sees it", [](T d) { return d.clamp(-0.5, 0.5); }},
          {"huber", [](Reduction r) { return std::make_unique<Huber>(r, 0.5); },
           [](T x, T t, R r) { return torch::huber_loss(x, t, r, 0.5); }, "delta_forgotten",
           "outside, the slope is δ sign(d): with δ = 1 nobody sees it",
           [](T d) { return (d / 0.5).clamp(-1, 1); }}};
}

Entry difference_loss(const DifferenceVariant& variant, Reduction reduction) {
  const std::string name = name_with(variant.name, reduction);
  const Tensor target =
      draw({kRows, kClasses}).to(at::kFloat).to(at::kDouble);  // so that float32 can meet it exactly
  const auto wrong_slope = variant.wrong_slope;
  return {
      .name = name,
      .make = [=] { return of_loss([=](at::ScalarType) { return variant.make(reduction); }, target); },
      .reference = [=](const Tensors& in) { return variant.reference(in[0], target, of_torch(reduction)); },
      .cases = {{"random", {draw({kRows, kClasses})}}, {"no difference", {target.clone()}, false}},
      .bugs = reduction_bugs(name, reduction) +
              Bug{name + "." + variant.bug, variant.why, [=](const Backward& b) {
                    const double count = reduction == Reduction::mean ? kRows * kClasses : 1;
                    return Tensors{wrong_slope(b.inputs[0] - target) * b.grad_y / count};
                  }}};
}

Entry bce_with_logits(const std::string& variant, Reduction reduction) {
  const std::string name = name_with("bce_with_logits" + (variant.empty() ? "" : "." + variant), reduction);
  const Tensor target = (draw({kRows, kClasses}) > 0).to(at::kDouble);
  const Tensor weight = variant == "weight" ? draw({kRows, kClasses}).abs() : Tensor();
  const Tensor positive = variant == "pos_weight" ? class_weights() : Tensor();
  const auto as = [](const Tensor& tensor, at::ScalarType dtype) {
    return tensor.defined() ? tensor.to(dtype) : tensor;
  };
  const auto make = [=](at::ScalarType dtype) {
    return std::make_unique<BCEWithLogits>(BCEWithLogits::Options{
        .reduction = reduction, .weight = as(weight, dtype), .pos_weight = as(positive, dtype)});
  };
  const Tensor far =
      at::tensor({1e4, -1e4, 50., -50.}).to(at::kDouble).expand({kRows, kClasses}).contiguous();
  return {.name = name,
          .make = [=] { return of_loss(make, target); },
          .reference =
              [=](const Tensors& in) {
                return torch::binary_cross_entropy_with_logits(in[0], target, weight, positive,
                                                               of_torch(reduction));
              },
          .cases = {{"random", {draw({kRows, kClasses}, 3)}}, {"logits of ±1e4", {far}, false}},
          .bugs = reduction_bugs(name, reduction)};
}

Entry kl_divergence(const std::string& variant, Reduction reduction) {
  const std::string name = name_with("kl_divergence" + (variant.empty() ? "" : "." + variant), reduction);
  const bool log_target = variant == "log_target";
  const bool batch_mean = variant == "batch_mean";
  const Tensor target = log_target ? probabilities().log() : probabilities();
  const auto make = [=](at::ScalarType) {
    return std::make_unique<KLDivergence>(
        KLDivergence::Options{.reduction = reduction, .log_target = log_target, .batch_mean = batch_mean});
  };
  return {.name = name,
          .make = [=] { return of_loss(make, target); },
          .reference =
              [=](const Tensors& in) {
                if (batch_mean) {
                  return torch::kl_div(in[0], target, at::Reduction::Sum) / kRows;
                }
                return torch::kl_div(in[0], target, of_torch(reduction), log_target);
              },
          .cases = {{"random", {draw({kRows, kClasses}).log_softmax(1)}}},
          .bugs = reduction_bugs(name, reduction)};
}

}  // namespace

std::vector<Entry> loss_entries() {
  const ClassVariant smoothing{.name = "label_smoothing", .smoothing = 0.1};
  const ClassVariant weights{.name = "class_weights", .weights = true};
  const ClassVariant ignores{.name = "ignore_index", .ignores = true};
  const ClassVariant together{.name = "all_options", .weights = true, .ignores = true, .smoothing = 0.1};
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
