#include <algorithm>

#include "functions.h"

// GradcheckOptions::batched_inputs: row n of the inputs may influence row n of the outputs only.
namespace twingrad::gradcheck_tests {
namespace {

/// sin(x) of 5 rows, and `influence` times row `from` of x added to row `to`.
GradcheckFunction contaminated(std::int64_t from, std::int64_t to, double influence) {
  return [=](T in) -> Tensors {
    Tensor mix = at::eye(in[0].size(0), at::kDouble);
    mix[to][from] += influence;
    return {in[0].sin(), in[0].cos().matmul(at::ones({2, 1}, at::kDouble)) + mix.matmul(in[0])};
  };
}

TEST(IndependentRows, OneContaminatedRowIsFound) {
  at::manual_seed(1);
  const Tensors x = {variable({5, 2})};
  for (std::int64_t from = 0; from < 5; ++from) {
    for (std::int64_t to = 0; to < 5; ++to) {
      SCOPED_TRACE(c10::str(from, " to ", to));
      const GradcheckResult result = gradcheck(contaminated(from, to, 1e-3), x, kBatched);
      if (from == to) {
        EXPECT_TRUE(result) << result.to_string();
      } else {
        expect_failure(result, c10::str("its row ", from, " changes row ", to, " of output 1"));
      }
    }
  }
  EXPECT_FALSE(gradcheck(contaminated(3, 1, 2.1e-5), x, kBatched)) << "every step is at least h / 2";
  EXPECT_TRUE(gradcheck(contaminated(3, 1, 1e-6), x, kBatched)) << "less than atol in a Jacobian";
}

TEST(IndependentRows, UpTo16AreTestedAndAllArePerturbedTogether) {
  at::manual_seed(1);
  for (const std::int64_t rows : {0, 1, 16, 40}) {
    int calls = 0;
    const GradcheckFunction counted = [&](T in) -> Tensors {
      ++calls;
      return {in[0].sin()};
    };
    const GradcheckResult result =
        gradcheck(counted, {variable({rows, 3})},
                  without_contract({.check_undefined_grad = false, .batched_inputs = {0}}));
    EXPECT_TRUE(result) << result.to_string();
    EXPECT_EQ(result.comparisons[0].entries, rows * rows * 9);
    const int once = 4;  // for autograd, twice to see that it is deterministic, once without autograd
    EXPECT_EQ(calls, once + 1 + std::min<std::int64_t>(rows, 16) + (rows == 0 ? 0 : 2 * 3)) << rows;
  }
}

TEST(IndependentRows, AWrongEntryIsFoundAtItsPlace) {
  at::manual_seed(1);
  const auto leaks = with_gradient(exp_of, [](const Tensor& x, const Tensor& g) {
    Tensor gradient = g * x.exp();
    gradient[1][0] += 0.1 * g[3][1];
    gradient[2][1] += 0.2 * g[2][1];
    return gradient;
  });
  const GradcheckResult result = gradcheck(leaks, {variable({4, 2})}, kBatched);
  EXPECT_FALSE(result);
  std::vector<std::vector<std::int64_t>> places;
  for (const GradcheckEntry& entry : only_comparison(result).bad_entries) {
    places.push_back(entry.output_index);
    places.push_back(entry.input_index);
  }
  EXPECT_THAT(places, ::testing::UnorderedElementsAre(ElementsAre(3, 1), ElementsAre(1, 0), ElementsAre(2, 1),
                                                      ElementsAre(2, 1)));
}

TEST(IndependentRows, OtherInputsAndComplexOnesArePerturbedOneByOneOrTogether) {
  at::manual_seed(1);
  const Tensor z = at::randn({4, 2}, at::kComplexDouble).requires_grad_();
  const Tensor w = at::randn({2, 3}, at::kComplexDouble).requires_grad_();
  EXPECT_TRUE(gradcheck(product_of, {z, w}, kBatched));
  const GradcheckFunction swapped = [](T in) -> Tensors { return {in[1].matmul(in[0])}; };
  EXPECT_TRUE(gradcheck(swapped, {w, z}, {.batched_inputs = {1}}));
  expect_failure(gradcheck(product_of, {z, w}, {.batched_inputs = {1}}),
                 "input 1 is declared as batched with 2 rows, but output 0 is [4, 3]");
}

TEST(IndependentRows, DependentRowsFail) {
  at::manual_seed(1);
  const Tensors x = {variable({5, 3})};
  const GradcheckFunction centred = [](T in) -> Tensors { return {in[0] - in[0].mean(0, true)}; };
  const GradcheckFunction neighbours = [](T in) -> Tensors { return {in[0] * in[0].roll(1, 0)}; };
  for (const GradcheckFunction& function : {centred, neighbours}) {
    EXPECT_TRUE(gradcheck(function, x));
    expect_failure(gradcheck(function, x, kBatched), "the rows are not independent");
  }
  const GradcheckFunction sum = [](T in) -> Tensors { return {in[0].sum(0)}; };
  expect_failure(gradcheck(sum, x, kBatched), "declared as batched with 5 rows, but output 0 is [3]");
  expect_failure(gradcheck(sum_of, x, kBatched), "declared as batched with 5 rows, but output 0 is []");
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
