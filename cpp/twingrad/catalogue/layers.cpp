#include "twingrad/catalogue/cases.h"
#include "twingrad/layers/append_ones.h"
#include "twingrad/layers/bias.h"
#include "twingrad/layers/dropout.h"
#include "twingrad/layers/linear.h"
#include "twingrad/layers/log.h"
#include "twingrad/layers/log_softmax.h"
#include "twingrad/layers/matmul.h"
#include "twingrad/layers/residual.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/layers/tanh.h"
#include "twingrad/mlp/torch_reference.h"

namespace twingrad::catalogue {
namespace {

constexpr double kEpsilon = 1e-12;

/// x from N(0, 4).
Tensors wide_input(std::int64_t rows, std::int64_t columns) { return {draw({rows, columns}, 2)}; }

/// The number of rows as a divisor.
std::int64_t rows_or_one(const Tensor& tensor) { return std::max<std::int64_t>(1, tensor.size(0)); }

// ---- Products and sums ----

FunctionEntry linear(bool has_bias) {
  const std::string name = has_bias ? "linear" : "linear.no_bias";
  const auto drawn = [=](std::int64_t rows, std::int64_t columns, std::int64_t outputs) {
    Tensors inputs = {draw({rows, columns}), draw({outputs, columns})};
    if (has_bias) {
      inputs.push_back(draw({outputs}));
    }
    return inputs;
  };
  Case infinite = {"infinite", drawn(3, 4, 3), false};
  infinite.inputs[0][1][2] = kInfinity;
  const auto with_last = [](const Backward& b, const Tensor& last) {
    Tensors grads = b.grads;
    grads.back() = last;
    return grads;
  };
  FunctionEntry entry = {
      .name = name,
      .make = has_bias ? make_layer<nn::Linear, 2>() : make_layer<nn::Linear, 1>(nn::Parameter{}),
      .reference = [=](const Tensors& in) { return at::linear(in[0], in[1], has_bias ? in[2] : Tensor()); },
      .cases = cases_of([=](auto rows, auto columns) { return drawn(rows, columns, 3); }) +
               std::vector<Case>{{"square", drawn(4, 4, 4)}, infinite},
      .bugs = {
          {name + ".transpose_forgotten",
           "W is stored as [outputs, inputs]; if it is square, the shapes fit either way",
           [](const Backward& b) {
             const bool square = b.inputs[1].size(0) == b.inputs[1].size(1);
             return with_first(b.grads, square ? b.grad_y.mm(b.inputs[1].t()) : b.grads[0]);
           }},
          {name + ".weight_not_filled",
           "the first layer needs no input gradient; an early return skips W too", [](const Backward& b) {
             Tensors grads = b.grads;
             grads[1] = at::zeros_like(grads[1]);
             return grads;
           }}}};
  if (has_bias) {
    entry.bugs.push_back({name + ".bias_of_one_row",
                          "b is broadcast to every row; the sum over rows is missing",
                          [=](const Backward& b) {
                            return with_last(b, b.grad_y.size(0) > 0 ? b.grad_y[0].clone() : b.grads[2]);
                          }});
    entry.bugs.push_back(
        {name + ".bias_averaged", "the loss already divides by N; this divides a second time",
         [=](const Backward& b) { return with_last(b, b.grads[2] / rows_or_one(b.grad_y)); }});
  }
  return entry;
}

FunctionEntry matmul() {
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}), draw({columns, 3})};
  };
  Case infinite = {"infinite", inputs(3, 4), false};
  infinite.inputs[0][1][2] = -kInfinity;
  return {
      .name = "matmul",
      .make = make_layer<nn::Matmul, 1>(),
      .reference = [](const Tensors& in) { return at::matmul(in[0], in[1]); },
      .cases = cases_of(inputs) + std::vector<Case>{{"square", {draw({4, 4}), draw({4, 4})}}, infinite},
      .bugs = {{"matmul.transpose_forgotten", "xᵀ ∂L/∂y and x ∂L/∂y have the same shape when all sizes agree",
                [](const Backward& b) {
                  const bool square = b.inputs[0].sizes() == b.inputs[1].sizes();
                  return Tensors{b.grads[0], square ? b.inputs[0].mm(b.grad_y) : b.grads[1]};
                }},
               {"matmul.sign", "the minus sign of the loss is applied a second time", [](const Backward& b) {
                  return Tensors{b.grads[0], -b.grads[1]};
                }}}};
}

