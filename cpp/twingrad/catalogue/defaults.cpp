#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/conventions.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/leaky_relu.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/losses/bce_with_logits_loss.h"
#include "twingrad/losses/huber_loss.h"
#include "twingrad/losses/kl_div_loss.h"
#include "twingrad/losses/l1_loss.h"
#include "twingrad/losses/mse_loss.h"
#include "twingrad/losses/nll_loss.h"
#include "twingrad/losses/smooth_l1_loss.h"
#include "twingrad/losses/soft_cross_entropy_loss.h"
#include "twingrad/losses/weighted_cross_entropy_loss.h"
#include "twingrad/mlp/torch_reference.h"

namespace twingrad::catalogue {
namespace {

using nn::Reduction;

/// The inputs of all defaults: x and a target for each kind of loss; one class is −100. `little` has a
/// variance of the order of ε.
struct DefaultInputs {
  Tensor x, little, target, probabilities, classes, mask;

  DefaultInputs to(const at::TensorOptions& options) const {
    const at::Device device = options.device();
    return {x.to(options),      little.to(options), target.to(options), probabilities.to(options),
            classes.to(device), mask.to(device)};
  }
};

DefaultInputs default_inputs() {
  const auto exact = [](const Tensor& values) { return values.to(at::kFloat).to(at::kDouble); };
  const Tensor x = exact(draw({5, 4}, 2));
  return {x,
          exact(draw({5, 4}, 3e-3)),
          exact(draw({5, 4}, 2)),
          exact(draw({5, 4}).softmax(1)),
          at::tensor({1, 3, -100, 0, 2}, at::kLong),
          draw({5, 4}) > 0};
}

using WithDefaults = std::function<Tensor(const DefaultInputs& in)>;

/// A layer or loss without options, LibTorch's function without options, and a wrong default.
struct Default {
  WithDefaults ours, theirs;
  std::string mistake, why;
  WithDefaults wrong;
};

Tensor output_of(nn::Layer&& layer, const Tensor& x) { return layer.forward(x); }
Tensor value_of(nn::Loss&& loss, const Tensor& input, const Tensor& target) {
  return loss.forward(input, target).clone();
}

Tensor dropped(nn::Dropout&& layer, const DefaultInputs& in) {
  layer.set_mask(in.mask);
  return layer.forward(in.x).clone();
}

/// The output in training, and the running mean, which shows the momentum.
Tensor normalized(const nn::BatchNorm1dOptions& options, const Tensor& x) {
  nn::BatchNorm1d layer({}, {}, {at::zeros({4}, x.options()), at::ones({4}, x.options())}, options);
  const Tensor y = layer.forward(x);
  return at::cat({y, layer.statistics().mean.unsqueeze(0)});
}

using In = const DefaultInputs&;

std::vector<Default> layer_defaults() {
  return {{[](In in) { return output_of(nn::LeakyReLU(), in.x); }, [](In in) { return at::leaky_relu(in.x); },
           "leaky_slope", "other libraries use 0.2 or 0.3; torch.nn uses 0.01",
           [](In in) { return output_of(nn::LeakyReLU(0.2), in.x); }},
          {[](In in) { return dropped(nn::Dropout(), in); }, [](In in) { return in.x * in.mask / (1 - 0.5); },
           "dropout_probability", "torch.nn drops half of the entries",
           [](In in) { return dropped(nn::Dropout(0.1), in); }},
          {[](In in) { return normalized({}, in.little); },
           [](In in) {
             const Tensor mean = at::zeros({4}, in.x.options());
             const Tensor y = at::batch_norm(in.little, {}, {}, mean, at::ones({4}, in.x.options()), true,
                                             0.1, 1e-5, false);
             return at::cat({y, mean.unsqueeze(0)});
           },
           "batch_norm_momentum", "0.99 in other libraries, as the weight of the old value",
           [](In in) { return normalized({.momentum = 0.01}, in.little); }},
          {[](In in) { return normalized({}, in.little); },
           [](In in) {
             return at::cat({at::batch_norm(in.little, {}, {}, {}, {}, true, 0.1, 1e-5, false),
                             0.1 * in.little.mean(0, true)});
           },
           "batch_norm_eps", "1e-3 in other libraries",
           [](In in) { return normalized({.eps = 1e-3}, in.little); }},
          {[](In in) { return output_of(nn::LayerNorm({}, {}), in.little); },
           [](In in) { return at::layer_norm(in.little, {4}); }, "layer_norm_eps",
           "1e-6 and 1e-12 are also in use",
           [](In in) { return output_of(nn::LayerNorm({}, {}, 1e-6), in.little); }},
          {[](In in) { return output_of(nn::RMSNorm(nn::Parameter{}), in.little); },
           [](In in) { return torch_reference::rms_norm(in.little, {}); }, "rms_norm_eps",
           "copied from LayerNorm; torch.nn uses the machine epsilon",
           [](In in) { return output_of(nn::RMSNorm(nn::Parameter{}, 1e-5), in.little); }}};
}

std::vector<Default> loss_defaults() {
  return {{[](In in) { return value_of(nn::MSELoss(), in.x, in.target); },
           [](In in) { return at::mse_loss(in.x, in.target); }, "mse_halved",
           "½ d² is convenient to differentiate, but torch.nn has no ½",
           [](In in) { return value_of(nn::MSELoss(), in.x, in.target) / 2; }},
          {[](In in) { return value_of(nn::L1Loss(), in.x, in.target); },
           [](In in) { return at::l1_loss(in.x, in.target); }, "l1_summed", "the default is the mean",
           [](In in) { return value_of(nn::L1Loss(Reduction::sum), in.x, in.target); }},
          {[](In in) { return value_of(nn::HuberLoss(), in.x, in.target); },
           [](In in) { return at::huber_loss(in.x, in.target); }, "huber_delta",
           "1.345 is usual in statistics; torch.nn uses 1",
           [](In in) { return value_of(nn::HuberLoss(Reduction::mean, 1.345), in.x, in.target); }},
          {[](In in) { return value_of(nn::SmoothL1Loss(), in.x, in.target); },
           [](In in) { return at::smooth_l1_loss(in.x, in.target); }, "smooth_l1_beta",
           "1/9 is usual in object detection; torch.nn uses 1",
           [](In in) { return value_of(nn::SmoothL1Loss(Reduction::mean, 1. / 9), in.x, in.target); }},
          {[](In in) { return value_of(nn::BCEWithLogitsLoss(), in.x, in.probabilities); },
           [](In in) { return at::binary_cross_entropy_with_logits(in.x, in.probabilities); }, "bce_per_row",
           "summed over the columns: torch.nn divides by N·C",
           [](In in) { return 4 * value_of(nn::BCEWithLogitsLoss(), in.x, in.probabilities); }},
          {[](In in) { return value_of(nn::KLDivLoss(), in.x, in.probabilities); },
           [](In in) { return at::kl_div(in.x, in.probabilities); }, "kl_batch_mean",
           "the divergence by definition; torch.nn's default divides by N·C",
           [](In in) { return value_of(nn::KLDivLoss({.batch_mean = true}), in.x, in.probabilities); }},
          {[](In in) { return value_of(nn::SoftCrossEntropyLoss(), in.x, in.probabilities); },
           [](In in) { return at::cross_entropy_loss(in.x, in.probabilities); }, "soft_smoothing",
           "0.1 is usual, but not the default",
           [](In in) {
             return value_of(nn::SoftCrossEntropyLoss({.label_smoothing = 0.1}), in.x, in.probabilities);
           }},
          {[](In in) { return value_of(nn::WeightedCrossEntropyLoss(), in.x, in.classes); },
           [](In in) { return at::cross_entropy_loss(in.x, in.classes); }, "cross_entropy_smoothing",
           "0.1 is usual, but not the default",
           [](In in) { return value_of(nn::WeightedCrossEntropyLoss({}, 0.1), in.x, in.classes); }},
          {[](In in) { return value_of(nn::NLLLoss(), in.x, in.classes); },
           [](In in) { return at::nll_loss(in.x, in.classes); }, "ignore_index",
           "rows of class 0, often the padding, are ignored",
           [](In in) {
             return value_of(nn::NLLLoss({.ignore_index = 0}), in.x,
                             in.classes.masked_fill(in.classes < 0, 0));
           }}};
}

}  // namespace

ValuesEntry default_options() {
  restart_draws();
  const DefaultInputs inputs = default_inputs();
  const std::vector<Default> defaults = layer_defaults() + loss_defaults();
  const auto values = [=](std::size_t wrong) {
    return [=](const at::TensorOptions& options) {
      const DefaultInputs placed = inputs.to(options);
      Tensors results;
      for (std::size_t i = 0; i < defaults.size(); ++i) {
        results.push_back(i == wrong ? defaults[i].wrong(placed) : defaults[i].ours(placed));
      }
      return results;
    };
  };
  ValuesEntry entry = {.name = "defaults",
                       .oracle = "LibTorch",
                       .values = values(defaults.size()),
                       .reference =
                           [=] {
                             Tensors results;
                             for (const Default& each : defaults) {
                               results.push_back(each.theirs(inputs));
                             }
                             return results;
                           },
                       .bugs = {}};
  for (std::size_t i = 0; i < defaults.size(); ++i) {
    entry.bugs.push_back({"defaults." + defaults[i].mistake, defaults[i].why, values(i)});
  }
  return entry;
}

}  // namespace twingrad::catalogue
