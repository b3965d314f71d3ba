#include "twingrad/gradcheck/result.h"

#include <gtest/gtest-spi.h>

#include <cmath>

#include "functions.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad::gradcheck_tests {
namespace {

GradcheckEntry entry_of(std::vector<std::int64_t> output, std::vector<std::int64_t> input,
                        std::complex<double> analytical, std::complex<double> numerical, double size) {
  GradcheckEntry entry;
  entry.output_index = std::move(output);
  entry.input_index = std::move(input);
  entry.analytical = analytical;
  entry.numerical = numerical;
  entry.absolute = 1 * size;
  entry.relative = 2 * size;
  entry.tolerance = 3 * size;
  entry.passed = false;
  return entry;
}

/// A result that no check gives, with each field different.
GradcheckResult example() {
  GradcheckComparison value;
  value.kind = GradcheckComparison::Kind::value;
  value.output_name = "loss";
  value.entries = 1;
  value.worst_absolute.absolute = 1e-9;
  value.worst_relative.relative = 2e-9;
  GradcheckComparison part;
  part.output = 1;
  part.input = 2;
  part.part = GradcheckComparison::Part::imaginary;
  part.output_name = "spectrum";
  part.input_name = "w \"quoted\"\n";
  part.output_shape = {3};
  part.input_shape = {2, 10};
  part.entries = 60;
  part.bad = 12;
  part.kinks = 4;
  part.bad_entries = {entry_of({2}, {1, 9}, {1.5, -2}, {0, 0.25}, 30),
                      entry_of({0}, {1, 0}, NAN, INFINITY, 20),
                      entry_of({2}, {0, 3}, -1, 0.123456789123, 10)};
  part.bad_entries[1].kink = true;
  part.worst_absolute = part.bad_entries[0];
  part.worst_relative = part.bad_entries[1];
  part.cause = Cause::non_finite;
  part.factor = 0.5;
  part.explanation = "not finite";
  part.passed = false;
  GradcheckResult result;
  result.check = GradcheckResult::Check::check_backward;
  result.mode = GradcheckMode::fast;
  result.eps = 1e-6;
  result.atol = 2e-5;
  result.rtol = 3e-3;
  result.comparisons = {value, part};
  result.failures = {"a failure", "another"};
  result.warnings = {"a warning"};
  return result;
}

TEST(GradcheckResult, IsFalseUntilACheckHasPassed) { EXPECT_FALSE(GradcheckResult{}); }

TEST(GradcheckResult, TheTableShowsTheWorstEntriesInTheOrderOfTheMatrix) {
  GradcheckResult result = example();
  result.comparisons[1].input_name = "w";
  EXPECT_EQ(result.to_string(0), R"(check_backward: FAILED (fast mode, eps 1e-06, atol 2e-05, rtol 0.003)
  FAILED: a failure
  FAILED: another
  warning: a warning

       output           input      entries  bad  absolute  relative
  ok   loss []          reference        1    0  1.00e-09  2.00e-09
  BAD  Im spectrum [3]  w [2, 10]       60   12  3.00e+01  4.00e+01  not finite
)");
  EXPECT_EQ(result.to_string(), result.to_string(0) + R"(
d Im spectrum / d w, 3 of 12 bad entries
     output  input   analytical    numerical  absolute  relative  tolerance
  x  [0]     [1, 0]         nan          inf  2.00e+01  4.00e+01   6.00e+01  kink
  x  [2]     [0, 3]          -1  0.123456789  1.00e+01  2.00e+01   3.00e+01
  x  [2]     [1, 9]      1.5-2i      0+0.25i  3.00e+01  6.00e+01   9.00e+01
)");
  EXPECT_EQ(result.to_string(2), result.to_string(0) + R"(
d Im spectrum / d w, 2 of 12 bad entries
     output  input   analytical  numerical  absolute  relative  tolerance
  x  [0]     [1, 0]         nan        inf  2.00e+01  4.00e+01   6.00e+01  kink
  x  [2]     [1, 9]      1.5-2i    0+0.25i  3.00e+01  6.00e+01   9.00e+01
)");
  result.comparisons = {result.comparisons[1], result.comparisons[0]};
  result.comparisons[0].kind = GradcheckComparison::Kind::projection;
  result.comparisons[0].part = GradcheckComparison::Part::real;
  result.comparisons[0].bad_entries = {entry_of({}, {}, 1, 2, 1)};
  result.comparisons[1].passed = false;
  result.comparisons[1].bad = 1;
  result.comparisons[1].output_shape = {4};
  result.comparisons[1].bad_entries = {entry_of({3}, {0}, 1, 2, 1)};
  result.failures = result.warnings = {};
  EXPECT_EQ(result.to_string(1), R"(check_backward: FAILED (fast mode, eps 1e-06, atol 2e-05, rtol 0.003)

       output           input      entries  bad  absolute  relative
  BAD  Re spectrum [3]  w [2, 10]       60   12  3.00e+01  4.00e+01  not finite
  BAD  loss [4]         reference        1    1  1.00e-09  2.00e-09

d Re spectrum / d w, 1 of 12 bad entries
     output  input  analytical  numerical  absolute  relative  tolerance
  x                          1          2  1.00e+00  2.00e+00   3.00e+00

loss and the reference, 1 of 1 bad entries
     output  input  value  reference  absolute  relative  tolerance
  x  [3]                1          2  1.00e+00  2.00e+00   3.00e+00
)");
  result.comparisons = {};
  result.passed = true;
  result.check = GradcheckResult::Check::gradgradcheck;
  EXPECT_EQ(result.to_string(), "gradgradcheck: passed (fast mode, eps 1e-06, atol 2e-05, rtol 0.003)\n");
}

TEST(GradcheckResult, UpToTenBadEntriesAreShownAnd100AreListedTheWorstFirst) {
  // Entry (i, i) of the Jacobian should be 1 and is its factor: 3, 5, … or −2, −4, …, off by 2 to 121.
  at::manual_seed(1);
  const Tensor sizes = at::randperm(120) + 2;
  const Tensor factors = at::where(sizes.remainder(2) == 1, sizes, -sizes).to(at::kDouble);
  const auto wrong =
      with_gradient(exp_of, [&](const Tensor& x, const Tensor& g) { return g * x.exp() * factors; });
  const GradcheckResult result = gradcheck(wrong, {at::zeros({120}, at::kDouble).requires_grad_()});
  const GradcheckComparison& comparison = only_comparison(result);
  EXPECT_EQ(comparison.bad, 120);
  ASSERT_EQ(comparison.bad_entries.size(), 100u);
  for (int i = 0; i < 100; ++i) {
    EXPECT_NEAR(std::abs(comparison.bad_entries[i].analytical.real() - 1), 121 - i, 1e-9);
  }
  EXPECT_THAT(result.to_string(), HasSubstr("10 of 120 bad entries"));
  EXPECT_THAT(result.to_string(12), HasSubstr("12 of 120 bad entries"));
  EXPECT_THAT(result.to_string(1000), HasSubstr("100 of 120 bad entries"));
  EXPECT_EQ(result.to_string(), result.to_string(10));

  // A difference where none is allowed: the largest first.
  const GradcheckFunction detached = [&](T in) -> Tensors { return {in[0].detach() * factors}; };
  const GradcheckResult constant = gradcheck(detached, {variable({120})});
  ASSERT_EQ(only_comparison(constant).bad_entries.size(), 100u);
  EXPECT_NEAR(std::abs(only_comparison(constant).bad_entries[0].numerical.real()), 121, 1e-5);
  EXPECT_NEAR(std::abs(only_comparison(constant).bad_entries[99].numerical.real()), 22, 1e-5);
}

TEST(GradcheckResult, JsonHasEveryField) {
  GradcheckResult result = example();
  result.comparisons[1].bad_entries.resize(1);
  result.comparisons[1].opinions = {{.entry = result.comparisons[1].bad_entries[0],
                                     .derivative = 0.25,
                                     .error = 1e-9,
                                     .order = NAN,
                                     .blame = GradcheckOpinion::Blame::gradient}};
  EXPECT_EQ(
      result.to_json(),
      R"({"check":"check_backward","passed":false,"mode":"fast","eps":1e-06,"atol":2e-05,"rtol":0.003,)"
      R"("comparisons":[{"kind":"value","output":0,"input":0,"part":"whole","output_name":"loss",)"
      R"("input_name":"","output_shape":[],"input_shape":[],"entries":1,"bad":0,"kinks":0,"cause":"none",)"
      R"("factor":1.0,"explanation":"","worst_absolute":{"output_index":[],"input_index":[],)"
      R"("analytical":0.0,"numerical":0.0,"absolute":1e-09,"relative":0.0,"tolerance":0.0,"passed":true,)"
      R"("kink":false},"worst_relative":{"output_index":[],"input_index":[],"analytical":0.0,)"
      R"("numerical":0.0,"absolute":0.0,"relative":2e-09,"tolerance":0.0,"passed":true,"kink":false},)"
      R"("bad_entries":[],"opinions":[],"passed":true},)"
      R"({"kind":"jacobian","output":1,"input":2,"part":"imaginary",)"
      R"("output_name":"spectrum","input_name":"w \"quoted\"\n","output_shape":[3],"input_shape":[2,10],)"
      R"("entries":60,"bad":12,"kinks":4,"cause":"non_finite","factor":0.5,"explanation":"not finite",)"
      R"("worst_absolute":{"output_index":[2],"input_index":[1,9],"analytical":[1.5,-2.0],)"
      R"("numerical":[0.0,0.25],"absolute":30.0,"relative":60.0,"tolerance":90.0,"passed":false,)"
      R"("kink":false},"worst_relative":{"output_index":[0],"input_index":[1,0],"analytical":null,)"
      R"("numerical":null,"absolute":20.0,"relative":40.0,"tolerance":60.0,"passed":false,"kink":true},)"
      R"("bad_entries":[{"output_index":[2],"input_index":[1,9],"analytical":[1.5,-2.0],)"
      R"("numerical":[0.0,0.25],"absolute":30.0,"relative":60.0,"tolerance":90.0,"passed":false,)"
      R"("kink":false}],"opinions":[{"output_index":[2],"input_index":[1,9],"derivative":0.25,"error":1e-09,)"
      R"("complex_step":false,)"
      R"("order":null,"blame":"gradient"}],"passed":false}],)"
      R"("failures":["a failure","another"],"warnings":["a warning"]})");
}

TEST(GradcheckResult, EveryCauseHasAName) {
  const char* const names[] = {"none",          "unknown",    "sign",        "factor",
                               "missing_mean",  "extra_mean", "transposed",  "conjugated",
                               "diagonal_only", "not_filled", "overwritten", "kink",
                               "discontinuity", "rounding",   "step",        "non_finite"};
  const Cause causes[] = {Cause::none,          Cause::unknown,    Cause::sign,        Cause::factor,
                          Cause::missing_mean,  Cause::extra_mean, Cause::transposed,  Cause::conjugated,
                          Cause::diagonal_only, Cause::not_filled, Cause::overwritten, Cause::kink,
                          Cause::discontinuity, Cause::rounding,   Cause::step,        Cause::non_finite};
  for (std::size_t i = 0; i < std::size(causes); ++i) {
    EXPECT_STREQ(to_string(causes[i]), names[i]);
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
