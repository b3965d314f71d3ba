#include <random>

#include "../support/bytes.h"
#include "app_fixture.h"
#include "twingrad/io/safetensors_header.h"
#include "twingrad/training/checkpoint_text.h"

// Checkpoints and --resume.

namespace twingrad {
namespace {

class ResumeTest : public AppTest {
 protected:
  /// A short run with state of all kinds: batch normalization, dropout, a schedule.
  static std::string options(int epochs = 3, int checkpoint_every = 3) {
    return "train --dataset synthetic --hidden 16 --normalization batch --input-dropout 0.1 --dropout 0.2 "
           "--schedule cosine --quiet --epochs " +
           std::to_string(epochs) + " --checkpoint-every " + std::to_string(checkpoint_every);
  }

  Outcome begin(const std::string& out, const std::string& arguments = options()) const {
    return run(arguments + " --out " + out);
  }

  Outcome resume(const std::string& out, const std::string& more = "") const {
    return run("train --resume " + out + " " + more);
  }

  /// The results that an interruption must not change: the weights, and the metrics without times.
  std::string result_of(const std::string& out) const {
    std::string result;
    for (Json& event : metrics(out)) {
      event.erase("seconds");
      event.erase("samples_per_second");
      result += event.dump() + "\n";
    }
    for (const char* file : {"autograd.safetensors", "manual.safetensors"}) {
      EXPECT_TRUE(fs::exists(path(out) / file));
      result += content(path(out) / file);
    }
    return result;
  }

  fs::path path(const std::string& out) const { return folder.path() / out; }

  std::vector<fs::path> checkpoints(const std::string& out) const {
    std::vector<fs::path> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path(out) / "checkpoint", error)) {
      if (entry.path().extension() == ".safetensors") {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  /// Starts the program, which writes checkpoints of the run `out`. Waits for the next one, or for the end.
  pid_t start_and_wait(const std::string& arguments, const std::string& out) const {
    const std::vector<fs::path> before = checkpoints(out);
    const pid_t child = start(arguments);
    wait_until([&] { return checkpoints(out) != before || waitpid(child, nullptr, WNOHANG) != 0; });
    return child;
  }

  /// Starts the program and kills it after the next checkpoint.
  void start_and_kill(const std::string& arguments, const std::string& out) const {
    const pid_t child = start_and_wait(arguments, out);
    kill(child, SIGKILL);
    finish(child);
  }

  /// All files in a run directory with their modification times.
  std::map<std::string, std::string> files(const std::string& out) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(path(out))) {
      if (entry.is_regular_file()) {
        files[entry.path().string()] =
            content(entry.path()) + std::to_string(entry.last_write_time().time_since_epoch().count());
      }
    }
    return files;
  }

  /// Expects that resuming the run is refused and changes none of its files.
  void expect_not_resumed(const std::string& out, const std::string& more, const std::string& what) const {
    const auto before = files(out);
    expect_one_line(resume(out, more), what);
    EXPECT_EQ(files(out), before);
  }

  /// Expects an error message of one line and exit status 2.
  void expect_one_line(const Outcome& outcome, const std::string& what) const {
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.errors, AllOf(StartsWith("twingrad: error: "), HasSubstr(what), HasSubstr("; ")));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
  }
};

TEST_F(ResumeTest, Survives50KillsAtRandomTimes) {
  constexpr int kKills = 50;
  const std::string arguments = options(30, 1);  // a checkpoint per step: most kills interrupt a write
  ASSERT_EQ(begin("whole", arguments).status, 0);
  const std::string expected = result_of("whole");

  std::mt19937 random(1);
  int kills = 0;
  int inside_a_write = 0;
  for (int number = 0; kills < kKills; ++number) {
    const std::string out = "run" + std::to_string(number);
    std::string command = arguments + " --out " + out;
    std::string newest;
    bool ended = false;
    while (!ended) {
      const pid_t child = start_and_wait(command, out);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
      if (kills < kKills) {
        kill(child, SIGKILL);
      }
      const Outcome outcome = finish(child);
      ended = outcome.status == 0;
      ASSERT_TRUE(ended || outcome.status == 128 + SIGKILL) << outcome.status << outcome.errors;
      if (!ended) {
        ++kills;
        for (const auto& entry : fs::directory_iterator(path(out) / "checkpoint")) {
          inside_a_write += entry.path().extension() == ".partial" ? 1 : 0;
        }
        ASSERT_FALSE(checkpoints(out).empty());
        const std::string now = checkpoints(out).back().filename().string();
        ASSERT_GE(now, newest) << "a checkpoint was lost";
        newest = now;
        command = "train --quiet --resume " + out;
      }
    }
    EXPECT_TRUE(result_of(out) == expected) << "after " << kills << " kills";
    fs::remove_all(path(out));
  }
  RecordProperty("kills", kills);
  RecordProperty("inside_a_write", inside_a_write);
  std::printf("survived %d kills, %d of them inside a write\n", kills, inside_a_write);
}

