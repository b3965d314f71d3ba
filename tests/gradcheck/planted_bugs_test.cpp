#include <algorithm>
#include <cmath>

#include "functions.h"

namespace twingrad::gradcheck_tests {
namespace {

// Planted bugs and the cause that the result names. Most are classic mistakes in hand-written backward
// passes.

struct PlantedBug {
  const char* bug;
  Cause cause;
  GradcheckFunction forward;
  GradcheckBackward backward;
  Tensors inputs;
};

class PlantedBugs {
 public:
  /// A wrong gradient (x, y, g) ↦ ∂L/∂x of y = fn(x).
  template <typename Fn, typename Gradient>
  void add(const char* bug, Cause cause, Fn fn, Gradient gradient, const Tensor& x = constant({3, 4})) {
    bugs_.push_back({bug, cause, [fn](T in) -> Tensors { return {fn(in[0])}; }, backward_of(gradient), {x}});
  }
  void add_general(PlantedBug bug) { bugs_.push_back(std::move(bug)); }
  const std::vector<PlantedBug>& list() const { return bugs_; }

 private:
  std::vector<PlantedBug> bugs_;
};

// clang-format off
void add_elementwise_bugs(PlantedBugs& bugs) {
  const auto exp = [](auto& x) { return x.exp(); };
  const auto square = [](auto& x) { return x.pow(2); };
  const auto softmax = [](auto& x) { return x.softmax(1); };
  const auto leaky_relu = [](auto& x) { return at::where(x > 0, x, 0.1 * x); };
  bugs.add("sign: subtracted instead of added", Cause::sign, exp,
           [](auto&, auto& y, auto& g) { return -g * y; });
  bugs.add("factor 2: a forgotten half", Cause::factor, [](auto& x) { return x.pow(2) / 2; },
           [](auto& x, auto&, auto& g) { return 2 * x * g; });
  bugs.add("factor 1/2: x·x with one of two terms", Cause::factor, square,
           [](auto& x, auto&, auto& g) { return x * g; });
  bugs.add("another factor", Cause::factor, exp,
           [](auto&, auto& y, auto& g) { return 3.7 * g * y; });
  bugs.add("a factor at some entries: a slope applied twice", Cause::factor, leaky_relu,
           [](auto& x, auto&, auto& g) { return g * ((x > 0) + 0.01 * (x <= 0)); },
           at::tensor({-1.0, -2.0, 1.0, 3.0}, at::kDouble));
  bugs.add("complex gradient not conjugated", Cause::conjugated, [](auto& z) { return z * z; },
           [](auto& z, auto&, auto& g) { return g * 2 * z; }, at::randn({1}, at::kComplexDouble));
  bugs.add("softmax with the first term only", Cause::unknown, softmax,
           [](auto&, auto& y, auto& g) { return g * y; });
  bugs.add("softmax with y(1 − y) only", Cause::diagonal_only, softmax,
           [](auto&, auto& y, auto& g) { return g * y * (1 - y); });
  bugs.add("ReLU masked by the upstream gradient", Cause::unknown, [](auto& x) { return x.relu(); },
           [](auto&, auto&, auto& g) { return g * (g > 0); });
  bugs.add("sigmoid's slope y instead of y(1 − y)", Cause::unknown, [](auto& x) { return x.sigmoid(); },
           [](auto&, auto& y, auto& g) { return g * y; });
  bugs.add("tanh's slope at x instead of y", Cause::unknown, [](auto& x) { return x.tanh(); },
           [](auto& x, auto&, auto& g) { return g * (1 - x.pow(2)); });
  bugs.add("centred rows with the mean treated as a constant", Cause::unknown,
           [](auto& x) { return x - x.mean(1, true); }, [](auto&, auto&, auto& g) { return g; });
}

void add_reduction_bugs(PlantedBugs& bugs) {
  bugs.add("mean with the gradient of a sum", Cause::missing_mean, [](auto& x) { return x.mean(); },
           [](auto& x, auto&, auto& g) { return g * at::ones_like(x); });
  bugs.add("mean over rows without 1/N", Cause::missing_mean, [](auto& x) { return x.mean(0); },
           [](auto& x, auto&, auto& g) { return g.expand_as(x); }, constant({5, 4}));
  bugs.add("sum with the gradient of a mean", Cause::extra_mean, [](auto& x) { return x.sum(); },
           [](auto& x, auto&, auto& g) { return g * at::ones_like(x) / 12; });
}

void add_matrix_bugs(PlantedBugs& bugs) {
  bugs.add_general({"weights not transposed in grad_x = g Wᵀ", Cause::transposed, product_of,
                    [](T in, T, T g) -> Tensors { return {g[0].matmul(in[1]), Tensor()}; },
                    {variable({4, 3}), constant({3, 3})}});
  bugs.add_general({"gradient of square weights transposed: gᵀ x", Cause::transposed, product_of,
                    [](T in, T, T g) -> Tensors { return {Tensor(), g[0].t().matmul(in[0])}; },
                    {constant({4, 3}), variable({3, 3})}});
  bugs.add_general({"rectangular weight gradient transposed, then reshaped", Cause::transposed, product_of,
                    [](T in, T, T g) -> Tensors { return {{}, g[0].t().matmul(in[0]).reshape({3, 2})}; },
                    {constant({4, 3}), variable({3, 2})}});
}

void add_unwritten_gradients(PlantedBugs& bugs) {
  const auto exp = [](auto& x) { return x.exp(); };
  bugs.add("gradient never written: zeros", Cause::not_filled, exp,
           [](auto& x, auto&, auto&) { return at::zeros_like(x); });
  bugs.add("gradient never written: undefined", Cause::not_filled, exp,
           [](auto&, auto&, auto&) { return Tensor(); });
  bugs.add("gradient written for the first rows only", Cause::not_filled, exp, [](auto&, auto& y, auto& g) {
    Tensor gradient = at::zeros_like(y);
    gradient.slice(0, 0, 2).copy_((g * y).slice(0, 0, 2));
    return gradient;
  });
  bugs.add("gradient never written: NaN", Cause::non_finite, exp,
           [](auto& x, auto&, auto&) { return at::full_like(x, NAN); });
  bugs.add("one infinite entry", Cause::non_finite, exp, [](auto&, auto& y, auto& g) {
    Tensor gradient = g * y;
    gradient[0][0] = INFINITY;
    return gradient;
  });
  bugs.add_general({"bias gradient overwritten by each sample", Cause::overwritten,
                    [](T in) -> Tensors { return {in[0].detach() + in[1]}; },
                    [](T, T, T g) -> Tensors { return {Tensor(), g[0][-1]}; },
                    {constant({4, 3}), variable({3})}});
  bugs.add("repeated indices overwritten: put instead of add", Cause::overwritten,
           [](auto& x) { return x.index_select(0, at::tensor({0, 2, 0}, at::kLong)); },
           [](auto& x, auto&, auto& g) {
             Tensor gradient = at::zeros_like(x);
             for (const auto& [row, index] : {std::pair{0, 0}, {1, 2}, {2, 0}}) {
               gradient[index].copy_(g[row]);
             }
             return gradient;
           },
           constant({3, 2}));
  bugs.add_general({"two outputs, the contribution of the first overwritten", Cause::overwritten,
                    [](T in) -> Tensors { return {in[0].sin(), in[0].exp()}; },
                    [](T in, T, T g) -> Tensors { return {g[1] * in[0].exp()}; },
                    {constant({3})}});
}
// clang-format on

TEST(CheckBackwardBugs, PlantedBugsFailWithTheRightCause) {
  at::manual_seed(5);
  PlantedBugs bugs;
  add_elementwise_bugs(bugs);
  add_reduction_bugs(bugs);
  add_matrix_bugs(bugs);
  add_unwritten_gradients(bugs);
  for (const PlantedBug& planted : bugs.list()) {
    SCOPED_TRACE(planted.bug);
    const GradcheckResult result = check_backward(planted.forward, planted.backward, planted.inputs);
    EXPECT_FALSE(result);
    const auto failed =
        std::find_if(result.comparisons.begin(), result.comparisons.end(),
                     [](const GradcheckComparison& comparison) { return !comparison.passed; });
    if (failed == result.comparisons.end()) {
      ADD_FAILURE() << "no comparison failed\n" << result.to_string();
      continue;
    }
    EXPECT_STREQ(to_string(failed->cause), to_string(planted.cause)) << result.to_string();
    EXPECT_FALSE(check_backward(planted.forward, planted.backward, planted.inputs, kFast));
  }
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
