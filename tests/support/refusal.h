#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "twingrad/runtime/error.h"

namespace twingrad::testing {

/// The message of the UserError that the call throws; "(it was accepted)" if it throws none:
///
///   EXPECT_THAT(refusal_of([&] { read_png(path); }), HasSubstr("expected a PNG image"));
template <typename Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(it was accepted)";
}

/// Expects that refusal(input) contains the text next to each input.
template <auto refusal, typename Input = std::string>
void expect_refusals(const std::vector<std::pair<Input, std::string>>& cases) {
  for (const auto& [input, text] : cases) {
    EXPECT_THAT(refusal(input), ::testing::HasSubstr(text));
  }
}

}  // namespace twingrad::testing
