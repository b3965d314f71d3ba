#include "twingrad/training/metrics_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "../support/refusal.h"
#include "../support/temporary_folder.h"
#include "twingrad/training/run_folder.h"

namespace twingrad::metrics_file_test {

using namespace ::testing;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

EpochMetrics metrics_of(std::int64_t epoch, const std::string& twin, double loss) {
  return {.epoch = epoch,
          .twin = twin,
          .train_loss = loss,
          .train_accuracy = 0.5,
          .test_loss = 2,
          .test_accuracy = 0.25,
          .seconds = 0.1,
          .samples_per_second = 1000};
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(MetricsTable, HasARowPerEpochAndTwin) {
  testing::TemporaryFolder folder;
  const auto run = RunFolder::begin(folder.path() / "run", "data");
  run->on_epoch(metrics_of(1, "autograd", 1.0 / 3));
  run->on_epoch(metrics_of(1, "manual", kInfinity));
  run->on_agreement({.epoch = 1, .worst = "0.weight", .verdict = "same to rounding"}, true);
  EXPECT_EQ(text_of(folder.path() / "run" / "metrics.csv"),
            "epoch,twin,train_loss,train_accuracy,test_loss,test_accuracy,seconds,samples_per_second\n"
            "1,autograd,0.3333333333333333,0.5,2,0.25,0.1,1000\n"
            "1,manual,inf,0.5,2,0.25,0.1,1000\n");
}

TEST(MetricsTable, HasNoDuplicatesAfterResuming) {
  testing::TemporaryFolder folder;
  const std::filesystem::path directory = folder.path() / "run";
  std::int64_t size = 0;
  {
    const auto run = RunFolder::begin(directory, "data");
    run->on_epoch(metrics_of(1, "manual", 3));
    size = run->metrics_size();
    run->on_epoch(metrics_of(2, "manual", 2));  // after the checkpoint
  }
  const auto run = RunFolder::reopen(directory);
  run->truncate_metrics(size);
  run->on_epoch(metrics_of(2, "manual", 1.5));
  EXPECT_EQ(text_of(directory / "metrics.csv"), metrics_csv_header() +
                                                    metrics_csv_row(metrics_of(1, "manual", 3)) +
                                                    metrics_csv_row(metrics_of(2, "manual", 1.5)));
}

TEST(ReadMetrics, ReadsWhatARunHasWritten) {
  testing::TemporaryFolder folder;
  const auto run = RunFolder::begin(folder.path() / "run", "data");
  run->on_epoch(metrics_of(1, "manual", kInfinity));
  run->on_agreement({.epoch = 1,
                     .step = 7,
                     .worst = "0.weight",
                     .verdict = "same to rounding",
                     .gradients = {{"0.weight", 1e-7}, {"logits", kInfinity}}},
                    true);
  const RunMetrics metrics = read_metrics(folder.path() / "run");
  ASSERT_EQ(metrics.epochs.size(), 1);
  EXPECT_EQ(metrics.epochs[0].twin, "manual");
  EXPECT_EQ(metrics.epochs[0].train_loss, kInfinity);
  ASSERT_EQ(metrics.agreements.size(), 1);
  EXPECT_EQ(metrics.agreements[0].step, 7);
  EXPECT_EQ(metrics.agreements[0].gradients,
            (std::map<std::string, double>{{"0.weight", 1e-7}, {"logits", kInfinity}}));
}

TEST(ReadMetrics, IgnoresAnIncompleteLineAndUnknownEvents) {
  testing::TemporaryFolder folder;
  folder.write("metrics.jsonl", R"({"event":"later"})"
                                "\n"
                                R"({"event":"epo)");
  EXPECT_TRUE(read_metrics(folder.path()).epochs.empty());
}

TEST(ReadMetrics, RefusesOtherLines) {
  testing::TemporaryFolder folder;
  for (const char* line :
       {"x", "[]", "{}", R"({"event":1})", R"({"event":"epoch"})", R"({"event":"agreement"})"}) {
    folder.write("metrics.jsonl", "{\"event\":\"later\"}\n" + std::string(line) + "\n");
    EXPECT_THAT(testing::refusal_of([&] { read_metrics(folder.path()); }),
                AllOf(HasSubstr("metrics.jsonl: line 2: "), HasSubstr("; ")))
        << line;
  }
}

}  // namespace twingrad::metrics_file_test
