#include "twingrad/runtime/option_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../support/refusal.h"

namespace twingrad::option_values_test {

using namespace ::testing;
using namespace twingrad::testing;

double number(const std::string& text) { return parse_number("--x", text, -2, 2); }

TEST(ParseNumber, ReadsDecimalsAndFractions) {
  EXPECT_EQ(number("0.25"), 0.25);
  EXPECT_EQ(number("-1e-3"), -1e-3);
  EXPECT_EQ(number("1/3"), 1.0 / 3);
  EXPECT_EQ(number("-1/4"), -0.25);
  EXPECT_EQ(number("1.5/1e1"), 0.15);
  EXPECT_THAT(parse_numbers("--x", "1/2,3,1/4", 0, 5), ElementsAre(0.5, 3, 0.25));
}

TEST(ParseNumber, RefusesOtherText) {
  for (const char* text :
       {"", "/", "1/", "/3", "1/0", "0/0", "1/x", "1/3/3", "1 / 3", "5/2", "-5/2", "nan", "inf", "1/inf/"}) {
    EXPECT_THAT(refusal_of([&] { number(text); }), StartsWith("--x: expected a number from -2 to 2, found '"))
        << text;
    EXPECT_THAT(refusal_of([&] { parse_numbers("--x", std::string("1,") + text, -2, 2); }),
                StartsWith("--x: expected"))
        << text;
  }
  EXPECT_THAT(refusal_of([] { parse_integer("--x", "4/2", 0, 5); }), StartsWith("--x: expected an integer"));
}

}  // namespace twingrad::option_values_test
