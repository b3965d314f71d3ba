#include "twingrad/gradcheck/detail/opinion.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace twingrad::gradcheck_detail {
namespace {

constexpr int kMaxSteps = 50;
constexpr double kSmallest = 2e-6;  // step, relative to the size
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Extrapolated {
  double derivative = kNaN;
  double error = std::numeric_limits<double>::infinity();
};

/// A central difference, and what rounding of y may add to it.
struct Quotient {
  double value = kNaN;
  double rounding = 0;
};

/// Whether the differences for smaller steps than the k-th confirm a derivative: none may be farther from it
/// than the k-th, but for rounding. They are if the function changes on a smaller scale than the steps.
bool confirmed(const std::vector<Quotient>& quotients, std::size_t k, const Extrapolated& candidate) {
  const double first = std::abs(quotients[k].value - candidate.derivative);
  return std::all_of(
      quotients.begin() + static_cast<std::ptrdiff_t>(k), quotients.end(), [&](const Quotient& q) {
        return std::abs(q.value - candidate.derivative) <= 2 * first + 10 * candidate.error + 4 * q.rounding;
      });
}

/// Neville's scheme in h², row by row. quotients[k]: for step h / 2^k. One that is not finite, outside the
/// domain of the function, starts the scheme again.
Extrapolated extrapolate(const std::vector<Quotient>& quotients) {
  Extrapolated best;
  std::vector<double> previous;
  for (std::size_t k = 0; k < quotients.size(); ++k) {
    std::vector<double> row = {quotients[k].value};
    double power = 1;
    for (const double above : previous) {
      power *= 4;
      row.push_back((power * row.back() - above) / (power - 1));
      const std::size_t j = row.size() - 1;
      const Extrapolated candidate = {
          row[j], std::max({std::abs(row[j] - row[j - 1]), std::abs(row[j] - previous[j - 1]),
                            quotients[k].rounding})};
      if (candidate.error < best.error && confirmed(quotients, k, candidate)) {
        best = candidate;
      }
    }
    previous = std::isfinite(row[0]) ? row : std::vector<double>();
  }
  return best;
}

/// The median of the orders at which the remainder falls from one step to the next, where it is not rounding.
double order_of(const std::vector<Sample>& samples, const Sample& here, double analytical) {
  std::vector<double> orders;
  double last_h = 0, last = 0;
  for (const Sample& sample : samples) {
    const double term = sample.h * analytical;
    const double remainder = std::abs(sample.y - here.y - term);
    const double rounding = kEpsilon * (std::abs(sample.y) + std::abs(here.y) + std::abs(term));
    const bool visible = std::isfinite(remainder) && remainder > 1000 * rounding;
    if (visible && last > 0) {
      orders.push_back(std::log(last / remainder) / std::log(last_h / sample.h));
    }
    last = visible ? remainder : 0;
    last_h = sample.h;
  }
  if (orders.empty()) {
    return kNaN;
  }
  const auto middle = orders.begin() + static_cast<std::ptrdiff_t>(orders.size() / 2);
  std::nth_element(orders.begin(), middle, orders.end());
  return *middle;
}

}  // namespace

GradcheckOpinion second_opinion(const std::function<Sample(double h)>& function, double size, double eps,
                                double analytical, double relative, double complex_step) {
  const Sample here = function(0);
  std::vector<Sample> right;
  std::vector<Quotient> quotients;
  double h = size / 4;
  for (int k = 0; k < kMaxSteps && h >= std::min(kSmallest * size, eps); ++k, h /= 2) {
    const Sample left = function(-h);
    right.push_back(function(h));
    const double distance = right.back().h - left.h;
    quotients.push_back({(right.back().y - left.y) / distance,
                         kEpsilon * (std::abs(right.back().y) + std::abs(left.y)) / distance});
  }
  auto [derivative, error] = extrapolate(quotients);
  GradcheckOpinion opinion;
  const bool tells = error <= 0.01 * std::max(std::abs(complex_step), std::abs(derivative));
  if (tells && std::abs(complex_step - derivative) <= 10 * error) {
    opinion.by_complex_step = true;
    derivative = complex_step;
    error = 10 * kEpsilon * std::abs(complex_step);
  }
  opinion.derivative = derivative;
  opinion.error = error;
  opinion.order = order_of(right, here, analytical);
  const double uncertain = 10 * error;  // an estimate from two values is sometimes too small
  const double difference = std::abs(analytical - derivative);
  const double larger = std::max(std::abs(analytical), std::abs(derivative));
  const double allowed = relative * larger;
  const bool precise = error <= 0.01 * larger;
  using Blame = GradcheckOpinion::Blame;
  opinion.blame = !(difference + uncertain > allowed) && std::isfinite(difference) ? Blame::step
                  : difference > allowed + uncertain && precise                    ? Blame::gradient
                                                                                   : Blame::unknown;
  return opinion;
}

}  // namespace twingrad::gradcheck_detail