TEST_F(ResumeTest, InterruptWritesACheckpointAndShowsHowToContinue) {
  ASSERT_EQ(begin("whole", options(200)).status, 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string out = "run" + std::to_string(signal);
    const pid_t child = start_and_wait(options(200) + " --out " + out, out);
    kill(child, signal);
    const Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 130);
    EXPECT_THAT(outcome.errors, HasSubstr("resume with: twingrad train --resume " + out));
    const Outcome continued = resume(out, "--json");
    EXPECT_EQ(continued.status, 0) << continued.errors;
    EXPECT_THAT(continued.errors, HasSubstr("Resumed     after step"));
    EXPECT_EQ(Json::parse(continued.output)["status"], "finished");
    EXPECT_TRUE(result_of(out) == result_of("whole"));
  }
}

TEST_F(ResumeTest, ResumingAFinishedRunChangesNothing) {
  ASSERT_EQ(begin("run").status, 0);
  const auto before = files("run");
  const Outcome outcome = resume("run");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("finished"));
  EXPECT_EQ(Json::parse(resume("run", "--json").output)["status"], "finished");
  EXPECT_EQ(files("run"), before);
}

TEST_F(ResumeTest, FinishedRunContinuesWithMoreEpochs) {
  const std::string arguments = "train --dataset synthetic --hidden 8 --quiet --epochs ";
  ASSERT_EQ(begin("run", arguments + "2").status, 0);
  ASSERT_EQ(begin("whole", arguments + "4").status, 0);
  EXPECT_EQ(resume("run", "--epochs 4 --quiet").status, 0);
  EXPECT_TRUE(result_of("run") == result_of("whole"));
}

TEST_F(ResumeTest, SingleTwinWithARecipeIsResumed) {
  write("mine.recipe", "hidden = 8\noptimizer = sgd\nlr = 0.1\nmomentum = 0.9\ndataset = synthetic\n");
  const std::string arguments = "train --recipe mine.recipe --twins manual --epochs ";
  ASSERT_EQ(begin("run", arguments + "1").status, 0);
  ASSERT_EQ(begin("whole", arguments + "2").status, 0);
  fs::remove(folder.path() / "mine.recipe");
  const Outcome outcome = resume("run", "--epochs 2");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("mine.recipe"));
  EXPECT_TRUE(content(path("run") / "manual.safetensors") == content(path("whole") / "manual.safetensors"));
}

TEST_F(ResumeTest, InitialWeightsFileIsNotNeededToResume) {
  const std::string arguments = "train --dataset synthetic --hidden 8 --quiet --epochs ";
  ASSERT_EQ(begin("first", arguments + "1").status, 0);
  ASSERT_EQ(run("export --model first --to w.safetensors").status, 0);
  ASSERT_EQ(begin("whole", arguments + "2 --init w.safetensors").status, 0);
  ASSERT_EQ(begin("run", arguments + "1 --init w.safetensors").status, 0);
  expect_one_line(resume("run", "--epochs 2 --init w.safetensors"), "--init");
  fs::remove(folder.path() / "w.safetensors");
  EXPECT_EQ(resume("run", "--epochs 2 --quiet").status, 0);
  EXPECT_TRUE(result_of("run") == result_of("whole"));
}

TEST_F(ResumeTest, KillBeforeTheSummaryIsWrittenIsRecoverable) {
  ASSERT_EQ(begin("run", options(2)).status, 0);
  const std::string old_summary = content(path("run") / "summary.json");
  const std::string old_weights = content(path("run") / "manual.safetensors");
  ASSERT_EQ(resume("run", "--epochs 4 --quiet").status, 0);
  const std::string expected = result_of("run");
  write("run/summary.json", old_summary);  // as if the process had been killed before it wrote these files
  write("run/manual.safetensors", old_weights);
  EXPECT_EQ(resume("run", "--quiet").status, 0);
  EXPECT_TRUE(result_of("run") == expected);
  EXPECT_EQ(summary("run")["training"]["epochs"], 4);
}

