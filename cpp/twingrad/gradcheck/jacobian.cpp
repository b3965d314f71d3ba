#include "twingrad/gradcheck/jacobian.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <sstream>

namespace twingrad::gradcheck_detail {

using torch::Tensor;

std::string shape_text(at::IntArrayRef shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

OutputLayout::OutputLayout(const std::vector<Tensor>& outputs) : output_count(outputs.size()) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& output = outputs[i];
    if (output.defined() && (output.is_floating_point() || output.is_complex())) {
      slots.push_back({i, output, output.requires_grad(), length, count_reals(output)});
      length += slots.back().length;
    }
  }
}

std::vector<Tensor> Evaluator::outputs() const {
  const at::AutoGradMode grad_mode(autograd == Autograd::enabled);
  if (autograd == Autograd::absent) {
    // No version counters and no bookkeeping of views either: some 5 % of a small function's time.
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    return fn_(point_);
  }
  return fn_(point_);
}

void Evaluator::operator()(double* row) const {
  const std::vector<Tensor> outputs = this->outputs();
  if (outputs.size() != layout_.output_count) {
    throw CheckFailed("the function returned " + std::to_string(layout_.output_count) + " tensors, then " +
                      std::to_string(outputs.size()));
  }
  for (const OutputSlot& slot : layout_.slots) {
    const Tensor& output = outputs[slot.output];
    if (!output.defined() || output.sizes() != slot.like.sizes() ||
        output.scalar_type() != slot.like.scalar_type()) {
      throw CheckFailed("output " + std::to_string(slot.output) + " was " + shape_text(slot.like.sizes()) +
                        " " + at::toString(slot.like.scalar_type()) + ", then " +
                        (output.defined()
                             ? shape_text(output.sizes()) + " " + at::toString(output.scalar_type())
                             : std::string("undefined")) +
                        " when the inputs moved or changed to float64");
    }
    copy_reals(output, row + slot.offset);
  }
}

std::vector<double> Evaluator::operator()() const {
  std::vector<double> row(layout_.length);
  (*this)(row.data());
  return row;
}

Tensor numeric_jacobian(const Evaluator& evaluate, Elements& input, double eps) {
  constexpr std::int64_t kTile = 8;  // columns: one cache line of each row is then written at once
  const std::int64_t rows = evaluate.layout().length;
  const std::int64_t columns = input.size();
  Tensor jacobian = at::empty({rows, columns}, at::kDouble);
  std::vector<double> tile(rows * kTile), right(rows);
  for (std::int64_t first = 0; first < columns; first += kTile) {
    const std::int64_t width = std::min(kTile, columns - first);
    for (std::int64_t c = 0; c < width; ++c) {
      // x ± h is rounded: divide by the distance that was really walked.
      double* column = tile.data() + c * rows;
      const double left_end = input.move(first + c, input[first + c] - eps);
      evaluate(column);
      const double right_end = input.move(first + c, input[first + c] + eps);
      evaluate(right.data());
      input.restore(first + c);
      for (std::int64_t r = 0; r < rows; ++r) {
        column[r] = (right[r] - column[r]) / (right_end - left_end);
      }
    }
    double* to = jacobian.data_ptr<double>() + first;
    for (std::int64_t r = 0; r < rows; ++r, to += columns) {
      for (std::int64_t c = 0; c < width; ++c) {
        to[c] = tile[c * rows + r];
      }
    }
  }
  return jacobian;
}

