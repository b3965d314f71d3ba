#include <algorithm>
#include <cmath>
#include <complex>

#include "../support/random_cases.h"
#include "functions.h"

// Random linear functions y = J x whose backward is right, or wrong in exactly one known entry.
namespace twingrad::gradcheck_tests {
namespace {

using twingrad::testing::for_random_cases;
using twingrad::testing::RandomCase;
using Part = GradcheckComparison::Part;

std::int64_t reals_in(const Tensor& tensor) { return tensor.numel() * (tensor.is_complex() ? 2 : 1); }

/// The real numbers of all tensors. A complex number is two.
Tensor joined_reals(T tensors) {
  Tensors flat;
  for (const Tensor& tensor : tensors) {
    flat.push_back(
        (tensor.is_complex() ? at::stack({at::real(tensor), at::imag(tensor)}, -1) : tensor).reshape({-1}));
  }
  return at::cat(flat);
}

/// The inverse: tensors with the shapes of `like`.
Tensors split_reals(const Tensor& reals, T like) {
  Tensors tensors;
  std::int64_t offset = 0;
  for (const Tensor& tensor : like) {
    const Tensor part = reals.narrow(0, offset, reals_in(tensor));
    const Tensor pairs = tensor.is_complex() ? part.view({tensor.numel(), 2}) : Tensor();
    tensors.push_back((tensor.is_complex() ? at::complex(pairs.select(1, 0), pairs.select(1, 1)) : part)
                          .view(tensor.sizes()));
    offset += reals_in(tensor);
  }
  return tensors;
}

struct LinearMap {
  Tensors inputs, outputs;  // of the outputs, only the shape and whether they are complex
  Tensor jacobian;          // [R, C]

