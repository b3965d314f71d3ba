#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

/// Custom functions of the kinds that people write for LibTorch: each right, and with common mistakes.
namespace custom_functions {

using at::Tensor;
using Tensors = std::vector<Tensor>;
using Context = torch::autograd::AutogradContext;

/// A kind of function: mistake 0 is right, mistake i > 0 is mistakes[i − 1].
struct Kind {
  std::string name;
  std::function<Tensors(Context& context, const Tensors& in, int mistake)> forward;
  std::function<Tensors(Context& context, const Tensors& grad, int mistake)> backward;
  Tensors inputs;                     ///< at most four
  std::vector<std::string> mistakes;  ///< what is wrong
  /// For a backward that is not that of its forward on purpose: the function whose derivative it is.
  std::function<Tensors(const Tensors& in)> surrogate = nullptr;
};

/// Calls forward and backward of a kind.
class Custom : public torch::autograd::Function<Custom> {
 public:
  static Tensors forward(Context* context, const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d,
                         const Kind* kind, std::int64_t mistake) {
    context->saved_data["kind"] = reinterpret_cast<std::int64_t>(kind);
    context->saved_data["mistake"] = mistake;
    Tensors in = {a, b, c, d};
    in.resize(kind->inputs.size());
    return kind->forward(*context, in, static_cast<int>(mistake));
  }
  static Tensors backward(Context* context, const Tensors& grad) {
    const auto* kind = reinterpret_cast<const Kind*>(context->saved_data["kind"].toInt());
    Tensors gradients =
        kind->backward(*context, grad, static_cast<int>(context->saved_data["mistake"].toInt()));
    gradients.resize(6);  // none for the pointer and the number
    return gradients;
  }
};

inline Tensors call(const Kind& kind, const Tensors& in, int mistake) {
  const auto at = [&](std::size_t i) { return i < in.size() ? in[i] : at::empty({0}); };
  return Custom::apply(at(0), at(1), at(2), at(3), &kind, static_cast<std::int64_t>(mistake));
}

/// The value of the surrogate of a kind with one input, and the gradient of the kind.
class WithSurrogate : public torch::autograd::Function<WithSurrogate> {
 public:
  static Tensor forward(Context* context, const Tensor& x, const Kind* kind, std::int64_t mistake) {
    context->saved_data["kind"] = reinterpret_cast<std::int64_t>(kind);
    context->saved_data["mistake"] = mistake;
    context->save_for_backward({x});
    return kind->surrogate({x})[0];
  }
  static Tensors backward(Context* context, const Tensors& grad) {
    const auto* kind = reinterpret_cast<const Kind*>(context->saved_data["kind"].toInt());
    const c10::AutoGradMode grad_mode(true);
    const Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    const Tensors y = call(*kind, {x}, static_cast<int>(context->saved_data["mistake"].toInt()));
    return {torch::autograd::grad(y, {x}, grad)[0], Tensor(), Tensor()};
  }
};

/// The function to check. The kind must outlive it.
inline std::function<Tensors(const Tensors&)> function_of(const Kind& kind, int mistake) {
  return [&kind, mistake](const Tensors& in) -> Tensors {
    return kind.surrogate ? Tensors{WithSurrogate::apply(in[0], &kind, static_cast<std::int64_t>(mistake))}
                          : call(kind, in, mistake);
  };
}

inline Tensor random(at::IntArrayRef shape) { return at::randn(shape, at::kDouble).requires_grad_(); }

inline Kind straight_through() {
  return {"straight-through estimator",
          [](Context& context, const Tensors& in, int) -> Tensors {
            context.save_for_backward({in[0]});
            return {in[0].sign()};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensor x = context.get_saved_variables()[0];
            return {mistake == 1 ? g[0] : mistake == 2 ? g[0] * (x <= 1) : g[0] * (x.abs() <= 1)};
          },
          {random({3, 4})},
          {"not clipped", "clipped on one side"},
          [](const Tensors& in) -> Tensors { return {in[0].clamp(-1, 1)}; }};
}

inline Kind gradient_reversal() {
  constexpr double kStrength = 0.3;
  return {"gradient reversal",
          [](Context&, const Tensors& in, int) -> Tensors { return {in[0].view_as(in[0])}; },
          [](Context&, const Tensors& g, int mistake) -> Tensors {
            return {mistake == 1 ? -g[0] : mistake == 2 ? g[0] * kStrength : g[0] * -kStrength};
          },
          {random({2, 3})},
          {"strength forgotten", "not reversed"},
          [](const Tensors& in) -> Tensors { return {in[0] * -kStrength}; }};
}

inline Kind bias_gelu() {
  return {"fused bias and GELU (tanh)",
          [](Context& context, const Tensors& in, int) -> Tensors {
            context.save_for_backward({in[0], in[1]});
            return {at::gelu(in[0] + in[1], "tanh")};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensors saved = context.get_saved_variables();
            const Tensor x = mistake == 1 ? saved[0] : saved[0] + saved[1];
            const Tensor t = at::tanh(0.7978845608028654 * (x + 0.044715 * x.pow(3)));
            const Tensor inner = 0.7978845608028654 * (1 + (mistake == 2 ? 1 : 3) * 0.044715 * x.pow(2));
            const Tensor grad = g[0] * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner);
            return {grad, mistake == 3 ? grad.mean(0) : grad.sum(0)};
          },
          {random({4, 3}), random({3})},
          {"bias forgotten in the backward", "x³ derived to x²", "mean over the batch"}};
}

