#include "twingrad/gradcheck/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <torch/torch.h>

#include <cmath>
#include <sstream>

#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::random_tensor;
using testing::Tensors;
using testing::with_gradient;

Function wrong_square() {
  return with_gradient([](const Tensors& in) -> Tensors { return {in[0].pow(2)}; },
                       [](const Tensors& in, const Tensors& g) -> Tensors { return {-2 * in[0] * g[0]}; });
}

Verdict example() {
  Comparison comparison;
  comparison.output_name = "loss";
  comparison.input_name = "w \"quoted\"\n";
  comparison.output_shape = {};
  comparison.input_shape = {2, 10};
  comparison.entries = 20;
  comparison.bad = 2;
  Entry entry;
  entry.output_index = {};
  entry.input_index = {1, 9};
  entry.ours = NAN;
  entry.numeric = {1.5, -2};
  entry.absolute = NAN;
  entry.relative = INFINITY;
  entry.tolerance = 0.1;
  comparison.worst_absolute = comparison.worst_relative = entry;
  comparison.bad_entries = {entry, entry};
  comparison.cause = Cause::non_finite;
  comparison.explanation = "not finite";
  comparison.passed = false;
  Verdict verdict;
  verdict.comparisons = {comparison};
  verdict.failures = {"a failure"};
  verdict.warnings = {"a warning"};
  return verdict;
}

TEST(Verdict, IsFalseUntilACheckHasPassed) { EXPECT_FALSE(Verdict{}); }

TEST(Verdict, TheTableNamesAndNumbersWhatIsWrong) {
  const std::string text = example().to_string();
  EXPECT_THAT(text, HasSubstr("gradcheck: FAILED (full mode"));
  EXPECT_THAT(text, HasSubstr("FAILED: a failure"));
  EXPECT_THAT(text, HasSubstr("warning: a warning"));
  EXPECT_THAT(text, HasSubstr("loss []"));
  EXPECT_THAT(text, HasSubstr("not finite"));
  EXPECT_THAT(text, HasSubstr("2 of 2 bad entries"));
  EXPECT_THAT(text, HasSubstr("[1, 9]"));
  EXPECT_THAT(text, HasSubstr("1.5-2i"));
}

TEST(Verdict, TheTableHasAsManyRowsAsAskedFor) {
  EXPECT_THAT(example().to_string(1), HasSubstr("1 of 2 bad entries"));
  EXPECT_THAT(example().to_string(0), Not(HasSubstr("bad entries")));
}

TEST(Verdict, ColumnsAreAligned) {
  torch::manual_seed(1);
  const Verdict verdict = gradcheck(wrong_square(), {random_tensor({3, 4})});
  std::istringstream lines(verdict.to_string());
  std::string line;
  std::size_t header = 0, rows = 0, end = 0;
  while (std::getline(lines, line)) {
    if (line.find("tolerance") != std::string::npos) {
      header = 1;
      end = line.size();
    } else if (header == 1 && line.rfind("  x", 0) == 0) {
      EXPECT_EQ(line.size(), end) << line;
      ++rows;
    }
  }
  EXPECT_EQ(rows, 10u);
}

TEST(Verdict, JsonIsWhatParsersTake) {
  const std::string json = example().to_json();
  EXPECT_THAT(json, HasSubstr("\"passed\":false"));
  EXPECT_THAT(json, HasSubstr("\"input_name\":\"w \\\"quoted\\\"\\u000a\""));
  EXPECT_THAT(json, HasSubstr("\"ours\":null"));
  EXPECT_THAT(json, HasSubstr("\"numeric\":[1.5,-2]"));
  EXPECT_THAT(json, HasSubstr("\"relative\":null"));
  EXPECT_THAT(json, HasSubstr("\"tolerance\":0.1,"));
  EXPECT_THAT(json, HasSubstr("\"output_shape\":[],\"input_shape\":[2,10]"));
  EXPECT_THAT(json, HasSubstr("\"cause\":\"non_finite\""));
  EXPECT_THAT(json, HasSubstr("\"failures\":[\"a failure\"],\"warnings\":[\"a warning\"]}"));
  EXPECT_THAT(json, Not(HasSubstr("nan")));
  EXPECT_THAT(json, Not(HasSubstr("inf")));
  EXPECT_THAT(json, Not(HasSubstr(",,")));
  EXPECT_THAT(json, Not(HasSubstr("\n")));
}

TEST(Verdict, NamesOfTheCallerAreUsed) {
  const Verdict verdict = gradcheck(wrong_square(), {random_tensor({2})},
                                    {.input_names = {"temperature"}, .output_names = {"energy"}});
  EXPECT_THAT(verdict.to_string(), HasSubstr("d energy / d temperature"));
}

TEST(ExpectGradientsMatch, PassesSilently) {
  const Function sine = [](const Tensors& in) -> Tensors { return {in[0].sin()}; };
  EXPECT_GRADIENTS_MATCH(sine, {random_tensor({2})});
  ASSERT_GRADIENTS_MATCH(sine, {random_tensor({2})}, {.rtol = 1e-6}) << "and can be told more";
}

TEST(ExpectGradientsMatch, FailsWithTheVerdict) {
  EXPECT_NONFATAL_FAILURE(EXPECT_GRADIENTS_MATCH(wrong_square(), {random_tensor({2})}), "gradcheck: FAILED");
  EXPECT_NONFATAL_FAILURE(EXPECT_GRADIENTS_MATCH(wrong_square(), {random_tensor({2})}),
                          "sign: ours = -1 x numeric");
  EXPECT_NONFATAL_FAILURE(EXPECT_GRADIENTS_MATCH(wrong_square(), {random_tensor({2})}) << "of energy",
                          "of energy");
}

TEST(ExpectGradientsMatch, AssertLeavesTheTest) {
  EXPECT_FATAL_FAILURE(ASSERT_GRADIENTS_MATCH(wrong_square(), {random_tensor({2})}), "gradcheck: FAILED");
}

TEST(ExpectGradientsMatch, DoesNotCaptureAnElse) {
  const Function sine = [](const Tensors& in) -> Tensors { return {in[0].sin()}; };
  bool reached = false;
  if (reached)
    EXPECT_GRADIENTS_MATCH(sine, {random_tensor({2})});
  else
    reached = true;
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace twingrad