Tensor batched_numeric_jacobian(const Evaluator& evaluate, Elements& input, std::int64_t rows, double eps) {
  Tensor jacobian = at::zeros({evaluate.layout().length, input.size()}, at::kDouble);
  auto entry = jacobian.accessor<double, 2>();
  const std::int64_t columns = rows == 0 ? 0 : input.size() / rows;
  std::vector<double> start(input.size());
  for (std::int64_t i = 0; i < input.size(); ++i) {
    start[i] = input[i];
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    const auto values_at = [&](double step, std::vector<double>& ends) {
      std::vector<double> moved = start;
      for (std::int64_t n = 0; n < rows; ++n) {
        moved[n * columns + c] += step;
      }
      ends = input.move_all(moved);
      return evaluate();
    };
    std::vector<double> left_ends, right_ends;
    const std::vector<double> left = values_at(-eps, left_ends);
    const std::vector<double> right = values_at(eps, right_ends);
    for (const OutputSlot& slot : evaluate.layout().slots) {
      const std::int64_t length = slot.length / rows;
      for (std::int64_t r = slot.offset; r < slot.offset + slot.length; ++r) {
        const std::int64_t i = (r - slot.offset) / length * columns + c;
        entry[r][i] = (right[r] - left[r]) / (right_ends[i] - left_ends[i]);
      }
    }
  }
  input.restore_all();
  return jacobian;
}

void check_rows_independent(const Evaluator& evaluate, Elements& input, std::int64_t rows,
                            const std::string& input_name, const Options& options) {
  constexpr std::int64_t kMostRows = 16;
  for (const OutputSlot& slot : evaluate.layout().slots) {
    if (slot.like.dim() == 0 || slot.like.size(0) != rows) {
      throw CheckFailed(input_name + " is declared batched with " + std::to_string(rows) +
                        " rows, but output " + std::to_string(slot.output) + " is " +
                        shape_text(slot.like.sizes()));
    }
  }
  std::mt19937_64 random(options.seed);
  std::vector<std::int64_t> tested(rows);
  std::iota(tested.begin(), tested.end(), 0);
  std::shuffle(tested.begin(), tested.end(), random);
  tested.resize(std::min(rows, kMostRows));
  const std::vector<double> before = evaluate();
  const std::int64_t columns = rows == 0 ? 0 : input.size() / rows;
  std::uniform_real_distribution<double> size(0.5, 1);
  for (const std::int64_t n : tested) {
    for (std::int64_t i = n * columns; i < (n + 1) * columns; ++i) {
      input.move(i, input[i] + (random() % 2 == 0 ? 1 : -1) * options.eps * size(random));
    }
    const std::vector<double> after = evaluate();
    input.restore_all();
    for (const OutputSlot& slot : evaluate.layout().slots) {
      for (std::int64_t r = slot.offset; r < slot.offset + slot.length; ++r) {
        const std::int64_t row = (r - slot.offset) / (slot.length / rows);
        if (row != n && std::abs(after[r] - before[r]) > options.eps * options.atol) {
          throw CheckFailed(input_name + " is declared batched, but its row " + std::to_string(n) +
                            " changes row " + std::to_string(row) + " of output " +
                            std::to_string(slot.output) + ": the rows are not independent");
        }
      }
    }
  }
}

