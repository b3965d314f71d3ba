#include "twingrad/gradcheck/detail/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace twingrad::gradcheck_detail {
namespace {

/// The errors of one entry, and whether they are within the tolerance.
struct Errors {
  double absolute = 0, relative = 0;
  double bound = 0;  // on the absolute error
  bool passed = true;
  bool zero_passes = true;  // in place of the analytical value
};

template <typename Value>
Errors errors_of(const Value& analytical, const Value& numerical, const Block& block) {
  const auto is_nan = [](const Value& value) { return value != value; };
  const double size = std::abs(numerical);
  Errors errors;
  errors.bound = block.tolerance.absolute + block.tolerance.relative * size;
  errors.zero_passes = std::isfinite(size) && size <= errors.bound;
  if (analytical == numerical || (block.tolerance.equal_nan && is_nan(analytical) && is_nan(numerical))) {
    return errors;
  }
  errors.absolute = std::abs(analytical - numerical);
  errors.relative = errors.absolute / std::max({std::abs(analytical), size, block.atol});
  errors.passed = std::isfinite(errors.absolute) && errors.absolute <= errors.bound;
  return errors;
}

/// Calls use(flat index, analytical, numerical) for each entry. One pass instead of ten tensor operations:
/// blocks of a full check are large, and memory bandwidth is the cost.
template <typename Use>
void for_each_entry(const Block& block, const Use& use) {
  const Tensor analytical = block.analytical.contiguous();
  const Tensor numerical = block.numerical.contiguous();
  const auto visit = [&](auto zero) {
    using Value = decltype(zero);
    const Value* a = analytical.data_ptr<Value>();
    const Value* n = numerical.data_ptr<Value>();
    for (std::int64_t i = 0; i < analytical.numel(); ++i) {
      use(i, a[i], n[i]);
    }
  };
  analytical.is_complex() ? visit(c10::complex<double>()) : visit(0.0);
}

std::vector<std::int64_t> unravel(std::int64_t flat, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

GradcheckEntry entry_at(const Block& block, const GradcheckComparison& comparison, std::int64_t flat) {
  const std::int64_t row = flat / block.analytical.size(1);
  const std::int64_t column = flat % block.analytical.size(1);
  const auto value_in = [&](const Tensor& matrix) {
    return static_cast<std::complex<double>>(matrix[row][column].item().toComplexDouble());
  };
  GradcheckEntry entry;
  if (comparison.kind != GradcheckComparison::Kind::projection) {  // which combines all elements
    entry.output_index = unravel(row, comparison.output_shape);
    entry.input_index = unravel(column, comparison.input_shape);
  }
  entry.analytical = value_in(block.analytical);
  entry.numerical = value_in(block.numerical);
  const Errors errors = errors_of(entry.analytical, entry.numerical, block);
  entry.absolute = errors.absolute;
  entry.relative = errors.relative;
  entry.tolerance = errors.bound;
  entry.passed = errors.passed;
  return entry;
}

}  // namespace

Precision precision_of(const Tensor& tensor) {
  switch (c10::toRealValueType(tensor.scalar_type())) {
    case at::kDouble:
      return {std::numeric_limits<double>::epsilon(), 1e-7, 1e-7};
    case at::kFloat:
      return {std::numeric_limits<float>::epsilon(), 1e-5, 1.3e-6};
    case at::kHalf:
      return {0x1p-10, 1e-5, 1e-3};
    default:  // bfloat16
      return {0x1p-7, 1e-5, 1.6e-2};
  }
}

std::string number_text(double value, int digits) {
  if (std::isnan(value)) {
    return "nan";  // without a sign
  }
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

Tensor rows_of_part(const Tensor& rows, const OutputSlot& slot, GradcheckComparison::Part part) {
  using Part = GradcheckComparison::Part;
  return part == Part::whole
             ? rows
             : rows.reshape({slot.like.numel(), 2, rows.size(1)}).select(1, part == Part::real ? 0 : 1);
}

Tensor Block::bad_entries() const {
  Tensor bad = at::empty(analytical.sizes(), at::kBool);
  for_each_entry(*this, [&, out = bad.data_ptr<bool>()](std::int64_t i, const auto& a, const auto& n) {
    out[i] = !errors_of(a, n, *this).passed;
  });
  return bad;
}

Summary summarize(const Block& block, GradcheckComparison& comparison) {
  Summary summary;
  comparison.entries = block.analytical.numel();
  if (comparison.entries == 0) {
    comparison.explanation = "nothing to compare: no elements";
    return summary;
  }
  struct Worst {
    double error = -1;
    std::int64_t flat = 0;
    void update(double other, std::int64_t i) {  // NaN is the worst
      if (!(other <= error) && !std::isnan(error)) {
        error = other;
        flat = i;
      }
    }
  };
  Worst absolute, relative;
  bool all_zero = true;
  for_each_entry(block, [&](std::int64_t i, const auto& a, const auto& n) {
    const Errors errors = errors_of(a, n, block);
    absolute.update(errors.absolute, i);
    relative.update(errors.relative, i);
    summary.passed = summary.passed && errors.passed;
    summary.zeros_pass = summary.zeros_pass && errors.zero_passes;
    all_zero = all_zero && a == 0.0 && n == 0.0;
  });
  comparison.worst_absolute = entry_at(block, comparison, absolute.flat);
  comparison.worst_relative = entry_at(block, comparison, relative.flat);
  if (all_zero && comparison.kind != GradcheckComparison::Kind::value) {
    comparison.explanation = "all zero: the output does not depend on the input here";
  }
  return summary;
}

void list_bad_entries(const Block& block, const Tensor& bad, const Tensor& kinks,
                      GradcheckComparison& comparison) {
  constexpr std::int64_t kMaxEntries = 100;
  comparison.bad = bad.sum().item<std::int64_t>();
  const Tensor bound = block.numerical.abs() * block.tolerance.relative + block.tolerance.absolute;
  Tensor excess = (block.analytical - block.numerical).abs() / bound.clamp_min(1e-300);
  excess.masked_fill_(excess.isnan(), std::numeric_limits<double>::infinity());
  excess.masked_fill_(bad.logical_not(), -1);
  const Tensor worst = std::get<1>(excess.view(-1).topk(std::min(comparison.bad, kMaxEntries)));
  for (std::int64_t i = 0; i < worst.numel(); ++i) {
    const std::int64_t flat = worst[i].item<std::int64_t>();
    GradcheckEntry entry = entry_at(block, comparison, flat);
    entry.kink = kinks.defined() && kinks.reshape(-1)[flat].item<bool>();
    comparison.bad_entries.push_back(std::move(entry));
  }
}

}  // namespace twingrad::gradcheck_detail
