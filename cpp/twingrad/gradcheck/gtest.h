#pragma once

#include <gtest/gtest.h>

#include "twingrad/gradcheck/gradcheck.h"

namespace twingrad {

/// The result of any of the checks for EXPECT_TRUE and ASSERT_TRUE, with its table as the message.
inline ::testing::AssertionResult as_assertion(const GradcheckResult& result) {
  return (result ? ::testing::AssertionSuccess() : ::testing::AssertionFailure()) << result.to_string();
}

/// The same for a comparison of two twins (compare/comparison.h).
template <typename Comparison>
::testing::AssertionResult twins_agree(const Comparison& comparison) {
  return (comparison.passed() ? ::testing::AssertionSuccess() : ::testing::AssertionFailure())
         << comparison.to_string();
}

}  // namespace twingrad

/// Fails unless all gradients of the two twins on the batch agree (compare/twin_comparer.h, which you
/// include), with the tensors that differ and the layer at fault as the message.
#define EXPECT_TWINS_AGREE(manual, autograd, batch) \
  EXPECT_TRUE(::twingrad::twins_agree(::twingrad::compare_twins(manual, autograd, batch)))

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
