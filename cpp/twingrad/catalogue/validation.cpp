#include <cmath>
#include <exception>

#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/conventions.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"

namespace twingrad::catalogue {
namespace {

using nn::Reduction;

/// Candidates for any option of type double, including both sides of the bounds in use, 0 and 1.
const std::vector<double> kNumbers = {-kInfinity, -1, -1e-9,    -0., 0,         1e-9,
                                      0.5,        1,  1 + 1e-9, 2,   kInfinity, NAN};
/// Candidates for a class out of four.
const std::vector<double> kClasses = {-1, 0, 3, 4, 1e6};

/// An option, or a target, that this library and LibTorch accept or refuse, and a wrong check of it.
struct Validated {
  std::vector<double> candidates;
  std::function<void(double)> ours;    ///< throws if it refuses the candidate
  std::function<void(double)> theirs;  ///< the same by LibTorch
  std::string mistake, why;
  std::function<bool(double)> wrongly_accepts;
};

bool accepts(const std::function<void(double)>& call, double candidate) {
  try {
    call(candidate);
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

Tensor logits() { return at::zeros({2, 4}, at::kDouble); }
/// The candidate is the class of the last row.
Tensor with_class(double candidate) {
  return at::tensor({std::int64_t{0}, static_cast<std::int64_t>(candidate)}, at::kLong);
}

std::vector<Validated> validated_options() {
  // The range in LibTorch's documentation. LibTorch itself takes a negative number or NaN for 0.
  const auto smoothing_by_libtorch = [](double s) {
    TORCH_CHECK(s >= 0 && s <= 1);
    at::cross_entropy_loss(logits(), logits(), {}, at::Reduction::Mean, -100, s);
  };
  return {
      {kNumbers, [](double p) { nn::Dropout layer(p); },
       [](double p) { at::dropout(logits(), p, /*train=*/true); }, "probability_nan",
       "p < 0 || p > 1 refuses everything but NaN", [](double p) { return !(p < 0 || p > 1); }},
      {kNumbers, [](double s) { nn::WeightedCrossEntropyLoss loss({}, s); }, smoothing_by_libtorch,
       "smoothing_of_one", "1 is allowed: then every class has the same share",
       [](double s) { return s >= 0 && s < 1; }},
      {kNumbers, [](double s) { nn::SoftCrossEntropyLoss loss({.label_smoothing = s}); },
       smoothing_by_libtorch, "negative_smoothing", "the lower bound is forgotten",
       [](double s) { return s <= 1; }},
      {kNumbers, [](double delta) { nn::HuberLoss loss(Reduction::mean, delta); },
       [](double delta) { at::huber_loss(logits(), logits(), at::Reduction::Mean, delta); }, "delta_zero",
       "with δ = 0 the loss is 0 everywhere", [](double delta) { return delta >= 0; }},
      {kNumbers, [](double beta) { nn::SmoothL1Loss loss(Reduction::mean, beta); },
       [](double beta) { at::smooth_l1_loss(logits(), logits(), at::Reduction::Mean, beta); }, "beta_zero",
       "copied from Huber's loss; β = 0 is allowed and gives L1", [](double beta) { return beta > 0; }}};
}

std::vector<Validated> validated_classes() {
  return {{kClasses, [](double t) { nn::CrossEntropyLoss().forward(logits(), with_class(t)); },
           [](double t) { at::cross_entropy_loss(logits(), with_class(t)); }, "class_c",
           "t ≤ C instead of t < C: classes counted from 1 read beyond the row",
           [](double t) { return t >= 0 && t <= 4; }},
          {kClasses, [](double t) { nn::NLLLoss().forward(logits(), with_class(t)); },
           [](double t) { at::nll_loss(logits(), with_class(t)); }, "negative_class",
           "−1 counts from the end, as in Python", [](double t) { return t >= -1 && t < 4; }}};
}

}  // namespace

ValuesEntry validation() {
  const std::vector<Validated> options = validated_options() + validated_classes();
  const auto each = [=](const auto& is_accepted) {
    Tensors results;
    for (std::size_t i = 0; i < options.size(); ++i) {
      std::vector<double> accepted;
      for (const double candidate : options[i].candidates) {
        accepted.push_back(is_accepted(i, candidate) ? 1 : 0);
      }
      results.push_back(at::tensor(accepted, at::kDouble));
    }
    return results;
  };
  const auto ours = [=](std::size_t i, double candidate) { return accepts(options[i].ours, candidate); };
  const auto theirs = [=](std::size_t i, double candidate) { return accepts(options[i].theirs, candidate); };
  ValuesEntry entry = {.name = "validation",
                       .oracle = "LibTorch",
                       .values = [=](const at::TensorOptions&) { return each(ours); },
                       .reference = [=] { return each(theirs); },
                       .bugs = {}};
  for (std::size_t wrong = 0; wrong < options.size(); ++wrong) {
    const auto with_mistake = [=](std::size_t i, double candidate) {
      return i == wrong ? options[i].wrongly_accepts(candidate) : ours(i, candidate);
    };
    entry.bugs.push_back({"validation." + options[wrong].mistake, options[wrong].why,
                          [=](const at::TensorOptions&) { return each(with_mistake); }});
  }
  return entry;
}

}  // namespace twingrad::catalogue
