#include "twingrad/ops/matmul.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../support/random_cases.h"

namespace twingrad {
namespace {

using namespace ops;

using at::Tensor;

/// Matrices of one shape in different memory layouts, some with other elements between their rows or columns.
std::vector<std::pair<std::string, Tensor>> layouts(std::int64_t rows, std::int64_t columns,
                                                    at::ScalarType dtype) {
  return {{"row by row", torch::empty({rows, columns}, dtype)},
          {"column by column", torch::empty({columns, rows}, dtype).t()},
          {"the first columns of more", torch::empty({rows, columns + 3}, dtype).narrow(1, 0, columns)},
          {"the first rows of more, column by column",
           torch::empty({columns, rows + 3}, dtype).t().narrow(0, 0, rows)},
          {"every second column", torch::empty({rows, 2 * columns}, dtype).slice(1, 0, 2 * columns, 2)}};
}

/// Expects an error of at most K ε Σ|a b|, the bound for a sum of K products in any order.
void expect_product(const Tensor& out, const Tensor& a, const Tensor& b, const std::string& what) {
  const double epsilon = a.scalar_type() == at::kFloat ? std::numeric_limits<float>::epsilon()
                                                       : std::numeric_limits<double>::epsilon();
  const Tensor exact = a.to(at::kDouble).mm(b.to(at::kDouble));
  const Tensor bound =
      a.to(at::kDouble).abs().mm(b.to(at::kDouble).abs()) * (epsilon * static_cast<double>(a.size(1)));
  EXPECT_TRUE(((out.to(at::kDouble) - exact).abs() <= bound).all().item<bool>()) << what;
}

TEST(Matmul, ComputesTheProductInEveryLayout) {
  torch::manual_seed(1);
  struct Sizes {
    std::int64_t m, k, n;
  };
  for (const Sizes& sizes :
       std::vector<Sizes>{{64, 784, 98}, {1, 7, 5}, {7, 1, 5}, {7, 5, 1}, {1, 1, 1}, {17, 33, 10}}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      for (auto& [layout_of_a, a] : layouts(sizes.m, sizes.k, dtype)) {
        for (auto& [layout_of_b, b] : layouts(sizes.k, sizes.n, dtype)) {
          for (auto& [layout_of_out, out] : layouts(sizes.m, sizes.n, dtype)) {
            a.normal_();
            b.normal_();
            out.fill_(std::numeric_limits<double>::quiet_NaN());  // must be overwritten
            EXPECT_EQ(&matmul(out, a, b), &out);
            expect_product(out, a, b, layout_of_a + " · " + layout_of_b + " → " + layout_of_out);
          }
        }
      }
    }
  }
}

TEST(Matmul, WritesOnlyTheOutput) {
  const Tensor whole = torch::full({8, 9}, -1.0F);
  Tensor part = whole.narrow(0, 0, 7).narrow(1, 0, 6);
  matmul(part, torch::ones({7, 4}), torch::ones({4, 6}));
  EXPECT_EQ(part.sum().item<float>(), 7 * 6 * 4);
  EXPECT_EQ(whole.sum().item<float>(), 7 * 6 * 4 - (8 * 9 - 7 * 6));
}

TEST(Matmul, RowsAndColumnsMayOverlapInMemory) {
  const Tensor numbers = torch::randn({40});
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{5, 2}, {2, 5}, {4, 4}}) {
    for (std::int64_t stride = 1; stride <= 6; ++stride) {
      SCOPED_TRACE(::testing::Message() << rows << "x" << columns << ", stride " << stride);
      for (const Tensor& matrix : {numbers.as_strided({rows, columns}, {1, stride}),
                                   numbers.as_strided({rows, columns}, {stride, 1})}) {
        const Tensor copy = matrix.contiguous(), right = torch::randn({columns, 3}),
                     left = torch::randn({3, rows});
        Tensor out = torch::empty({rows, 3});
        EXPECT_TRUE(matmul(out, matrix, right).allclose(copy.mm(right), 1e-5, 1e-5));
        out = torch::empty({3, columns});
        EXPECT_TRUE(matmul(out, left, matrix).allclose(left.mm(copy), 1e-5, 1e-5));
      }
    }
  }
}

TEST(Matmul, AProductWithInnerSizeZeroIsZero) {
  Tensor out = torch::ones({2, 3});
  EXPECT_TRUE(matmul(out, torch::ones({2, 0}), torch::ones({0, 3})).equal(torch::zeros({2, 3})));
  Tensor none = torch::ones({0, 3});
  EXPECT_EQ(matmul(none, torch::ones({0, 2}), torch::ones({2, 3})).numel(), 0);
}

TEST(Matmul, PropagatesNaNAndInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor a = torch::tensor({{0.0F, infinity}, {NAN, 1.0F}, {1.0F, 1.0F}});
  Tensor out = torch::empty({3, 2});
  matmul(out, a, torch::eye(2));
  EXPECT_TRUE(
      out.isnan().equal(torch::tensor({{true, false}, {true, true}, {false, false}})));  // 0 · ∞, NaN · 0
  EXPECT_EQ(out[0][1].item<float>(), infinity);
}

TEST(Addmm, AddsAVectorToEveryRow) {
  const Tensor a = torch::rand({17, 33});
  const Tensor b = torch::rand({33, 10});
  const Tensor c = torch::rand({10});
  for (auto& [layout, out] : layouts(17, 10, at::kFloat)) {
    out.fill_(NAN);
    EXPECT_EQ(&addmm(out, c, a, b), &out);
    EXPECT_TRUE(out.allclose(c + a.mm(b), 1e-6, 0)) << layout;
  }
}

