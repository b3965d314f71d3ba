#include <cmath>
#include <limits>

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

namespace twingrad::catalogue {
namespace {

constexpr double kEpsilon = 1e-12;

/// A matrix of N(0, 4).
Inputs matrix() {
  return [](std::int64_t rows, std::int64_t columns) { return Tensors{draw({rows, columns}, 2)}; };
}

/// [[…]] of float64, row by row.
Tensor matrix_of(std::initializer_list<double> values, std::int64_t rows) {
  return at::tensor(at::ArrayRef<double>(values)).to(at::kDouble).view({rows, -1});
}

// ---- Products and sums ----

Entry linear() {
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}), draw({3, columns}), draw({3})};
  };
  Case infinite = {"infinite", inputs(3, 4), false};
  infinite.inputs[0][1][2] = kInfinity;
  return {
      .name = "linear",
      .make = [] { return of_layer([](const auto& p) { return std::make_unique<Linear>(p[0], p[1]); }); },
      .reference = [](const Tensors& in) { return at::linear(in[0], in[1], in[2]); },
      .cases =
          cases_of(inputs) + std::vector<Case>{{"square", {draw({4, 4}), draw({4, 4}), draw({4})}}, infinite},
      .bugs =
          {
              {"linear.transpose_forgotten",
               "W is stored as [outputs, inputs], so with a square W the shapes fit either way",
               [](const Backward& b) {
                 const bool square = b.inputs[1].size(0) == b.inputs[1].size(1);
                 return Tensors{square ? b.grad_y.mm(b.inputs[1].t()) : b.grads[0], b.grads[1], b.grads[2]};
               }},
              {"linear.bias_of_one_row",
               "broadcasting added b to every row; the sum over rows is easily forgotten",
               [](const Backward& b) {
                 return Tensors{b.grads[0], b.grads[1],
                                b.grad_y.size(0) > 0 ? b.grad_y[0].clone() : b.grads[2]};
               }},
              {"linear.bias_averaged", "the loss already holds the 1/N; here it comes a second time",
               [](const Backward& b) {
                 return Tensors{b.grads[0], b.grads[1],
                                b.grads[2] / std::max<std::int64_t>(1, b.grad_y.size(0))};
               }},
              {"linear.weight_not_filled",
               "the first layer needs no input gradient, and a copied early return skips W too",
               [](const Backward& b) {
                 return Tensors{b.grads[0], at::zeros_like(b.grads[1]), b.grads[2]};
               }},
          }};
}

Entry matmul() {
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}), draw({columns, 3})};
  };
  Case infinite = {"infinite", inputs(3, 4), false};
  infinite.inputs[0][1][2] = -kInfinity;
  return {
      .name = "matmul",
      .make = [] { return of_layer([](const auto& p) { return std::make_unique<Matmul>(p[0]); }); },
      .reference = [](const Tensors& in) { return at::matmul(in[0], in[1]); },
      .cases = cases_of(inputs) + std::vector<Case>{{"square", {draw({4, 4}), draw({4, 4})}}, infinite},
      .bugs = {{"matmul.transpose_forgotten", "xᵀ ∂L/∂y and x ∂L/∂y have the same shape when all sizes agree",
                [](const Backward& b) {
                  const bool square = b.inputs[0].sizes() == b.inputs[1].sizes();
                  return Tensors{b.grads[0], square ? b.inputs[0].mm(b.grad_y) : b.grads[1]};
                }},
               {"matmul.sign", "the minus of the loss is applied here once more", [](const Backward& b) {
                  return Tensors{b.grads[0], -b.grads[1]};
                }}}};
}

Entry append_ones() {
  return {
      .name = "append_ones",
      .make = make_layer<AppendOnes>(),
      .reference =
          [](const Tensors& in) {
            return at::cat({in[0], at::ones({in[0].size(0), 1}, in[0].options())}, 1);
          },
      .cases = cases_of(matrix()) +
               std::vector<Case>{{"infinite", {matrix_of({kInfinity, -kInfinity, 0, 1}, 2)}, false}},
      .bugs = {{"append_ones.wrong_column", "the column is dropped from the front, where other texts put it",
                [](const Backward& b) { return Tensors{b.grad_y.narrow(1, 1, b.inputs[0].size(1))}; }},
               {"append_ones.constant_gets_gradient",
                "the gradient of the ones is added to that of the last pixel", [](const Backward& b) {
                  Tensor grad = b.grads[0].clone();
                  if (grad.size(1) > 0) {
                    grad.select(1, -1).add_(b.grad_y.select(1, -1));
                  }
                  return Tensors{grad};
                }}}};
}

