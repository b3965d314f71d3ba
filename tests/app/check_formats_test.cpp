#include <algorithm>

#include "app_fixture.h"

// twingrad check --plugin and --format.

namespace twingrad {
namespace {

class CheckFormatsTest : public AppTest {
 protected:
  ~CheckFormatsTest() override { unsetenv("TWINGRAD_TEST_PLUGIN"); }

  /// Checks the plugin of the tests with a fault.
  Outcome check_with(const char* fault, const Arguments& more = "") const {
    setenv("TWINGRAD_TEST_PLUGIN", fault, 1);
    return run(Arguments({"check", "--plugin", TWINGRAD_TEST_PLUGIN}) + more);
  }

  void expect_refused_plugin(const char* fault, const char* message) const {
    const Outcome outcome = check_with(fault);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors,
                AllOf(StartsWith("twingrad: error: --plugin: expected "), HasSubstr(message)));
  }
};

TEST_F(CheckFormatsTest, PluginsAreCheckedWithTheirSecondDerivatives) {
  const Outcome right = check_with("");
  EXPECT_EQ(right.status, 0);
  EXPECT_THAT(right.output,
              AllOf(StartsWith("sine: gradcheck: passed"), HasSubstr("sine: gradgradcheck: passed"),
                    HasSubstr("2 of 2 checks passed")));
  const Outcome wrong = check_with("wrong");
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.output,
              AllOf(HasSubstr("sign: analytical = -1 x numerical"), HasSubstr("2 of 3 checks passed")));
  EXPECT_THAT(check_with("wrong", "sine").output, HasSubstr("2 of 2 checks passed"));
  EXPECT_EQ(check_with("wrong").output.substr(0, 400), wrong.output.substr(0, 400))
      << "its random inputs are seeded";
}

TEST_F(CheckFormatsTest, PluginsPrintJson) {
  const Outcome outcome = check_with("wrong", "--json");
  EXPECT_EQ(outcome.status, 1);
  const Json report = Json::parse(outcome.output);
  EXPECT_FALSE(report["passed"]);
  ASSERT_EQ(report["functions"].size(), 3U);
  EXPECT_EQ(report["functions"][1]["result"]["check"], "gradgradcheck");
  EXPECT_EQ(report["functions"][2]["result"]["comparisons"][0]["cause"], "sign");
  EXPECT_EQ(check_with("wrong", "--format json").output, outcome.output);
}

TEST_F(CheckFormatsTest, RefusesWhatIsNoPluginOfThisProgram) {
  expect_refused_plugin("old", "found LibTorch 0.4.1; build it again");
  expect_refused_plugin("headers", "and other headers; build it again");
  expect_refused_plugin("throws", "found an exception: no cases today");
  expect_refused_plugin("empty", "expected at least one case, found none");
  expect_refused("check --plugin nowhere.so", "--plugin", "No such file");
  expect_refused({"check", "--plugin", TWINGRAD_PROGRAM}, "--plugin", "expected ");
  const Outcome misspelled = check_with("", "sinus");
  EXPECT_EQ(misspelled.status, 2);
  EXPECT_THAT(misspelled.errors, HasSubstr("sinus: expected a case of the plugin: sine"));
  for (const char* option : {"--list", "--list-bugs", "--sweep", "--bug none", "--dtype float32"}) {
    const Outcome outcome = check_with("", option);
    EXPECT_EQ(outcome.status, 2) << option;
    EXPECT_THAT(outcome.errors, HasSubstr("--plugin: expected only names, --format and --json")) << option;
  }
}

TEST_F(CheckFormatsTest, PrintsJUnit) {
  const Outcome outcome = check_with("wrong", "--format junit");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(
      outcome.output,
      AllOf(
          StartsWith("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite "
                     "name=\"twingrad check\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\""),
          HasSubstr("<testcase classname=\"sine\" name=\"second derivatives\"/>\n"),
          HasSubstr("<testcase classname=\"a &quot;square&quot; &amp; 100 %: ?\xef\xbf\xbd\" "
                    "name=\"gradients\"><failure message=\"gradcheck: FAILED (full mode"),
          ::testing::EndsWith("</failure></testcase>\n</testsuite>\n</testsuites>\n")));
  EXPECT_THAT(outcome.errors, HasSubstr("2 of 3 checks passed")) << "the table";
  const std::string catalogue = run("check relu --format junit").output;
  EXPECT_THAT(catalogue,
              AllOf(HasSubstr("failures=\"0\""),
                    HasSubstr("<testcase classname=\"relu\" name=\"autograd in float64\"/>"),
                    HasSubstr("<testcase classname=\"relu\" name=\"rejects relu.mask_from_gradient\"/>")));
}

TEST_F(CheckFormatsTest, PrintsAnnotationsForGitHub) {
  const Outcome outcome = check_with("wrong", "--format github");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(
      outcome.output,
      AllOf(StartsWith("::error title=twingrad check%3A a \"square\" & 100 %25%3A \x01\xef\xbf\xbd%2C "
                       "gradients::gradcheck: FAILED (full mode, eps"),
            HasSubstr("%0A  BAD  output 0 [3]"), HasSubstr("sign: analytical = -1 x numerical")));
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << "one line each";
  const Outcome passed = run("check relu --format github");
  EXPECT_EQ(passed.status, 0);
  EXPECT_EQ(passed.output, "");
}

TEST_F(CheckFormatsTest, RefusesFormatsThatHaveNoMeaning) {
  for (const char* option : {"--list", "--list-bugs", "--sweep", "--bug none"}) {
    expect_refused(std::string("check tanh --format junit ") + option, "--format",
                   "expected text or json with --list");
  }
  expect_refused("check tanh --json --format github", "--json", "expected no other --format");
  EXPECT_EQ(run("check tanh --list --format json").output, run("check tanh --list --json").output);
}

}  // namespace
}  // namespace twingrad
