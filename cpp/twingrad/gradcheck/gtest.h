#pragma once

#include <gtest/gtest.h>

#include "twingrad/gradcheck/gradcheck.h"

namespace twingrad {

/// The result of any of the checks for EXPECT_TRUE and ASSERT_TRUE, with its table as the message.
inline ::testing::AssertionResult as_assertion(const GradcheckResult& result) {
  return (result ? ::testing::AssertionSuccess() : ::testing::AssertionFailure()) << result.to_string();
}

}  // namespace twingrad

/// EXPECT_GRADIENTS_MATCH(fn, inputs) and EXPECT_GRADIENTS_MATCH(fn, inputs, options) fail if gradcheck(fn,
/// inputs, options) does, with its table as the message. More text can be streamed to them.
/// ASSERT_GRADIENTS_MATCH also returns from the test.
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