  Tensors apply(const Tensor& matrix, T in) const {
    const Tensor x = joined_reals(in);
    return split_reals(matrix.to(x.scalar_type()).matmul(x), outputs);
  }
  GradcheckFunction forward() const {
    return [this](T in) { return apply(jacobian, in); };
  }
  /// The function, for which autograd computes the Jacobian `claimed`.
  GradcheckFunction claiming(const Tensor& claimed) const {
    return [this, claimed](T in) {
      Tensors values = apply(jacobian, in), slopes = apply(claimed, in);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = values[i].detach() + (slopes[i] - slopes[i].detach());
      }
      return values;
    };
  }
  GradcheckBackward backward_claiming(const Tensor& claimed) const {
    return [this, claimed](T, T, T grad_outputs) {
      const Tensor g = joined_reals(grad_outputs);
      return split_reals(claimed.t().to(g.scalar_type()).matmul(g), inputs);
    };
  }
};

/// Up to three elements in each of up to two dimensions, contiguous or not, sometimes without elements.
Tensor random_tensor(RandomCase& random, at::ScalarType dtype) {
  std::vector<std::int64_t> shape(random.integer(0, 2));
  std::generate(shape.begin(), shape.end(), [&] { return random.chance(0.05) ? 0 : random.integer(1, 3); });
  std::vector<std::int64_t> padded = shape;
  const bool strided = random.chance();
  for (std::int64_t& size : padded) {
    size = strided ? 2 * size + 1 : size;
  }
  Tensor tensor = at::randn(padded, dtype);
  for (std::size_t d = 0; strided && d < shape.size(); ++d) {
    tensor = tensor.slice(static_cast<std::int64_t>(d), 1, 2 * shape[d] + 1, 2);
  }
  return (random.chance() ? tensor.t() : tensor).requires_grad_();
}

LinearMap random_map(RandomCase& random, at::ScalarType dtype) {
  at::manual_seed(random.seed());
  const auto tensors = [&] {
    Tensors some(random.integer(1, 3));
    std::generate(some.begin(), some.end(), [&] {
      return random_tensor(random, random.chance(0.4) ? c10::toComplexType(dtype) : dtype);
    });
    return some;
  };
  LinearMap map{tensors(), tensors(), {}};
  map.jacobian =
      at::randn({joined_reals(map.outputs).numel(), joined_reals(map.inputs).numel()}, at::kDouble);
  return map;
}

/// How precisely gradients are computed, and the tolerance of an entry.
struct Numerics {
  at::ScalarType dtype;
  GradcheckOptions options;
  bool scaled;   // atol is multiplied by the largest entry
  double noise;  // errors of the numbers in the result
};

const std::vector<Numerics>& numerics() {
  static const std::vector<Numerics> all = {
      {at::kDouble, {}, false, 1e-7},
      {at::kFloat, {}, true, 5e-6},
      // y is off by up to 1e-6, and so is the slope by 1e-6 / 2h.
      {at::kFloat, {.eps = 0x1p-5, .atol = 2e-2, .numerical_in_float64 = false}, false, 2e-4},
  };
  return all;
}

/// One entry of one block of the Jacobian: real numbers [row, column] of the matrix.
struct Entry {
  std::size_t output, input;
  Part part;
  std::int64_t row, column;
  std::vector<std::int64_t> output_index, input_index;
  std::complex<double> right;
  double largest = 0;  // modulus in the block
};

std::vector<std::int64_t> index_of(std::int64_t flat, const Tensor& tensor) {
  return tensor.dim() == 0   ? std::vector<std::int64_t>{}
         : tensor.dim() == 1 ? std::vector<std::int64_t>{flat}
                             : std::vector<std::int64_t>{flat / tensor.size(1), flat % tensor.size(1)};
}

Entry random_entry(RandomCase& random, const LinearMap& map) {
  Entry entry{};
  const auto choose = [&](T tensors, std::size_t& which, std::int64_t& offset) -> const Tensor& {
    do {
      which = random.integer(0, static_cast<std::int64_t>(tensors.size()) - 1);
    } while (tensors[which].numel() == 0);
    for (std::size_t i = 0; i < which; ++i) {
      offset += reals_in(tensors[i]);
    }
    return tensors[which];
  };
  std::int64_t first_row = 0, first_column = 0;
  const Tensor& y = choose(map.outputs, entry.output, first_row);
  const Tensor& x = choose(map.inputs, entry.input, first_column);
  const std::int64_t imaginary = y.is_complex() && random.chance() ? 1 : 0;
  entry.part = !y.is_complex() ? Part::whole : imaginary == 1 ? Part::imaginary : Part::real;
  const std::int64_t i = random.integer(0, y.numel() - 1), j = random.integer(0, x.numel() - 1);
  entry.output_index = index_of(i, y);
  entry.input_index = index_of(j, x);
  const std::int64_t rows = y.is_complex() ? 2 : 1, columns = x.is_complex() ? 2 : 1;
  entry.row = first_row + rows * i + imaginary;
  entry.column = first_column + columns * j + random.integer(0, columns - 1);
  const auto value_at = [&](std::int64_t row, std::int64_t column) {
    const auto real = [&](std::int64_t c) { return map.jacobian[row][first_column + c].item<double>(); };
    return x.is_complex() ? std::complex(real(2 * column), real(2 * column + 1)) : std::complex(real(column));
  };
  entry.right = value_at(entry.row, j);
  for (std::int64_t row = 0; row < y.numel(); ++row) {
    for (std::int64_t column = 0; column < x.numel(); ++column) {
      const auto value = value_at(first_row + rows * row + imaginary, column);
      entry.largest = std::max(entry.largest, std::abs(value));
    }
  }
  return entry;
}

void expect_one_bad_entry(const GradcheckResult& result, const Entry& wrong, double error, double tolerance,
                          double atol, double noise) {
  EXPECT_FALSE(result);
  EXPECT_THAT(result.failures, ::testing::IsEmpty());
  int found = 0;
  for (const GradcheckComparison& comparison : result.comparisons) {
    const bool here =
        comparison.output == wrong.output && comparison.input == wrong.input && comparison.part == wrong.part;
    found += here;
    EXPECT_EQ(comparison.passed, !here);
    EXPECT_EQ(comparison.bad, here ? 1 : 0);
    ASSERT_EQ(comparison.bad_entries.size(), here ? 1u : 0u) << result.to_string();
    EXPECT_EQ(comparison.kinks, 0);
    if (!here) {
      continue;
    }
    for (const GradcheckEntry& entry : {comparison.bad_entries[0], comparison.worst_absolute}) {
      EXPECT_EQ(entry.output_index, wrong.output_index);
      EXPECT_EQ(entry.input_index, wrong.input_index);
      EXPECT_LE(std::abs(entry.numerical - wrong.right), noise);
      EXPECT_NEAR(std::abs(entry.analytical - wrong.right), error, noise);
      EXPECT_NEAR(entry.absolute, error, noise);
      const double size = std::max({std::abs(entry.analytical), std::abs(entry.numerical), atol});
      EXPECT_NEAR(entry.relative, entry.absolute / size, 1e-12);
      EXPECT_NEAR(entry.tolerance, tolerance, 0.01 * tolerance);
      EXPECT_FALSE(entry.passed);
      EXPECT_FALSE(entry.kink);
    }
  }
  EXPECT_EQ(found, 1) << result.to_string();
}

TEST(GradcheckLiars, RightLinearMapsPass) {
  for_random_cases(20, [](RandomCase& random) {
    Numerics numeric = random.one_of(numerics());
    const LinearMap map = random_map(random, numeric.dtype);
    const GradcheckFunction right = map.claiming(map.jacobian);
    numeric.options.reference = map.forward();
    std::size_t blocks = 0;
    for (const Tensor& output : map.outputs) {
      blocks += map.inputs.size() * (output.is_complex() ? 2 : 1);
    }
    for (const GradcheckMode mode : {GradcheckMode::full, GradcheckMode::fast}) {
      numeric.options.mode = mode;
      for (const GradcheckResult& result : {gradcheck(right, map.inputs, numeric.options),
                                            check_backward(map.forward(), map.backward_claiming(map.jacobian),
                                                           map.inputs, numeric.options)}) {
        EXPECT_TRUE(result) << result.to_string();
        const bool full = mode == GradcheckMode::full;
        EXPECT_EQ(result.comparisons.size(),
                  map.outputs.size() + (full ? blocks : map.outputs.size() * map.inputs.size()));
      }
      const GradcheckResult second = gradgradcheck(right, map.inputs, {}, numeric.options);
      EXPECT_TRUE(second) << second.to_string();
    }
  });
}

TEST(GradcheckLiars, OneEntryBeyondItsToleranceFailsAtItsPlace) {
  for_random_cases(30, [](RandomCase& random) {
    const Numerics& numeric = random.one_of(numerics());
    const LinearMap map = random_map(random, numeric.dtype);
    if (map.jacobian.numel() == 0) {
      return;
    }
    const Entry entry = random_entry(random, map);
    const GradcheckOptions& options = numeric.options;
    const double tolerance = options.atol * (numeric.scaled ? std::max(1.0, entry.largest) : 1) +
                             options.rtol * std::abs(entry.right);
    const auto off_by = [&](double error) {
      Tensor claimed = map.jacobian.clone();
      claimed[entry.row][entry.column] += error;
      return claimed;
    };
    const double error = random.one_of({1.1, -1.1}) * tolerance;
    const auto expect_bad = [&](const GradcheckResult& result) {
      expect_one_bad_entry(result, entry, std::abs(error), tolerance, options.atol, numeric.noise);
    };
    expect_bad(gradcheck(map.claiming(off_by(error)), map.inputs, options));
    expect_bad(check_backward(map.forward(), map.backward_claiming(off_by(error)), map.inputs, options));
    const GradcheckResult within = gradcheck(map.claiming(off_by(0.8 * error)), map.inputs, options);
    EXPECT_TRUE(within) << within.to_string();

    // In fast mode, one entry is compared as part of a sum over all.
    GradcheckOptions fast = options;
    fast.mode = GradcheckMode::fast;
    const std::string pair = c10::str("output ", entry.output, " by input ", entry.input, " is");
    expect_failure(gradcheck(map.claiming(off_by(1000)), map.inputs, fast), pair);
    expect_failure(check_backward(map.forward(), map.backward_claiming(off_by(1000)), map.inputs, fast),
                   pair);
  });
}

TEST(GradcheckLiars, OneWrongValueFailsAtItsPlace) {
  for_random_cases(10, [](RandomCase& random) {
    const LinearMap map = random_map(random, at::kDouble);
    if (map.jacobian.numel() == 0) {
      return;
    }
    const Entry entry = random_entry(random, map);
    const GradcheckFunction reference = [&](T in) {
      Tensor values = joined_reals(map.apply(map.jacobian, in)).clone();
      values[entry.row] += 1;
      return split_reals(values, map.outputs);
    };
    const GradcheckResult result = gradcheck(
        map.claiming(map.jacobian), map.inputs,
        {.mode = random.one_of({GradcheckMode::full, GradcheckMode::fast}), .reference = reference});
    EXPECT_FALSE(result);
    EXPECT_THAT(result.failures, ::testing::IsEmpty());
    for (const GradcheckComparison& comparison : result.comparisons) {
      const bool here =
          comparison.kind == GradcheckComparison::Kind::value && comparison.output == entry.output;
      EXPECT_EQ(comparison.passed, !here) << result.to_string();
      if (here) {
        EXPECT_EQ(comparison.bad, 1);
        EXPECT_EQ(comparison.worst_absolute.output_index, entry.output_index);
        EXPECT_NEAR(comparison.worst_absolute.absolute, 1, 1e-9);
        EXPECT_NEAR(std::abs(comparison.worst_absolute.analytical - comparison.worst_absolute.numerical), 1,
                    1e-9);
        EXPECT_EQ(comparison.explanation, "the forward's value is wrong");
      }
    }
  });
}

TEST(GradcheckLiars, OneEntryThatChangesInTheSecondRunFails) {
  for_random_cases(10, [](RandomCase& random) {
    const LinearMap map = random_map(random, at::kDouble);
    if (map.jacobian.numel() == 0) {
      return;
    }
    const Entry entry = random_entry(random, map);
    const bool fast = random.chance();
    const double change = 1e-9;  // far below the tolerance of a gradient
    int runs = 0;                // with an upstream gradient for this number
    const GradcheckBackward backward = [&](T in, T out, T grad_outputs) {
      Tensor claimed = map.jacobian.clone();
      if (joined_reals(grad_outputs)[entry.row].item<double>() != 0 && ++runs == 2) {
        claimed[entry.row][entry.column] += change;
      }
      return map.backward_claiming(claimed)(in, out, grad_outputs);
    };
    const auto check = [&](double nondet_tol) {
      runs = 0;
      return check_backward(
          map.forward(), backward, map.inputs,
          {.mode = fast ? GradcheckMode::fast : GradcheckMode::full, .nondet_tol = nondet_tol});
    };
    const GradcheckResult result = check(0);
    expect_failure(result, c10::str("not reentrant: in a second run the gradient of output ", entry.output,
                                    " by input ", entry.input, " is"));
    EXPECT_THAT(result.failures, ElementsAre(HasSubstr("the backward is not deterministic or keeps state")));
    EXPECT_TRUE(check(1.1 * change));
  });
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