TEST_F(ResumeTest, OtherOptionsAreRefused) {
  ASSERT_EQ(begin("run").status, 0);
  expect_not_resumed("run", "--epochs 5 --hidden 32",
                     "network widths \"784-32-10\" instead of \"784-16-10\"");
  expect_not_resumed("run", "--epochs 5 --seed 2", "seed");
  expect_not_resumed("run", "--epochs 5 --threads 1", "threads");
  expect_not_resumed("run", "--epochs 5 --out other", "--out");
  expect_not_resumed("run", "--epochs 5 --momentum 0", "--momentum");
  EXPECT_EQ(resume("run", "--hidden 16").status, 0) << "the same value is accepted";
}

/// Writes a data set of 60 + 60 images to the directory "data".
void write_data(const testing::TemporaryFolder& folder, int first_pixel) {
  fs::create_directories(folder.path() / "data");
  testing::Bytes pixels(60 * 4 * 4);
  testing::Bytes labels(60);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * 37 + static_cast<std::size_t>(first_pixel));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    labels[i] = static_cast<std::uint8_t>(i % 10);
  }
  for (const std::string part : {"train", "t10k"}) {
    folder.write("data/" + part + "-images-idx3-ubyte", testing::idx_file({60, 4, 4}, pixels));
    folder.write("data/" + part + "-labels-idx1-ubyte", testing::idx_file({60}, labels));
  }
}

TEST_F(ResumeTest, OtherDataIsRefused) {
  write_data(folder, 1);
  ASSERT_EQ(begin("run", "train --dataset data --hidden 4 --epochs 1 --quiet").status, 0);
  write_data(folder, 2);
  expect_not_resumed("run", "--epochs 2", "expected the data that the run started with");
  write_data(folder, 1);
  EXPECT_EQ(resume("run", "--epochs 2 --quiet").status, 0);
}

TEST_F(ResumeTest, DamagedCheckpointIsSkipped) {
  ASSERT_EQ(begin("whole", options(4)).status, 0);
  for (const bool cut : {true, false}) {
    const std::string out = cut ? "cut" : "changed";
    start_and_kill(options(4) + " --out " + out, out);
    while (checkpoints(out).size() < 2) {
      start_and_kill("train --quiet --resume " + out, out);
    }
    const fs::path newest = checkpoints(out).back();
    if (cut) {
      fs::resize_file(newest, fs::file_size(newest) / 2);
    } else {
      std::fstream file(newest, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(fs::file_size(newest)) - 3);
      file.put('\x55');
    }
    const Outcome outcome = resume(out);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr("Skipped"), HasSubstr(newest.filename().string())));
    EXPECT_TRUE(result_of(out) == result_of("whole"));
  }
}

TEST_F(ResumeTest, RunWithoutAValidCheckpointIsNotResumed) {
  ASSERT_EQ(begin("run").status, 0);
  for (const fs::path& file : checkpoints("run")) {
    fs::resize_file(file, 10);
  }
  expect_not_resumed("run", "--epochs 9", "expected an undamaged checkpoint");
  fs::remove_all(path("run") / "checkpoint");
  expect_not_resumed("run", "--epochs 9", "found none");
  expect_one_line(resume("nothing"), "--resume nothing: expected the directory of a run, found nothing");
  write("file", "text");
  expect_one_line(resume("file"), "found a file");
}

TEST_F(ResumeTest, CheckpointOfAnotherRunIsRefused) {
  ASSERT_EQ(begin("run").status, 0);
  ASSERT_EQ(begin("longer", options(5)).status, 0);
  for (const fs::path& file : checkpoints("run")) {
    fs::remove(file);
  }
  fs::copy(checkpoints("longer").back(), path("run") / "checkpoint");
  expect_not_resumed("run", "--epochs 9", "metrics.jsonl");
}

/// The checkpoint with changed metadata and a correct checksum.
std::string with_text(const std::string& content, const std::function<void(CheckpointText&)>& change) {
  SafetensorsHeader header = parse_safetensors_header(content, "before");
  CheckpointText text = parse_checkpoint_text(header.metadata, content, "before");
  change(text);
  header.metadata = metadata_of(text);
  const std::string elements = header.tensors.empty() ? "" : content.substr(header.tensors.front().begin);
  return with_checksum(write_safetensors_header(header) + elements);
}