/// A matrix with any memory layout: entries can be far apart, or shared by all rows or columns.
Tensor random_operand(testing::RandomCase& random, std::int64_t rows, std::int64_t columns,
                      at::ScalarType dtype) {
  switch (random.integer(0, 4)) {
    case 0:
      return torch::randn({rows, columns}, dtype);
    case 1:
      return torch::randn({columns, rows}, dtype).t();
    case 2:
      return torch::randn({1, columns}, dtype).expand({rows, columns});
    case 3:
      return torch::randn({rows, 1}, dtype).expand({rows, columns});
    default:  // rows or columns that overlap in memory
      return torch::randn({rows + 2 * columns + 1}, dtype)
          .as_strided({rows, columns}, {1, random.integer(1, 2)}, random.integer(0, 1));
  }
}

struct ProductOperands {
  Tensor out, c, a, b;
};

/// Sizes and dtypes fit, except for one of them in some cases.
ProductOperands random_product(testing::RandomCase& random) {
  const std::int64_t m = random.integer(0, 6);
  const std::int64_t k = random.integer(0, 6);
  const std::int64_t n = random.integer(0, 6);
  const auto wrong = random.integer(0, 15);
  const auto size = [&](std::int64_t fitting, std::int64_t index) {
    return fitting + (wrong == index ? 1 : 0);
  };
  const at::ScalarType dtype = random.one_of({at::kFloat, at::kFloat, at::kFloat, at::kDouble});
  const at::ScalarType other = dtype == at::kFloat ? at::kDouble : at::kFloat;
  const auto dtype_of = [&](std::int64_t index) { return wrong == index ? other : dtype; };
  // LibTorch resizes an output of another size, so it must own its memory.
  const Tensor out = wrong < 2 ? torch::empty({size(m, 0), size(n, 1)}, dtype)
                               : random.one_of(layouts(m, n, dtype_of(2))).second;
  return {out.fill_(NAN), torch::randn({size(n, 3)}, dtype_of(4)),
          random_operand(random, size(m, 5), k, dtype_of(6)),
          random_operand(random, size(k, 7), n, dtype_of(8))};
}

/// Expects the product, or LibTorch's refusal.
void expect_same_as_libtorch(const ProductOperands& operands, bool with_c) {
  const auto& [out, c, a, b] = operands;
  Tensor found = out;
  Tensor theirs;
  bool refused = false;
  try {
    theirs = with_c ? at::addmm(c, a, b) : at::mm(a, b);
    refused = theirs.scalar_type() != out.scalar_type();
  } catch (const c10::Error&) {
    refused = true;
  }
  if (refused) {
    EXPECT_THROW(with_c ? addmm(found, c, a, b) : matmul(found, a, b), c10::Error);
    return;
  }
  with_c ? addmm(found, c, a, b) : matmul(found, a, b);
  // K + 1 roundings of sums of at most K + 1 products, whose factors are below 6.
  const double epsilon = a.scalar_type() == at::kFloat ? std::numeric_limits<float>::epsilon()
                                                       : std::numeric_limits<double>::epsilon();
  const auto terms = static_cast<double>(a.size(1) + 1);
  ASSERT_EQ(found.sizes(), theirs.sizes());
  EXPECT_TRUE(found.allclose(theirs, 0, 36 * terms * terms * epsilon)) << found << theirs;
}

TEST(Matmul, AgreesWithLibTorchForRandomOperandsOrRefusesThem) {
  testing::for_random_cases(400, [](testing::RandomCase& random) {
    torch::manual_seed(random.seed());
    const ProductOperands operands = random_product(random);
    SCOPED_TRACE(::testing::Message()
                 << operands.out.sizes() << operands.out.strides() << operands.c.sizes() << operands.a.sizes()
                 << operands.a.strides() << operands.b.sizes() << operands.b.strides());
    expect_same_as_libtorch(operands, random.chance());
  });
}

TEST(Matmul, UsesTheLibraryThatProductLibraryReturns) {
  Tensor out = torch::empty({64, 98});
  const Tensor x = torch::rand({64, 784});
  const Tensor w = torch::rand({98, 784});
  const Tensor transposed = w.t().contiguous();
  for (const Tensor& b : {w.t(), transposed}) {
    // Two libraries round at least one of six thousand sums of 784 products differently.
    EXPECT_EQ(matmul(out, x, b).equal(at::mm(x, b)), product_library().empty());
  }
}

TEST(Matmul, RejectsMismatchedShapes) {
  Tensor out = torch::empty({2, 2});
  const Tensor square = torch::ones({2, 2});
  EXPECT_THROW(matmul(out, torch::ones({2, 3}), square), c10::Error);
  for (const Tensor& wrong : {square.unsqueeze(2), square.unsqueeze(0), square[0]}) {
    SCOPED_TRACE(::testing::Message() << wrong.sizes());
    EXPECT_THROW(matmul(out, wrong, square), c10::Error);
    EXPECT_THROW(matmul(out, square, wrong), c10::Error);
  }
}

TEST(LibTorchProductsGuard, DisablesOneDNN) {
  const std::string library = product_library();
  {
    const ops::LibTorchProductsGuard guard;
    { const ops::LibTorchProductsGuard inner; }
    EXPECT_EQ(product_library(), "");
    Tensor out = torch::empty({2, 2});
    EXPECT_TRUE(matmul(out, torch::eye(2), torch::eye(2)).equal(torch::eye(2)));
  }
  EXPECT_EQ(product_library(), library);
  EXPECT_EQ(product_library(at::kDouble), "");
}

}  // namespace
}  // namespace twingrad