Entry add_bias() {
  return {.name = "bias",
          .make = [] { return of_layer([](const auto& p) { return std::make_unique<AddBias>(p[0]); }); },
          .reference = [](const Tensors& in) { return in[0] + in[1]; },
          .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
                     return Tensors{draw({rows, columns}), draw({columns})};
                   }) +
                   std::vector<Case>{
                       {"infinite", {matrix_of({kInfinity, -kInfinity, 0, 1}, 2), draw({2})}, false}},
          .bugs = {{"bias.of_one_row", "broadcasting copied b to every row; each copy sends a gradient back",
                    [](const Backward& b) {
                      return Tensors{b.grads[0], b.grad_y.size(0) > 0 ? b.grad_y[0].clone() : b.grads[1]};
                    }},
                   {"bias.averaged", "the mean over the rows in place of the sum", [](const Backward& b) {
                      return Tensors{b.grads[0], b.grads[1] / std::max<std::int64_t>(1, b.grad_y.size(0))};
                    }}}};
}

// ---- Softmax and log ----

std::vector<Bug> softmax_bugs(const std::string& name) {
  return {{name + ".diagonal_only", "each output depends on every input of its row, not on its own alone",
           [](const Backward& b) { return Tensors{b.grad_y * b.y * (1 - b.y)}; }},
          {name + ".sum_over_the_wrong_axis", "with a square batch the shapes fit",
           [](const Backward& b) { return Tensors{b.y * (b.grad_y - (b.grad_y * b.y).sum(0, true))}; }},
          {name + ".sum_treated_as_constant", "the denominator depends on the input too",
           [](const Backward& b) { return Tensors{b.y * b.grad_y}; }}};
}

Entry softmax() {
  // Not no columns: of nothing there is no maximum to shift by.
  // No +∞: there ∞ − ∞ is NaN, in LibTorch too.
  const std::vector<Case> cases =
      cases_of(matrix(), {.columns = 1}) +
      std::vector<Case>{{"saturated", {matrix_of({1e4, -1e4, 0, 0, 0, 0, -1e4, -1e4, -1e4}, 3)}, false},
                        {"infinite", {matrix_of({-kInfinity, 1, 2, -kInfinity, -kInfinity, 3}, 2)}, false}};
  return {.name = "softmax",
          .make = make_layer<Softmax>(),
          .reference = [](const Tensors& in) { return at::softmax(in[0], 1); },
          .cases = cases,
          .bugs = softmax_bugs("softmax")};
}

Entry unshifted_softmax() {
  // Not one column: there y = e/(e + ε) is 1 but for 1e-12, and 1 − y has no digits left, by hand as in
  // autograd. Nor inputs of 1e4: exp overflows, ∞/∞ is NaN.
  const Limits limits = {.columns = 2, .far = false};
  const std::vector<Case> cases =
      cases_of(matrix(), limits) +
      std::vector<Case>{{"no columns", {draw({4, 0})}},
                        {"epsilon outweighs exp", {at::full({2, 3}, -40., at::kDouble)}},
                        {"infinite", {matrix_of({-kInfinity, 1, 2, -kInfinity, -kInfinity, 3}, 2)}, false}};
  return {.name = "unshifted_softmax",
          .make = make_layer<UnshiftedSoftmax>(kEpsilon),
          .reference =
              [](const Tensors& in) {
                const Tensor e = in[0].exp();
                return e / (e.sum(1, true) + kEpsilon);
              },
          .cases = cases,
          .bugs = softmax_bugs("unshifted_softmax")};
}

Entry log_softmax() {
  const std::vector<Case> cases =
      cases_of(matrix(), {.columns = 1}) +
      std::vector<Case>{{"saturated", {matrix_of({1e4, -1e4, 0, -1e4, -1e4, -1e4}, 2)}, false},
                        {"infinite", {matrix_of({-kInfinity, 1, 2, -kInfinity, -kInfinity, 3}, 2)}, false}};
  return {.name = "log_softmax",
          .make = make_layer<LogSoftmax>(),
          .reference = [](const Tensors& in) { return at::log_softmax(in[0], 1); },
          .cases = cases,
          .bugs = {{"log_softmax.softmax_forgotten", "only the numerator is differentiated",
                    [](const Backward& b) { return Tensors{b.grad_y.clone()}; }},
                   {"log_softmax.softmax_derivative", "the derivative of softmax, applied to its logarithm",
                    [](const Backward& b) {
                      const Tensor p = b.y.exp();
                      return Tensors{p * (b.grad_y - (b.grad_y * p).sum(1, true))};
                    }}}};
}