std::vector<double> numeric_product(const Evaluator& evaluate, Elements& input, const std::vector<double>& u,
                                    double eps) {
  std::vector<double> left(u.size()), right(u.size());
  for (std::size_t i = 0; i < u.size(); ++i) {
    left[i] = input[i] - eps * u[i];
    right[i] = input[i] + eps * u[i];
  }
  input.move_all(left);
  const std::vector<double> left_values = evaluate();
  input.move_all(right);
  std::vector<double> product = evaluate();
  input.restore_all();
  for (std::size_t r = 0; r < product.size(); ++r) {
    product[r] = (product[r] - left_values[r]) / (2 * eps);
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
      const double distance = input.move(c, input[c] + signed_step) - input[c];
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

void GradientRows::copy_checked(std::size_t input, Tensor gradient, std::vector<double>& row) {
  const Tensor& x = checked_[input];
  row.resize(count_reals(x));
  if (!gradient.defined()) {
    std::fill(row.begin(), row.end(), 0);  // no gradient is a gradient of zero
    return;
  }
  if (gradient.sizes() != x.sizes()) {
    const bool reversed =
        std::equal(gradient.sizes().rbegin(), gradient.sizes().rend(), x.sizes().begin(), x.sizes().end());
    throw CheckFailed("the gradient of " + names_[input] + " has the wrong shape: expected " +
                      shape_text(x.sizes()) + ", found " + shape_text(gradient.sizes()) +
                      (reversed ? "; it looks transposed" : ""));
  }
  if (gradient.scalar_type() != x.scalar_type() || gradient.device() != x.device()) {
    const auto type_of = [](const Tensor& t) {
      return std::string(at::toString(t.scalar_type())) + " on " + t.device().str();
    };
    std::string sentence = "the gradient of " + names_[input] + " has the wrong dtype or device: expected " +
                           type_of(x) + ", found " + type_of(gradient);
    if (gradient.is_complex() && !x.is_complex()) {
      throw CheckFailed(sentence);
    }
    if (std::find(wrong_dtypes_.begin(), wrong_dtypes_.end(), sentence) == wrong_dtypes_.end()) {
      wrong_dtypes_.push_back(std::move(sentence));
    }
    if (x.is_complex() && !gradient.is_complex()) {
      gradient = gradient.to(x.scalar_type());
    }
  }
  copy_reals(gradient, row.data());
}

void GradientRows::fill(Rows& rows, std::size_t slot, const Tensor& upstream) {
  std::vector<Tensor> upstreams(layout_.slots.size());
  upstreams[slot] = upstream;
  const std::vector<Tensor> gradients = vjp_(upstreams);
  rows.resize(checked_.size());
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    copy_checked(i, gradients[i], rows[i]);
  }
}

void GradientRows::compare_runs(std::size_t input, std::size_t output, const double* first,
                                const double* second, std::int64_t count) {
  if (std::equal(first, first + count, second)) {
    return;
  }
  Change& change = changes_[input];
  for (std::int64_t i = 0; i < count; ++i) {
    const bool same = first[i] == second[i] || (std::isnan(first[i]) && std::isnan(second[i]));
    const double difference = std::abs(second[i] - first[i]);
    if (!same && !(difference <= change.largest)) {
      change = {std::isnan(difference) ? INFINITY : difference, first[i], second[i], output};
    }
  }
}

std::vector<Tensor> GradientRows::jacobians() {
  std::vector<Tensor> jacobians;
  for (const Tensor& x : checked_) {
    jacobians.push_back(at::empty({layout_.length, count_reals(x)}, at::kDouble));
    for (const OutputSlot& slot : layout_.slots) {
      if (!slot.differentiable) {
        jacobians.back().narrow(0, slot.offset, slot.length).zero_();
      }
    }
  }
  Rows rows;
  const auto for_each_row = [&](const auto& use) {
    for (std::size_t s = 0; s < layout_.slots.size(); ++s) {
      const OutputSlot& slot = layout_.slots[s];
      if (!slot.differentiable) {
        continue;
      }
      const Tensor upstream = at::zeros(slot.like.sizes(), slot.like.options().requires_grad(false));
      const Tensor flat = (upstream.is_complex() ? at::view_as_real(upstream) : upstream).view(-1);
      for (std::int64_t r = 0; r < slot.length; ++r) {
        flat.select(0, r).fill_(1);
        fill(rows, s, upstream);
        flat.select(0, r).fill_(0);
        for (std::size_t i = 0; i < rows.size(); ++i) {
          use(i, slot, slot.offset + r, rows[i]);
        }
      }
    }
  };
  for_each_row([&](std::size_t i, const OutputSlot&, std::int64_t r, const std::vector<double>& gradient) {
    std::copy(gradient.begin(), gradient.end(), jacobians[i].data_ptr<double>() + r * jacobians[i].size(1));
  });
  for_each_row(
      [&](std::size_t i, const OutputSlot& slot, std::int64_t r, const std::vector<double>& gradient) {
        compare_runs(i, slot.output, jacobians[i].data_ptr<double>() + r * jacobians[i].size(1),
                     gradient.data(), jacobians[i].size(1));
      });
  return jacobians;
}

}  // namespace twingrad::gradcheck_detail
