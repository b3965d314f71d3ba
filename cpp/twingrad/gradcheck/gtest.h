#pragma once

#include <gtest/gtest.h>

#include "twingrad/gradcheck/gradcheck.h"

namespace twingrad {

/// A verdict as GoogleTest's result: its message is the verdict's table.
inline ::testing::AssertionResult as_assertion(const Verdict& verdict) {
  return (verdict ? ::testing::AssertionSuccess() : ::testing::AssertionFailure()) << verdict.to_string();
}

}  // namespace twingrad

/// EXPECT_GRADIENTS_MATCH(fn, inputs) and EXPECT_GRADIENTS_MATCH(fn, inputs, options): fails with the verdict
/// if gradcheck(fn, inputs, options) does. More can be streamed to it. ASSERT_… also leaves the test.
#define EXPECT_GRADIENTS_MATCH(...) TWINGRAD_GRADIENTS_MATCH_(ADD_FAILURE(), __VA_ARGS__)
#define ASSERT_GRADIENTS_MATCH(...) TWINGRAD_GRADIENTS_MATCH_(FAIL(), __VA_ARGS__)

// The switch keeps an `else` after the macro from pairing with the macro's own `if`.
#define TWINGRAD_GRADIENTS_MATCH_(fail, ...)                              \
  switch (0)                                                              \
  case 0:                                                                 \
  default:                                                                \
    if (const ::testing::AssertionResult twingrad_result =                \
            ::twingrad::as_assertion(::twingrad::gradcheck(__VA_ARGS__))) \
      ;                                                                   \
    else                                                                  \
      fail << twingrad_result.message()