Entry log() {
  return {.name = "log",
          .make = make_layer<Log>(kEpsilon),
          .reference = [](const Tensors& in) { return at::log(in[0] + kEpsilon); },
          .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
                     return Tensors{draw({rows, columns}).abs() + 0.1};
                   }) +
                   std::vector<Case>{{"zero", {at::zeros({2, 3}, at::kDouble)}, false},
                                     {"infinite", {matrix_of({kInfinity, 2}, 1)}, false}},
          .bugs = {{"log.epsilon_forgotten", "1/x looks right until a probability is 0",
                    [](const Backward& b) { return Tensors{b.grad_y / b.inputs[0]}; }},
                   {"log.derivative_of_exp", "exp is its own derivative, log is not",
                    [](const Backward& b) { return Tensors{b.grad_y * b.y}; }}}};
}

// ---- Dropout, residual ----

Entry dropout(bool training) {
  constexpr double kP = 0.3;
  const std::string name = training ? "dropout" : "dropout.eval";
  // The mask is a constant input. Nothing infinite: a dropped ∞ is 0 · ∞ = NaN.
  const Inputs inputs = [](std::int64_t rows, std::int64_t columns) {
    return Tensors{draw({rows, columns}), draw({rows, columns}) > -0.5};
  };
  return {
      .name = name,
      .make =
          [=] {
            return of_layer([=](const std::vector<Parameter>& p) {
              auto layer = std::make_unique<Dropout>(kP);
              layer->set_mask(p[0].value);
              layer->train(training);
              return layer;
            });
          },
      .reference = [=](const Tensors& in) { return training ? in[0] * in[1] / (1 - kP) : in[0] * 1; },
      .constants = 1,
      .cases = cases_of(inputs),
      .bugs = {{name + ".mask_forgotten", "the gradient of a dropped entry is dropped too, in training alone",
                [=](const Backward& b) {
                  return Tensors{training ? b.grad_y / (1 - kP) : b.grad_y * b.inputs[1]};
                }},
               {name + (training ? ".scale_forgotten" : ".scale_in_evaluation"),
                training ? "1/(1 − p) belongs to the backward too"
                         : "the scale of training stays switched on",
                [=](const Backward& b) {
                  return Tensors{training ? b.grad_y * b.inputs[1] : b.grad_y / (1 - kP)};
                }}}};
}

Entry residual() {
  return {.name = "residual",
          .make =
              [] {
                return of_layer([](const std::vector<Parameter>& p) {
                  std::vector<std::unique_ptr<Layer>> branch;
                  branch.push_back(std::make_unique<Linear>(p[0], p[1]));
                  branch.push_back(std::make_unique<Tanh>());
                  return std::make_unique<Residual>(std::move(branch));
                });
              },
          .reference = [](const Tensors& in) { return in[0] + at::tanh(at::linear(in[0], in[1], in[2])); },
          .cases = cases_of([](std::int64_t rows, std::int64_t columns) {
            return Tensors{draw({rows, columns}), draw({columns, columns}), draw({columns})};
          }),
          .bugs = {{"residual.path_forgotten", "x goes two ways: the gradient of the straight one is lost",
                    [](const Backward& b) { return with_first(b.grads, b.grads[0] - b.grad_y); }},
                   {"residual.branch_forgotten", "the gradient is overwritten where it should be added",
                    [](const Backward& b) { return with_first(b.grads, b.grad_y.clone()); }}}};
}

}  // namespace

std::vector<Entry> layer_entries() {
  restart_draws();
  std::vector<Entry> entries = {linear(), matmul(), append_ones(), softmax(), unshifted_softmax(), log()};
  for (auto family : {activation_entries(),
                      {add_bias(), log_softmax(), dropout(true), dropout(false), residual()},
                      normalization_entries()}) {
    std::move(family.begin(), family.end(), std::back_inserter(entries));
  }
  return entries;
}

}  // namespace twingrad::catalogue