TEST_F(ResumeTest, ForgedCheckpointIsRefused) {
  ASSERT_EQ(begin("run").status, 0);
  const fs::path newest = checkpoints("run").back();
  const std::string valid = content(newest);
  const auto refuse = [&](const std::string& what, const std::function<void(CheckpointText&)>& change) {
    std::ofstream(newest, std::ios::binary) << with_text(valid, change);
    expect_not_resumed("run", "--epochs 9", what);
  };
  const std::string file = "run/checkpoint/" + newest.filename().string() + ": expected ";
  for (const std::string part : {"lasting", "settings", "threads"}) {
    refuse(file, [&](CheckpointText& text) { text.run.erase(part); });
    refuse(file, [&](CheckpointText& text) { text.run[part] = 1; });
    refuse(file, [&](CheckpointText& text) { text.run[part] = {{"a", {1}}}; });
  }
  refuse(file, [](CheckpointText& text) { text.run = nullptr; });
  refuse(file, [](CheckpointText& text) { text.run["lasting"] = Json::array({1, 2}); });
  refuse(file, [](CheckpointText& text) { text.run["settings"]["recipe"] = Json::array({1}); });
  refuse(file, [](CheckpointText& text) { text.run["threads"]["manual"]["workers"] = 100'000; });
  refuse("--resume run: expected ",
         [](CheckpointText& text) { text.run["lasting"] = Json::array({"--no\nsuch"}); });
  refuse("network", [](CheckpointText& text) { text.run["settings"]["network"] = "a\nb"; });
  refuse(file + "the setting network widths, found a checkpoint of another version",
         [](CheckpointText& text) { text.run["settings"]["network"].erase("widths"); });
  refuse("progress that does not match", [](CheckpointText& text) { ++text.progress.result.steps; });
  refuse("progress that does not match", [](CheckpointText& text) { text.progress.epoch = 0; });
  refuse("progress that does not match", [](CheckpointText& text) { text.progress.samples_done = 1; });
  std::ofstream(newest, std::ios::binary) << with_text(valid, [](CheckpointText&) {});
  EXPECT_EQ(resume("run", "--epochs 4 --quiet").status, 0);
}

TEST_F(ResumeTest, TwoProcessesCannotUseTheSameRunDirectory) {
  const pid_t first = start_and_wait("train --dataset synthetic --epochs 100000 --quiet --out run", "run");
  EXPECT_EQ(status_of(start("train --resume run", "errors of the second")), 2);
  EXPECT_THAT(content(folder.path() / "errors of the second"), HasSubstr("still running"));
  kill(first, SIGINT);
  EXPECT_EQ(finish(first).status, 130);
}

TEST_F(ResumeTest, FullDiskIsReportedAndTheLastCheckpointIsKept) {
  ASSERT_EQ(begin("whole", options(4)).status, 0);
  ASSERT_EQ(begin("run", options(4)).status, 0);
  fs::remove_all(path("run"));
  start_and_kill(options(4) + " --out run", "run");
  const std::vector<fs::path> before = checkpoints("run");
  // A file size limit simulates a full disk: the write fails halfway.
  const std::string command = std::string("trap '' XFSZ; ulimit -f 40; exec ") + TWINGRAD_PROGRAM +
                              " train --resume run --quiet 2> errors";
  const std::string in_directory = "cd '" + folder.path().string() + "' && " + command;
  EXPECT_EQ(WEXITSTATUS(std::system(in_directory.c_str())), 2);
  expect_one_line({2, "", content(folder.path() / "errors")}, "File too large");
  EXPECT_EQ(checkpoints("run"), before);
  EXPECT_EQ(resume("run", "--quiet").status, 0);
  EXPECT_TRUE(result_of("run") == result_of("whole"));
}

TEST_F(ResumeTest, UnwritableDirectoryIsRefused) {
  expect_one_line(begin("/proc/twingrad-run"), "--out /proc/twingrad-run");
  write("file", "text");
  expect_one_line(begin("file/run"), "--out file/run");
  fs::create_directories(path("run"));
  write("run/checkpoint", "not a directory");
  expect_one_line(begin("run"), "checkpoint");
  EXPECT_EQ(content(path("run") / "checkpoint"), "not a directory");
}

TEST_F(ResumeTest, NonFiniteWeightsAreNotWrittenToACheckpoint) {
  // The learning rate of this linear model is far too high: its error grows in each step until it overflows.
  const Outcome outcome =
      run("train --dataset synthetic --hidden none --loss mse --optimizer sgd --lr 1e4 --epochs 20 --quiet "
          "--out run");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("step "), HasSubstr("twin")));
  const Outcome again = resume("run", "--quiet");
  EXPECT_EQ(again.status, 1);
  EXPECT_EQ(again.errors, outcome.errors) << "the checkpoint is valid, and training ends in the same way";
}

}  // namespace
}  // namespace twingrad
