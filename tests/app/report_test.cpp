#include "app_fixture.h"

namespace twingrad {
namespace {

class ReportTest : public AppTest {
 protected:
  std::string file(const std::string& name) const { return content(folder.path() / name); }
};

TEST_F(ReportTest, TrainWritesReportAndTable) {
  ASSERT_EQ(train("--quiet --out run").status, 0);
  const std::string page = file("run/report.html");
  EXPECT_THAT(
      page, AllOf(StartsWith("<!doctype html>"),
                  HasSubstr("<title>784-16-10 on synthetic (drawn from seed 1) · run run · twingrad</title>"),
                  HasSubstr("Gradients at equal weights agree to "), HasSubstr("finished after 2 epochs")));
  for (const char* figure : {">Loss<", ">Accuracy<", ">Difference of the gradients at equal weights<",
                             ">Distance of the two trainings<", ">Training time by part<",
                             ">Confusion matrix<", ">First layer<", ">Repeat this run<"}) {
    EXPECT_THAT(page, HasSubstr(figure));
  }
  EXPECT_THAT(page, HasSubstr("twingrad train --dataset=synthetic --epochs=2 --hidden=16 --threads="));
  EXPECT_THAT(page, HasSubstr(summary("run")["dataset"]["sha256"].get<std::string>()));
  EXPECT_LT(page.size(), 300'000);
  const std::string table = file("run/metrics.csv");
  EXPECT_THAT(table, StartsWith("epoch,twin,train_loss,train_accuracy,test_loss,test_accuracy,seconds,"
                                "samples_per_second\n1,autograd,"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 5);
}

TEST_F(ReportTest, ShowsTheTimesByPartThatAddUpToTheTrainingTime) {
  ASSERT_EQ(train("--quiet --out run").status, 0);
  const Json facts = Json::parse(file("run/report.json"));
  for (const char* twin : {"autograd", "manual"}) {
    double sum = 0;
    for (const auto& [part, seconds] : facts["seconds_by_part"][twin].items()) {
      EXPECT_GT(seconds, 0) << part;
      sum += seconds.get<double>();
    }
    EXPECT_NEAR(sum, summary("run")["twins"][twin]["total_seconds"].get<double>(), 1e-9) << twin;
  }
}

TEST_F(ReportTest, HasTheConfusionMatrixOfTheLastEpoch) {
  ASSERT_EQ(train("--quiet --out run").status, 0);
  const Json test = Json::parse(file("run/report.json"))["test"];
  EXPECT_EQ(test["epoch"], 2);
  EXPECT_EQ(test["images"], 500);
  for (const char* twin : {"autograd", "manual"}) {
    int right = 0;
    for (std::size_t i = 0; i < 10; ++i) {
      right += test["confusion"][twin][11 * i].get<int>();
    }
    EXPECT_EQ(right / 500.0, summary("run")["twins"][twin]["test_accuracy"]) << twin;
  }
}

TEST_F(ReportTest, TellsThatARunWasStopped) {
  const Outcome outcome = train("--loss exercise --init normal --hidden 128 --quiet --out run");
  ASSERT_EQ(outcome.status, 1);
  EXPECT_THAT(file("run/report.html"),
              AllOf(HasSubstr("stopped by a failed check"), HasSubstr("class=\"notice\"")));
}

TEST_F(ReportTest, IsWrittenWhileTheRunGoesOnAndWhenItIsInterrupted) {
  const pid_t child = start("train --dataset synthetic --hidden 16 --epochs 1000000 --out run --quiet");
  wait_until([&] { return fs::exists(folder.path() / "run/report.html"); });
  EXPECT_THAT(file("run/report.html"),
              AllOf(HasSubstr("still running when this page was written"), HasSubstr(">Confusion matrix<")));
  kill(child, SIGINT);
  EXPECT_EQ(finish(child).status, 130);
  EXPECT_THAT(file("run/report.html"), HasSubstr("interrupted after"));
}

TEST_F(ReportTest, AReportThatCannotBeWrittenDoesNotStopTheRun) {
  fs::create_directories(folder.path() / "run/report.html");
  const Outcome outcome = train("--quiet --out run");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.errors, HasSubstr("twingrad: the report is not written: run/report.html: expected"));
  EXPECT_TRUE(fs::exists(folder.path() / "run/manual.safetensors"));
}

TEST_F(ReportTest, ASingleTwinHasNoComparison) {
  ASSERT_EQ(train("--quiet --out run --twins manual").status, 0);
  EXPECT_THAT(file("run/report.html"),
              AllOf(HasSubstr(">Loss<"), HasSubstr(">Training time by part<"), Not(HasSubstr(">Agreement<")),
                    Not(HasSubstr("NaN")), Not(HasSubstr("nan"))));
}

TEST_F(ReportTest, IsMadeAgainFromTheRunDirectory) {
  ASSERT_EQ(train("--quiet --out run").status, 0);
  const std::string page = file("run/report.html");
  fs::rename(folder.path() / "run/report.html", folder.path() / "first.html");
  ASSERT_EQ(run("report run").output, "run/report.html\n");
  EXPECT_TRUE(file("run/report.html") == page);
  ASSERT_EQ(run("report run/ --out copy.html").output, "copy.html\n");
  EXPECT_TRUE(file("copy.html") == page);
}

TEST_F(ReportTest, ComparesRuns) {
  ASSERT_EQ(train("--quiet --out a#1").status, 0);
  ASSERT_EQ(train("--quiet --out b --lr 0.01 --twins manual").status, 0);
  fs::create_directory(folder.path() / "pages");
  ASSERT_EQ(run("report a#1 b --out pages/comparison.html").output,
            "a#1/report.html\nb/report.html\npages/comparison.html\n");
  EXPECT_THAT(file("pages/comparison.html"),
              AllOf(HasSubstr("<h1>2 runs</h1>"), HasSubstr("href=\"../a%231/report.html\""),
                    HasSubstr(">optimizer.lr</th><td class=\"text\"><bdi>0.001</bdi></td><td "
                              "class=\"text\"><bdi>0.01</bdi></td>"),
                    Not(HasSubstr("training.seed")), HasSubstr(">run 2</text>")));
}

TEST_F(ReportTest, ShowsARunOfAnOlderVersion) {
  ASSERT_EQ(train("--quiet --out run").status, 0);
  fs::remove(folder.path() / "run/report.json");
  ASSERT_EQ(run("report run").status, 0);
  EXPECT_THAT(file("run/report.html"), AllOf(HasSubstr("no report.json"), HasSubstr(">Loss<")));
}

TEST_F(ReportTest, RefusesWhatIsNoRunAndOtherFiles) {
  expect_refused("report", "twingrad report", "expected directories of runs");
  expect_refused("report nothing", "nothing", "expected the directory of a run, found nothing");
  expect_refused("report .", ".", "without a metrics.jsonl");
  write("run.txt", "");
  expect_refused("report run.txt", "run.txt", "found a file");
  fs::create_directory(folder.path() / "run");
  write("run/metrics.jsonl", "{\"event\":\"epoch\"}\n");
  expect_refused("report run", "run/metrics.jsonl: line 1", "expected an event");
  write("run/metrics.jsonl", "");
  write("mine.html", "<p>mine</p>");
  expect_refused("report run --out mine.html", "mine.html", "expected a new file or a report of twingrad");
  EXPECT_EQ(file("mine.html"), "<p>mine</p>");
  write("run/report.json", "[]");
  expect_refused("report run", "run/report.json", "expected a JSON object");
  write("run/report.json", R"({"test":1,"settings":2,"class_names":{},"first_layer":[],"heading":"x"})");
  EXPECT_EQ(run("report run").status, 0);
  EXPECT_THAT(file("run/report.html"), HasSubstr("No epoch has been evaluated yet."));
}

}  // namespace
}  // namespace twingrad