inline Kind layer_norm() {
  constexpr double kEpsilon = 1e-5;
  return {"layer norm",
          [](Context& context, const Tensors& in, int) -> Tensors {
            const Tensor centered = in[0] - in[0].mean(1, true);
            const Tensor inverse = (centered.square().mean(1, true) + kEpsilon).rsqrt();
            const Tensor normal = centered * inverse;
            context.save_for_backward({normal, inverse, in[1]});
            return {normal * in[1] + in[2]};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensors saved = context.get_saved_variables();
            const Tensor &normal = saved[0], &inverse = saved[1];
            const Tensor grad = mistake == 3 ? g[0] : g[0] * saved[2];
            const Tensor mean = mistake == 1 ? at::zeros_like(inverse) : grad.mean(1, true);
            const Tensor along = mistake == 2 ? at::zeros_like(inverse) : (grad * normal).mean(1, true);
            return {(grad - mean - normal * along) * inverse, (g[0] * normal).sum(0),
                    mistake == 4 ? g[0].sum() : g[0].sum(0)};
          },
          {random({4, 5}), random({5}), random({5})},
          {"mean treated as a constant", "variance treated as a constant", "weight forgotten",
           "bias summed over everything"}};
}

inline Kind linear() {
  return {"linear",
          [](Context& context, const Tensors& in, int) -> Tensors {
            context.save_for_backward({in[0], in[1]});
            return {at::addmm(in[2], in[0], in[1].t())};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensors saved = context.get_saved_variables();
            const Tensor weight = g[0].t().matmul(saved[0]);
            const bool input_only = context.needs_input_grad(0) && !context.needs_input_grad(1);
            return {mistake == 3 && input_only ? g[0].matmul(saved[1]).zero_() : g[0].matmul(saved[1]),
                    mistake == 1 ? weight / g[0].size(0) : weight,
                    mistake == 2 ? g[0].select(0, 0) : g[0].sum(0)};
          },
          {random({4, 3}), random({2, 3}), random({2})},
          {"mean over the batch", "bias of the first row", "no gradient of x if the weight is frozen"}};
}

inline Kind clamp() {
  return {"clamp",
          [](Context& context, const Tensors& in, int) -> Tensors {
            const Tensor y = in[0].clamp(-0.5, 0.5);
            context.save_for_backward({in[0]});
            return {y};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensor x = context.get_saved_variables()[0];
            const Tensor inside = (x > -0.5) & (x < 0.5);
            if (mistake == 2) {  // as a kernel reads the memory that takes it for contiguous
              return {g[0].as_strided(g[0].sizes(), inside.contiguous().strides()) * inside};
            }
            return {mistake == 1 ? g[0].clamp(-0.5, 0.5) : g[0] * inside};
          },
          {random({4, 3})},
          {"the gradient is clamped", "contiguous memory assumed"}};
}

inline Kind lstm_cell() {
  return {"LSTM cell",  // gates [N, 4 H], the old cell [N, H] -> the new output and cell
          [](Context& context, const Tensors& in, int) -> Tensors {
            const auto gates = in[0].chunk(4, 1);
            const Tensor i = gates[0].sigmoid(), f = gates[1].sigmoid(), g = gates[2].tanh(),
                         o = gates[3].sigmoid();
            const Tensor cell = f * in[1] + i * g, tanh = cell.tanh();
            context.save_for_backward({i, f, g, o, tanh, in[1]});
            return {o * tanh, cell};
          },
          [](Context& context, const Tensors& grad, int mistake) -> Tensors {
            const Tensors s = context.get_saved_variables();
            const Tensor &i = s[0], &f = s[1], &g = s[2], &o = s[3], &tanh = s[4], &old = s[5];
            const Tensor through_output =
                grad[0] * o * (mistake == 1 ? at::ones_like(tanh) : 1 - tanh * tanh);
            const Tensor cell = mistake == 2 ? through_output : grad[1] + through_output;
            const Tensor gates =
                at::cat({cell * g * i * (1 - i), cell * old * f * (1 - f),
                         cell * i * (mistake == 3 ? g * (1 - g) : 1 - g * g), grad[0] * tanh * o * (1 - o)},
                        1);
            return {gates, mistake == 4 ? cell : cell * f};
          },
          {random({3, 8}), random({3, 2})},
          {"tanh of the cell not derived", "the next step's gradient of the cell lost",
           "sigmoid's derivative for tanh", "forget gate forgotten"}};
}

