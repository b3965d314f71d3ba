#include "twingrad/gradcheck/result.h"

#include <gtest/gtest-spi.h>

#include <cmath>
#include <sstream>

#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad::gradcheck_tests {
namespace {

using ::testing::Not;

GradcheckResult example() {
  GradcheckEntry entry;
  entry.input_index = {1, 9};
  entry.analytical = NAN;
  entry.numerical = {1.5, -2};
  entry.absolute = NAN;
  entry.relative = INFINITY;
  entry.tolerance = 0.1;
  GradcheckComparison comparison;
  comparison.output_name = "loss";
  comparison.input_name = "w \"quoted\"\n";
  comparison.input_shape = {2, 10};
  comparison.entries = 20;
  comparison.bad = 2;
  comparison.worst_absolute = comparison.worst_relative = entry;
  comparison.bad_entries = {entry, entry};
  comparison.cause = Cause::non_finite;
  comparison.explanation = "not finite";
  comparison.passed = false;
  GradcheckResult result;
  result.comparisons = {comparison};
  result.failures = {"a failure"};
  result.warnings = {"a warning"};
  return result;
}

TEST(GradcheckResult, IsFalseUntilACheckHasPassed) { EXPECT_FALSE(GradcheckResult{}); }

TEST(GradcheckResult, TheTableShowsWhatIsWrong) {
  const std::string text = example().to_string();
  for (const char* expected :
       {"gradcheck: FAILED (full mode", "FAILED: a failure", "warning: a warning", "loss []", "not finite",
        "analytical  numerical", "2 of 2 bad entries", "[1, 9]", "1.5-2i"}) {
    EXPECT_THAT(text, HasSubstr(expected));
  }
}

TEST(GradcheckResult, TheNumberOfRowsCanBeLimited) {
  EXPECT_THAT(example().to_string(1), HasSubstr("1 of 2 bad entries"));
  EXPECT_THAT(example().to_string(0), Not(HasSubstr("bad entries")));
}

TEST(GradcheckResult, ColumnsAreAligned) {
  at::manual_seed(1);
  std::istringstream lines(gradcheck(wrong_square(), {variable({3, 4})}).to_string());
  std::string line;
  std::size_t width = 0, rows = 0;
  while (std::getline(lines, line)) {
    if (line.find("tolerance") != std::string::npos) {
      width = line.size();
    } else if (width > 0 && line.rfind("  x", 0) == 0) {
      EXPECT_EQ(line.size(), width) << line;
      ++rows;
    }
  }
  EXPECT_EQ(rows, 10u);
}

TEST(GradcheckResult, JsonIsValid) {
  const std::string json = example().to_json();
  for (const char* expected :
       {R"({"check":"gradcheck","passed":false,"mode":"full")", R"("input_name":"w \"quoted\"\n")",
        R"("analytical":null)", R"("numerical":[1.5,-2.0])", R"("relative":null)", R"("tolerance":0.1,)",
        R"("output_shape":[],"input_shape":[2,10])", R"("part":"whole")", R"("cause":"non_finite")",
        R"("failures":["a failure"],"warnings":["a warning"]})"}) {
    EXPECT_THAT(json, HasSubstr(expected));
  }
  for (const char* invalid : {"nan", "inf", ",,", "\n"}) {
    EXPECT_THAT(json, Not(HasSubstr(invalid)));
  }
}

TEST(GradcheckResult, JsonIsValidForMessagesThatAreNotUtf8) {
  GradcheckResult result;
  result.failures = {"latin-1: \xe9"};
  EXPECT_THAT(result.to_json(), HasSubstr("\"latin-1: \xef\xbf\xbd\""));
}

TEST(GradcheckResult, UsesTheNamesInTheOptions) {
  const GradcheckResult result = gradcheck(wrong_square(), {variable({2})},
                                           {.input_names = {"temperature"}, .output_names = {"energy"}});
  EXPECT_THAT(result.to_string(), HasSubstr("d energy / d temperature"));
}

TEST(ExpectGradientsMatch, PassesSilently) {
  EXPECT_GRADIENTS_MATCH(sin_of, {variable({2})});
  ASSERT_GRADIENTS_MATCH(sin_of, {variable({2})}, {.rtol = 1e-6}) << "more text";
}

TEST(ExpectGradientsMatch, FailsWithTheTable) {
  EXPECT_NONFATAL_FAILURE(EXPECT_GRADIENTS_MATCH(wrong_square(), {variable({2})}), "gradcheck: FAILED");
  EXPECT_NONFATAL_FAILURE(EXPECT_GRADIENTS_MATCH(wrong_square(), {variable({2})}),
                          "sign: analytical = -1 x numerical");
  EXPECT_NONFATAL_FAILURE(EXPECT_GRADIENTS_MATCH(wrong_square(), {variable({2})}) << "more text",
                          "more text");
}

TEST(ExpectGradientsMatch, AssertReturnsFromTheTest) {
  EXPECT_FATAL_FAILURE(ASSERT_GRADIENTS_MATCH(wrong_square(), {variable({2})}), "gradcheck: FAILED");
}

TEST(ExpectGradientsMatch, DoesNotPairWithAFollowingElse) {
  bool reached = false;
  if (reached)
    EXPECT_GRADIENTS_MATCH(sin_of, {variable({2})});
  else
    reached = true;
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