FunctionEntry append_ones() {
  return {
      .name = "append_ones",
      .make = make_layer<nn::AppendOnes>(),
      .reference = [](const Tensors& in) { return torch_reference::append_ones(in[0]); },
      .cases = cases_of(wide_input) +
               std::vector<Case>{{"infinite", {matrix({kInfinity, -kInfinity, 0, 1}, 2)}, false}},
      .bugs = {{"append_ones.wrong_column", "the first column is dropped; some texts put the ones there",
                [](const Backward& b) { return Tensors{b.grad_y.narrow(1, 1, b.inputs[0].size(1))}; }},
               {"append_ones.constant_gets_gradient",
                "the gradient of the ones is added to that of the last input column", [](const Backward& b) {
                  Tensor grad = b.grads[0].clone();
                  if (grad.size(1) > 0) {
                    grad.select(1, -1).add_(b.grad_y.select(1, -1));
                  }
                  return Tensors{grad};
                }}}};
}

FunctionEntry add_bias() {
  return {
      .name = "bias",
      .make = make_layer<nn::AddBias, 1>(),
      .reference = [](const Tensors& in) { return in[0] + in[1]; },
      .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
                 return Tensors{draw({rows, columns}), draw({columns})};
               }) +
               std::vector<Case>{{"infinite", {matrix({kInfinity, -kInfinity, 0, 1}, 2), draw({2})}, false}},
      .bugs = {{"bias.of_one_row", "b is broadcast to every row; the sum over rows is missing",
                [](const Backward& b) {
                  return Tensors{b.grads[0], b.grad_y.size(0) > 0 ? b.grad_y[0].clone() : b.grads[1]};
                }},
               {"bias.averaged", "the mean over the rows instead of the sum", [](const Backward& b) {
                  return Tensors{b.grads[0], b.grads[1] / rows_or_one(b.grad_y)};
                }}}};
}

// ---- Softmax and log ----

/// −∞ is a probability of 0.
Case minus_infinity() {
  return {"infinite", {matrix({-kInfinity, 1, 2, -kInfinity, -kInfinity, 3}, 2)}, false};
}

/// Rows without a finite maximum: ∞ − ∞ is NaN.
Case no_finite_maximum() {
  return {.name = "no finite maximum",
          .inputs = {matrix({kInfinity, 1, 2, -kInfinity, -kInfinity, -kInfinity, 1, 2, 3}, 3)},
          .smooth = false,
          .nan_expected = true};
}

std::vector<Bug> softmax_bugs(const std::string& name) {
  return {{name + ".diagonal_only", "each output depends on all inputs of its row, not only on its own",
           [](const Backward& b) { return Tensors{b.grad_y * b.y * (1 - b.y)}; }},
          {name + ".sum_over_the_wrong_axis", "in a square batch the shapes fit",
           [](const Backward& b) { return Tensors{b.y * (b.grad_y - (b.grad_y * b.y).sum(0, true))}; }},
          {name + ".sum_treated_as_constant", "the denominator depends on the input too",
           [](const Backward& b) { return Tensors{b.y * b.grad_y}; }}};
}

FunctionEntry softmax() {
  // At least one column: an empty row has no maximum.
  return {
      .name = "softmax",
      .make = make_layer<nn::Softmax>(),
      .reference = [](const Tensors& in) { return at::softmax(in[0], 1); },
      .cases = cases_of(wide_input, {.columns = 1}) +
               std::vector<Case>{{"saturated", {matrix({1e4, -1e4, 0, 0, 0, 0, -1e4, -1e4, -1e4}, 3)}, false},
                                 minus_infinity(),
                                 no_finite_maximum()},
      .bugs = softmax_bugs("softmax")};
}

FunctionEntry unshifted_softmax() {
  // At least two columns: in one column y = e/(e + ε) is 1 up to 1e-12, and 1 − y has no correct digits, in
  // autograd either. No inputs of 1e4: exp overflows, and ∞/∞ is NaN.
  const Limits limits = {.columns = 2, .far = false};
  return {.name = "unshifted_softmax",
          .make = make_layer<nn::UnshiftedSoftmax>(kEpsilon),
          .reference = [](const Tensors& in) { return torch_reference::unshifted_softmax(in[0], kEpsilon); },
          .cases = cases_of(wide_input, limits) +
                   std::vector<Case>{{"no columns", {draw({4, 0})}},
                                     {"epsilon outweighs exp", {at::full({2, 3}, -40., at::kDouble)}},
                                     {"large exponentials", {matrix({80, 79, 0})}},
                                     minus_infinity()},
          .bugs = softmax_bugs("unshifted_softmax")};
}