inline Kind focal_loss() {
  constexpr double kGamma = 2;
  return {"focal loss",  // of logits [N] with targets 1
          [](Context& context, const Tensors& in, int) -> Tensors {
            const Tensor p = in[0].sigmoid();
            context.save_for_backward({p});
            return {(-(1 - p).pow(kGamma) * p.log()).mean()};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensor p = context.get_saved_variables()[0];
            const Tensor of_log = -(1 - p).pow(kGamma) * (1 - p);
            const Tensor of_weight = kGamma * (1 - p).pow(kGamma) * p * p.log();
            const Tensor sum = mistake == 1 ? of_log : mistake == 2 ? of_log - of_weight : of_log + of_weight;
            return {g[0] * (mistake == 3 ? sum : sum / p.numel())};
          },
          {random({5})},
          {"weight treated as a constant", "sign of the weight's part", "sum instead of mean"}};
}

inline Kind sparsemax() {
  return {"sparsemax",
          [](Context& context, const Tensors& in, int) -> Tensors {
            const Tensor sorted = std::get<0>(in[0].sort(1, /*descending=*/true));
            const Tensor ranks = at::arange(1, in[0].size(1) + 1, in[0].options().requires_grad(false));
            const Tensor sums = sorted.cumsum(1) - 1;
            const Tensor size = (ranks * sorted > sums).sum(1, true);
            const Tensor threshold = sums.gather(1, size - 1) / size;
            const Tensor y = (in[0] - threshold).clamp_min(0);
            context.save_for_backward({y > 0});
            return {y};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensor support = context.get_saved_variables()[0].to(g[0].scalar_type());
            const Tensor sum = ((mistake == 1 ? at::ones_like(support) : support) * g[0]).sum(1, true);
            const Tensor mean =
                sum / (mistake == 2 ? at::full_like(sum, g[0].size(1)) : support.sum(1, true));
            return {mistake == 3 ? support * g[0] : support * (g[0] - mean)};
          },
          {random({4, 5})},
          {"sum over all", "divided by all", "the threshold treated as a constant"}};
}

inline Tensor block(const Tensor& x, const Tensor& weight) { return at::tanh(x.matmul(weight)) + x; }

inline Kind checkpointed_block() {
  return {"checkpointed block",
          [](Context& context, const Tensors& in, int) -> Tensors {
            context.save_for_backward({in[0], in[1]});
            return {block(in[0], in[1])};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensors saved = context.get_saved_variables();
            const c10::AutoGradMode grad_mode(true);
            const Tensor x = saved[0].detach().requires_grad_(), weight = saved[1].detach().requires_grad_();
            const Tensor y = mistake == 1 ? at::tanh(x.matmul(weight)) : block(x, weight);
            Tensors gradients = torch::autograd::grad({y}, {x, weight}, {g[0]});
            if (mistake == 2) {
              gradients[1] = Tensor();
            } else if (mistake == 3) {  // a buffer that is used for every call
              static Tensor buffer;
              buffer =
                  buffer.defined() && buffer.sizes() == x.sizes() ? buffer : at::empty_like(gradients[0]);
              gradients[0] = buffer.copy_(gradients[0]).view_as(x);
            }
            return gradients;
          },
          {random({4, 3}), random({3, 3})},
          {"another block computed again", "the weight's gradient lost", "a buffer returned"}};
}

inline Kind huber_loss() {
  return {"Huber loss",
          [](Context& context, const Tensors& in, int) -> Tensors {
            const Tensor difference = in[0] - in[1];
            context.save_for_backward({difference});
            return {at::where(difference.abs() < 1, 0.5 * difference.square(), difference.abs() - 0.5)};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensor difference = context.get_saved_variables()[0];
            const Tensor slope = mistake == 1 ? difference : difference.clamp(-1, 1);
            return {g[0] * slope, mistake == 2 ? g[0] * slope : -g[0] * slope};
          },
          {random({6}), random({6})},
          {"slope not limited", "sign of the target's gradient"}};
}

inline Kind l2_normalize() {
  return {"L2 normalization",
          [](Context& context, const Tensors& in, int) -> Tensors {
            const Tensor norm = in[0].norm(2, 1, true);
            context.save_for_backward({in[0] / norm, norm});
            return {in[0] / norm};
          },
          [](Context& context, const Tensors& g, int mistake) -> Tensors {
            const Tensors saved = context.get_saved_variables();
            const Tensor& y = saved[0];
            const Tensor along = (g[0] * y).sum(1, true);
            if (mistake == 2) {
              return {g[0].sub_(y * along).div_(saved[1])};
            }
            return {(mistake == 1 ? g[0] : g[0] - y * along) / saved[1]};
          },
          {random({3, 4})},
          {"the norm treated as a constant", "the upstream gradient overwritten"}};
}

inline std::vector<Kind> kinds() {
  at::manual_seed(5);
  return {straight_through(), gradient_reversal(),
          bias_gelu(),        layer_norm(),
          linear(),           clamp(),
          lstm_cell(),        focal_loss(),
          sparsemax(),        checkpointed_block(),
          huber_loss(),       l2_normalize()};
}

}  // namespace custom_functions
