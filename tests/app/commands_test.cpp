#include "app_fixture.h"

// The commands check, bench and data.

namespace twingrad {
namespace {

TEST_F(AppTest, CheckCoversTheFullCatalogue) {
  const Json report = run_json("check");
  EXPECT_TRUE(report["passed"]);
  for (const char* key :
       {"name", "oracle", "dtype", "max_abs_error", "max_rel_error", "tolerance", "passed"}) {
    EXPECT_TRUE(report["checks"][0].contains(key)) << key;
  }
  EXPECT_EQ(report["bugs"].size(), run_json("check --list-bugs").size());
}

TEST_F(AppTest, CheckSelectsEntriesByNameOrPrefix) {
  EXPECT_EQ(run("check sgd --list").output,
            "sgd\nsgd.weight_decay\nsgd.momentum\nsgd.dampening\nsgd.nesterov\n");
  EXPECT_THAT(run("check relu tanh").output, HasSubstr("2 of 2 entries agree"));
  expect_refused("check rellu", "rellu", "did you mean relu?");
}

TEST_F(AppTest, PlantedBugIsRejectedAndExitsWith1) {
  const Outcome outcome = run("check --bug softmax.diagonal_only");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("REJECTED"), HasSubstr("diagonal only")));
  const Outcome json = run("check --bug softmax.diagonal_only --json");
  EXPECT_EQ(json.status, 1);
  EXPECT_FALSE(Json::parse(json.output)["passed"]);
  EXPECT_EQ(run("check softmax --bug none").status, 0) << "without a bug";
  expect_refused("check --bug softmax.diagonal", "--bug", "expected the name of a planted bug");
}

TEST_F(AppTest, SweepPrintsATable) {
  const Outcome outcome = run("check tanh --sweep");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("1.0e-01"), HasSubstr("1.0e-12")));
}

TEST_F(AppTest, SweepWritesAPlotAndPrintsJson) {
  const Json sweeps = run_json("check tanh gelu --sweep --out sweep.svg");
  ASSERT_EQ(sweeps.size(), 2U);
  EXPECT_EQ(sweeps[0]["points"].size(), 23U);
  EXPECT_THAT(content(folder.path() / "sweep.svg"), AllOf(HasSubstr("<svg"), HasSubstr(">tanh<")));
}

TEST_F(AppTest, CheckRunsOnlyTheGivenDtype) {
  const Json report = run_json("check tanh sgd --dtype float32");
  EXPECT_TRUE(report["passed"]);
  for (const Json& row : report["checks"]) {
    EXPECT_EQ(row["dtype"], "float32");
  }
}

TEST_F(AppTest, CheckRefusesInvalidOptions) {
  expect_refused("check tanh --dtype half", "--dtype", "expected float32 or float64");
  expect_refused("check schedule --dtype float32", "--dtype", "found none");
  expect_refused("check tanh --out sweep.svg", "--out", "add --sweep");
  expect_refused("check tanh --sweep --out nowhere/sweep.svg", "--out", "no directory nowhere");
  expect_refused("check tanh --sweep --out .", "--out", "found the directory .");
  expect_refused("check --sweep --out sweep.svg", "--out", "expected at most 8 entries");
  expect_refused("check sgd --sweep", "--sweep", "expected a layer or a loss");
  expect_refused("check tanh --sweep --dtype float32", "--sweep", "expected float64");
}

TEST_F(AppTest, BenchTimesBothTwinsAndTheProducts) {
  const Outcome outcome = run("bench --hidden 8 --batch-size 1000 --repeats 2 --json");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  const Json answer = Json::parse(outcome.output);
  ASSERT_EQ(answer["cases"].size(), 1U);
  EXPECT_EQ(answer["cases"][0]["name"], "784-8-10, batch 1000");
  std::vector<std::string> rows;
  for (const Json& row : answer["cases"][0]["rows"]) {
    rows.push_back(row["what"]);
    EXPECT_GT(row["seconds"]["min"], 0);
    EXPECT_LE(row["seconds"]["min"], row["seconds"]["median"]);
    EXPECT_LE(row["seconds"]["median"], row["seconds"]["max"]);
    if (row["what"] == "manual twin") {
      EXPECT_EQ(row["ratio_to_manual"], 1);
    } else {
      EXPECT_GT(row["ratio_to_manual"], 0);
    }
  }
  std::vector<std::string> expected = {"autograd twin", "manual twin", "matrix products alone"};
  if (!answer["products_by_hand"]
           .get<std::string>()
           .empty()) {  // oneDNN: both are also timed with LibTorch's own products
    const std::string by = " with " + answer["blas"].get<std::string>();
    expected.insert(expected.end(), {expected[1] + by, expected[2] + by});
  }
  EXPECT_EQ(rows, expected);
  EXPECT_THAT(outcome.errors, HasSubstr("optimizer, all threads"));
  for (const Json& row : answer["cases"][0]["core_to_core"]) {  // empty with one processor
    EXPECT_GT(row["seconds"]["min"], 1e-9);
  }
  expect_refused("bench --batch-size 0", "--batch-size", "found '0'");
}

TEST_F(AppTest, DataListsTheKnownDataSets) {
  const Outcome outcome = run("data list");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("fashion-mnist"), HasSubstr("mnist"), HasSubstr("synthetic")));
  EXPECT_EQ(run_json("data list").size(), 3);
}

}  // namespace
}  // namespace twingrad