FunctionEntry log_softmax() {
  return {.name = "log_softmax",
          .make = make_layer<nn::LogSoftmax>(),
          .reference = [](const Tensors& in) { return at::log_softmax(in[0], 1); },
          .cases = cases_of(wide_input, {.columns = 1}) +
                   std::vector<Case>{{"saturated", {matrix({1e4, -1e4, 0, -1e4, -1e4, -1e4}, 2)}, false},
                                     minus_infinity(),
                                     no_finite_maximum()},
          .bugs = {{"log_softmax.softmax_forgotten", "only the numerator is differentiated",
                    [](const Backward& b) { return Tensors{b.grad_y.clone()}; }},
                   {"log_softmax.softmax_derivative", "the derivative of softmax instead of its logarithm",
                    [](const Backward& b) {
                      const Tensor p = b.y.exp();
                      return Tensors{p * (b.grad_y - (b.grad_y * p).sum(1, true))};
                    }}}};
}

FunctionEntry log() {
  return {.name = "log",
          .make = make_layer<nn::Log>(kEpsilon),
          .reference = [](const Tensors& in) { return torch_reference::log(in[0], kEpsilon); },
          .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
                     return Tensors{draw({rows, columns}).abs() + 0.1};
                   }) +
                   std::vector<Case>{{"zero", {at::zeros({2, 3}, at::kDouble)}, false},
                                     {"infinite", {matrix({kInfinity, 2})}, false}},
          .bugs = {{"log.epsilon_forgotten", "1/x looks right until a probability is 0",
                    [](const Backward& b) { return Tensors{b.grad_y / b.inputs[0]}; }},
                   {"log.derivative_of_exp", "exp is its own derivative, log is not",
                    [](const Backward& b) { return Tensors{b.grad_y * b.y}; }}}};
}

// ---- Dropout, residual ----

FunctionEntry dropout(bool training) {
  constexpr double kP = 0.3;
  const std::string name = training ? "dropout" : "dropout.eval";
  const auto make = [=](const std::vector<nn::Parameter>& p) {
    auto layer = std::make_unique<nn::Dropout>(kP);
    layer->set_mask(p[0].value);
    layer->train(training);
    return layer;
  };
  return {.name = name,
          .make = [=] { return of_layer(make); },
          .reference = [=](const Tensors& in) { return training ? in[0] * in[1] / (1 - kP) : in[0] * 1; },
          .constants = 1,
          // The mask is a constant input. Nothing infinite: a dropped ∞ is 0 · ∞ = NaN.
          .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
            return Tensors{draw({rows, columns}), draw({rows, columns}) > -0.5};
          }),
          .bugs = {{name + ".mask_forgotten",
                    training ? "the gradient of a dropped entry must be 0 too"
                             : "the mask is applied in evaluation",
                    [=](const Backward& b) {
                      return Tensors{training ? b.grad_y / (1 - kP) : b.grad_y * b.inputs[1]};
                    }},
                   {name + (training ? ".scale_forgotten" : ".scale_in_evaluation"),
                    training ? "the factor 1/(1 − p) belongs to the backward pass too"
                             : "the factor 1/(1 − p) is applied in evaluation",
                    [=](const Backward& b) {
                      return Tensors{training ? b.grad_y * b.inputs[1] : b.grad_y / (1 - kP)};
                    }}}};
}

FunctionEntry residual() {
  const auto make = [](const std::vector<nn::Parameter>& p) {
    std::vector<std::unique_ptr<nn::Layer>> branch;
    branch.push_back(std::make_unique<nn::Linear>(p[0], p[1]));
    branch.push_back(std::make_unique<nn::Tanh>());
    return std::make_unique<nn::Residual>(std::move(branch));
  };
  return {
      .name = "residual",
      .make = [=] { return of_layer(make); },
      .reference = [](const Tensors& in) { return in[0] + at::tanh(at::linear(in[0], in[1], in[2])); },
      .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
        return Tensors{draw({rows, columns}), draw({columns, columns}), draw({columns})};
      }),
      .bugs = {{"residual.skip_forgotten", "the gradient through the skip connection is missing",
                [](const Backward& b) { return with_first(b.grads, b.grads[0] - b.grad_y); }},
               {"residual.branch_forgotten", "one of the two gradients overwrites the other: = instead of +=",
                [](const Backward& b) { return with_first(b.grads, b.grad_y.clone()); }}}};
}

}  // namespace

std::vector<FunctionEntry> layer_entries() {
  restart_draws();
  return std::vector<FunctionEntry>{linear(true),        matmul(), append_ones(), softmax(),
                                    unshifted_softmax(), log()} +
         activation_entries() + std::vector<FunctionEntry>{add_bias(),     log_softmax(), dropout(true),
                                                           dropout(false), residual(),    linear(false)} +
         normalization_entries();
}

}  // namespace twingrad::catalogue
