#include "twingrad/gradcheck/detail/numerical.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <unistd.h>

namespace twingrad::gradcheck_detail {
std::string name_at(const std::vector<std::string>& names, const char* kind, std::size_t i) {
  return i < names.size() ? names[i] : c10::str(kind, " ", i);
}

bool fits_in_memory(double bytes) {
  const double installed =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  if (bytes > installed) {
    return false;
  }
  try {
    at::empty({static_cast<std::int64_t>(bytes)}, at::kByte);  // fails if a limit of the process is lower
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

std::string type_text(const Tensor& tensor) {
  return tensor.defined() ? c10::str(tensor.sizes(), " ", tensor.scalar_type()) : "undefined";
}

Tensor OutputSlot::zeros() const { return at::zeros(like.sizes(), like.options().requires_grad(false)); }

OutputLayout::OutputLayout(const Tensors& outputs, const std::vector<std::string>& names)
    : output_count(outputs.size()) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& output = outputs[i];
    if (output.defined() && (output.is_floating_point() || output.is_complex())) {
      slots.push_back(
          {i, output, name_at(names, "output", i), output.requires_grad(), length, count_reals(output)});
      length += slots.back().length;
    }
  }
}

void Evaluator::operator()(double* row) const {
  const c10::AutoGradMode grad_mode(with_autograd);
  const Tensors outputs = fn_(point_);
  if (outputs.size() != layout_.output_count) {
    throw CheckStopped("the function first returned ", layout_.output_count, " tensors, then ",
                       outputs.size());
  }
  for (const OutputSlot& slot : layout_.slots) {
    const Tensor& output = outputs[slot.output];
    if (!output.defined() || output.sizes() != slot.like.sizes() ||
        output.scalar_type() != slot.like.scalar_type()) {
      throw CheckStopped(slot.name, " was ", type_text(slot.like), ", but ", type_text(output),
                         " after the inputs were perturbed or converted to float64");
    }
    copy_reals(output, row + slot.offset);
  }
}

Tensor Evaluator::operator()() const {
  Tensor row = at::empty({layout_.length}, at::kDouble);
  (*this)(row.data_ptr<double>());
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

Difference difference_along(const Evaluator& evaluate, Elements& input, const Tensor& u, double eps) {
  const Tensor left_point = input.set_all(input.values() - eps * u);
  const Tensor left = evaluate();
  const Tensor right_point = input.set_all(input.values() + eps * u);
  const Tensor right = evaluate();
  input.restore_all();
  return {right - left, right_point - left_point};
}

Tensor batched_numerical_jacobian(const Evaluator& evaluate, Elements& input, std::int64_t rows, double eps) {
  const Tensor jacobian = at::zeros({evaluate.layout().length, input.size()}, at::kDouble);
  const std::int64_t columns = rows == 0 ? 0 : input.size() / rows;
  for (std::int64_t c = 0; c < columns; ++c) {
    const Tensor u = at::zeros({rows, columns}, at::kDouble);
    u.select(1, c).fill_(1);
    const auto [difference, distance] = difference_along(evaluate, input, u.view(-1), eps);
    const Tensor row_distances = distance.view({rows, columns}).slice(1, c, c + 1);
    for (const OutputSlot& slot : evaluate.layout().slots) {
      const std::int64_t length = slot.length / rows;
      const Tensor slopes =
          difference.narrow(0, slot.offset, slot.length).view({rows, length}) / row_distances;
      jacobian.narrow(0, slot.offset, slot.length)
          .view({rows, length, rows, columns})
          .select(3, c)
          .diagonal(0, 0, 2)  // row n of the output by row n of the input: [length, rows]
          .copy_(slopes.t());
    }
  }
  return jacobian;
}

void check_rows_independent(const Evaluator& evaluate, Elements& input, std::int64_t rows,
                            const std::string& input_name, double eps, const GradcheckOptions& options) {
  constexpr std::int64_t kMaxTestedRows = 16;
  for (const OutputSlot& slot : evaluate.layout().slots) {
    if (slot.like.dim() == 0 || slot.like.size(0) != rows) {
      throw CheckStopped(input_name, " is declared as batched with ", rows, " rows, but ", slot.name, " is ",
                         slot.like.sizes());
    }
  }
  auto generator = at::make_generator<at::CPUGeneratorImpl>(options.seed);
  const Tensor tested = at::randperm(rows, generator).slice(0, 0, kMaxTestedRows);
  const Tensor before = evaluate();
  for (std::int64_t i = 0; i < tested.numel(); ++i) {
    const std::int64_t n = tested[i].item<std::int64_t>();
    const Tensor point = input.values().clone().view({rows, input.size() / rows});
    const Tensor random = at::rand({point.size(1)}, generator, at::kDouble) - 0.5;
    point[n] += eps * (random + 0.5 * random.sign());  // a step between h/2 and h in either direction
    input.set_all(point.view(-1));
    const Tensor change = (evaluate() - before).abs();
    input.restore_all();
    for (const OutputSlot& slot : evaluate.layout().slots) {
      const Tensor of_slot = change.narrow(0, slot.offset, slot.length).view({rows, slot.length / rows});
      const Tensor changed = (of_slot > eps * options.atol).any(1);
      changed[n].fill_(false);
      if (changed.any().item<bool>()) {
        throw CheckStopped(input_name, " is declared as batched, but its row ", n, " changes row ",
                           changed.nonzero()[0].item<std::int64_t>(), " of ", slot.name,
                           ": the rows are not independent");
      }
    }
  }
}

Slopes one_sided_slopes(const Evaluator& evaluate, Elements& input, const Tensor& columns, double step) {
  const Tensor here = evaluate();
  const auto slope = [&](std::int64_t c, double signed_step) {
    const double distance = input.set(c, input[c] + signed_step) - input[c];
    const Tensor difference = evaluate() - here;
    input.restore(c);
    return difference / distance;
  };
  Tensors left, right;
  for (std::int64_t k = 0; k < columns.numel(); ++k) {
    left.push_back(slope(columns[k].item<std::int64_t>(), -step));
    right.push_back(slope(columns[k].item<std::int64_t>(), step));
  }
  return {at::stack(left), at::stack(right)};
}

}  // namespace twingrad::gradcheck_detail
