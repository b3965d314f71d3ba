#pragma once

#include <gtest/gtest.h>

#include <string>

#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/check.h"
#include "twingrad/compare/difference.h"

namespace twingrad::catalogue {

/// Expects that an entry, of any kind, passes all of its checks.
void expect_agreement(const auto& entry) {
  for (const Check& row : check(entry)) {
    EXPECT_TRUE(row.passed) << entry.name << " against " << row.oracle << "\n" << row.detail;
  }
}

inline double relative(const Tensor& expected, const Tensor& actual) {
  return difference(expected, actual).relative;
}

/// The largest difference from autograd in float64, relative to the largest entry.
inline double autograd_error(const FunctionEntry& entry) {
  return check(entry, {.dtype = at::kDouble}).front().max_rel_error;
}

}  // namespace twingrad::catalogue
