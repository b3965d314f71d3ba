#include "twingrad/gradcheck/detail/numerical.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

namespace twingrad::gradcheck_detail {

std::string type_text(const Tensor& tensor) {
  return tensor.defined() ? c10::str(tensor.sizes(), " ", tensor.scalar_type()) : "undefined";
}

Tensor OutputSlot::zeros() const { return at::zeros(like.sizes(), like.options().requires_grad(false)); }

OutputLayout::OutputLayout(const Tensors& outputs) : output_count(outputs.size()) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& output = outputs[i];
    if (output.defined() && (output.is_floating_point() || output.is_complex())) {
      slots.push_back({i, output, output.requires_grad(), length, count_reals(output)});
      length += slots.back().length;
    }
  }
}

void Evaluator::operator()(double* row) const {
  const at::AutoGradMode grad_mode(with_autograd);
  const Tensors outputs = fn_(point_);
  if (outputs.size() != layout_.output_count) {
    throw CheckStopped("the function first returned ", layout_.output_count, " tensors, then ",
                       outputs.size());
  }
  for (const OutputSlot& slot : layout_.slots) {
    const Tensor& output = outputs[slot.output];
    if (!output.defined() || output.sizes() != slot.like.sizes() ||
        output.scalar_type() != slot.like.scalar_type()) {
      throw CheckStopped("output ", slot.output, " was ", type_text(slot.like), ", but ", type_text(output),
                         " after the inputs were perturbed or converted to float64");
    }
    copy_reals(output, row + slot.offset);
  }
}

std::vector<double> Evaluator::operator()() const {
  std::vector<double> row(layout_.length);
  (*this)(row.data());
  return row;
}

Tensor numerical_jacobian(const Evaluator& evaluate, Elements& input, double eps) {
  const std::int64_t rows = evaluate.layout().length;
  Tensor transposed = at::empty({input.size(), rows}, at::kDouble);
  double* row = transposed.data_ptr<double>();
  std::vector<double> right(rows);
  for (std::int64_t c = 0; c < input.size(); ++c, row += rows) {
    const double left_end = input.set(c, input[c] - eps);
    evaluate(row);
    const double right_end = input.set(c, input[c] + eps);
    evaluate(right.data());
    input.restore(c);
    for (std::int64_t r = 0; r < rows; ++r) {
      row[r] = (right[r] - row[r]) / (right_end - left_end);  // not 2h: x ± h is rounded
    }
  }
  return transposed.t().contiguous();
}

namespace {

/// y(x + h u) − y(x − h u) [R]. distances: the actual distances between the two points [C], of about 2 h u.
std::vector<double> difference_along(const Evaluator& evaluate, Elements& input, const std::vector<double>& u,
                                     double eps, std::vector<double>& distances) {
  const auto values_at = [&](double step, std::vector<double>& point) {
    point = input.values();
    for (std::size_t i = 0; i < u.size(); ++i) {
      point[i] += step * u[i];
    }
    point = input.set_all(point);
    return evaluate();
  };
  std::vector<double> left_point;
  const std::vector<double> left = values_at(-eps, left_point);
  std::vector<double> difference = values_at(eps, distances);
  input.restore_all();
  std::transform(difference.begin(), difference.end(), left.begin(), difference.begin(), std::minus());
  std::transform(distances.begin(), distances.end(), left_point.begin(), distances.begin(), std::minus());
  return difference;
}

}  // namespace

Tensor batched_numerical_jacobian(const Evaluator& evaluate, Elements& input, std::int64_t rows, double eps) {
  Tensor jacobian = at::zeros({evaluate.layout().length, input.size()}, at::kDouble);
  auto entry = jacobian.accessor<double, 2>();
  const std::int64_t columns = rows == 0 ? 0 : input.size() / rows;
  for (std::int64_t c = 0; c < columns; ++c) {
    std::vector<double> u(input.size()), distances;
    for (std::int64_t n = 0; n < rows; ++n) {
      u[n * columns + c] = 1;
    }
    const std::vector<double> difference = difference_along(evaluate, input, u, eps, distances);
    for (const OutputSlot& slot : evaluate.layout().slots) {
      const std::int64_t length = slot.length / rows;
      for (std::int64_t r = slot.offset; r < slot.offset + slot.length; ++r) {
        const std::int64_t i = (r - slot.offset) / length * columns + c;
        entry[r][i] = difference[r] / distances[i];
      }
    }
  }
  return jacobian;
}

void check_rows_independent(const Evaluator& evaluate, Elements& input, std::int64_t rows,
                            const std::string& input_name, const GradcheckOptions& options) {
  constexpr std::int64_t kMaxTestedRows = 16;
  for (const OutputSlot& slot : evaluate.layout().slots) {
    if (slot.like.dim() == 0 || slot.like.size(0) != rows) {
      throw CheckStopped(input_name, " is declared as batched with ", rows, " rows, but output ", slot.output,
                         " is ", slot.like.sizes());
    }
  }
  std::mt19937_64 random(options.seed);
  std::vector<std::int64_t> tested(rows);
  std::iota(tested.begin(), tested.end(), 0);
  std::shuffle(tested.begin(), tested.end(), random);
  tested.resize(std::min(rows, kMaxTestedRows));
  const std::vector<double> before = evaluate();
  const std::int64_t columns = rows == 0 ? 0 : input.size() / rows;
  std::uniform_real_distribution<double> size(0.5, 1);
  for (const std::int64_t n : tested) {
    for (std::int64_t i = n * columns; i < (n + 1) * columns; ++i) {
      input.set(i, input[i] + (random() % 2 == 0 ? 1 : -1) * options.eps * size(random));
    }
    const std::vector<double> after = evaluate();
    input.restore_all();
    for (const OutputSlot& slot : evaluate.layout().slots) {
      for (std::int64_t r = slot.offset; r < slot.offset + slot.length; ++r) {
        const std::int64_t row = (r - slot.offset) / (slot.length / rows);
        if (row != n && std::abs(after[r] - before[r]) > options.eps * options.atol) {
          throw CheckStopped(input_name, " is declared as batched, but its row ", n, " changes row ", row,
                             " of output ", slot.output, ": the rows are not independent");
        }
      }
    }
  }
}

std::vector<double> numerical_product(const Evaluator& evaluate, Elements& input,
                                      const std::vector<double>& u, double eps) {
  std::vector<double> distances;
  std::vector<double> product = difference_along(evaluate, input, u, eps, distances);
  for (double& entry : product) {
    entry /= 2 * eps;
  }
  return product;
}

Slopes one_sided_slopes(const Evaluator& evaluate, Elements& input, const std::vector<std::int64_t>& columns,
                        double step) {
  const std::int64_t rows = evaluate.layout().length;
  Slopes slopes{at::empty({static_cast<std::int64_t>(columns.size()), rows}, at::kDouble), {}};
  slopes.right = at::empty_like(slopes.left);
  const std::vector<double> here = evaluate();
  double* left = slopes.left.data_ptr<double>();
  double* right = slopes.right.data_ptr<double>();
  for (const std::int64_t c : columns) {
    for (auto& [slope, signed_step] : {std::pair{left, -step}, std::pair{right, step}}) {
      const double distance = input.set(c, input[c] + signed_step) - input[c];
      evaluate(slope);
      for (std::int64_t r = 0; r < rows; ++r) {
        slope[r] = (slope[r] - here[r]) / distance;
      }
    }
    input.restore(c);
    left += rows;
    right += rows;
  }
  return slopes;
}

}  // namespace twingrad::gradcheck_detail
