#include <random>

#include "app_fixture.h"
#include "twingrad/io/safetensors_header.h"
#include "twingrad/training/checkpoint_text.h"

// What a run survives.

namespace twingrad {
namespace {

class ResumeTest : public AppTest {
 protected:
  /// The options of a run that is quick, and in which much can go wrong.
  static std::vector<std::string> options(int epochs = 3) {
    return {"train",
            "--dataset",
            "synthetic",
            "--hidden",
            "16",
            "--normalization",
            "batch",
            "--input-dropout",
            "0.1",
            "--dropout",
            "0.2",
            "--epochs",
            std::to_string(epochs),
            "--schedule",
            "cosine",
            "--checkpoint-every",
            "3",
            "--quiet"};
  }

  Outcome begin(const std::string& out, std::vector<std::string> arguments = options()) const {
    arguments.insert(arguments.end(), {"--out", out});
    return run(arguments);
  }

  Outcome resume(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", "--resume", out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  /// What has to be the same however often a run was interrupted: weights, and metrics without times.
  std::string end_of(const std::string& out) const {
    std::string end;
    for (Json& event : metrics(out)) {
      event.erase("seconds");
      event.erase("samples_per_second");
      end += event.dump() + "\n";
    }
    for (const char* file : {"autograd.safetensors", "manual.safetensors"}) {
      EXPECT_TRUE(fs::exists(path(out) / file));
      end += content(path(out) / file);
    }
    return end;
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

  /// Starts a run and waits until it trains.
  pid_t start_and_wait(std::vector<std::string> arguments, const std::string& out) const {
    const std::vector<fs::path> before = checkpoints(out);
    const pid_t child = start(arguments);
    for (int wait = 0; wait < 3000 && checkpoints(out) == before && waitpid(child, nullptr, WNOHANG) == 0;
         ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return child;
  }

  /// Everything in the folder of a run, to see that nothing has changed.
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

  void expect_one_line(const Outcome& outcome, const std::string& what) const {
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.errors, AllOf(StartsWith("twingrad: error: "), HasSubstr(what), HasSubstr("; ")));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
  }
};

TEST_F(ResumeTest, FiftyKillsAtRandomMomentsLoseNothing) {
  constexpr int kKills = 50;
  const int epochs = 30;
  std::vector<std::string> arguments = options(epochs);
  for (std::string& argument : arguments) {
    argument = argument == "3" ? "1" : argument;  // a checkpoint a step: most kills hit a write
  }
  ASSERT_EQ(begin("whole", arguments).status, 0);
  const std::string end = end_of("whole");

  std::mt19937 random(1);
  int kills = 0;
  int inside_a_write = 0;
  for (int number = 0; kills < kKills; ++number) {
    const std::string out = "run" + std::to_string(number);
    std::vector<std::string> command = arguments;
    command.insert(command.end(), {"--out", out});
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
        command = {"train", "--resume", out, "--quiet"};
      }
    }
    EXPECT_TRUE(end_of(out) == end) << "after " << kills << " kills";
    fs::remove_all(path(out));
  }
  RecordProperty("kills", kills);
  RecordProperty("inside_a_write", inside_a_write);
  std::printf("survived %d kills, %d of them inside a write\n", kills, inside_a_write);
}

TEST_F(ResumeTest, AnInterruptSavesTheStepInHandAndSaysHowToGoOn) {
  ASSERT_EQ(begin("whole", options(200)).status, 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string out = "run" + std::to_string(signal);
    std::vector<std::string> arguments = options(200);
    arguments.insert(arguments.end(), {"--out", out});
    const pid_t child = start_and_wait(arguments, out);
    kill(child, signal);
    const Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 130);
    EXPECT_THAT(outcome.errors, HasSubstr("continue with: twingrad train --resume " + out));
    const Outcome continued = resume(out, {"--json"});
    EXPECT_EQ(continued.status, 0) << continued.errors;
    EXPECT_THAT(continued.errors, HasSubstr("Continued   after step"));
    EXPECT_EQ(Json::parse(continued.output)["status"], "finished");
    EXPECT_TRUE(end_of(out) == end_of("whole"));
  }
}

TEST_F(ResumeTest, AFinishedRunSaysSoAndChangesNothing) {
  ASSERT_EQ(begin("run").status, 0);
  const auto before = files("run");
  const Outcome outcome = resume("run");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("finished"));
  const Outcome json = resume("run", {"--json"});
  EXPECT_EQ(Json::parse(json.output)["status"], "finished");
  EXPECT_EQ(files("run"), before);
}

TEST_F(ResumeTest, MoreEpochsContinueAFinishedRun) {
  std::vector<std::string> arguments = {"train", "--dataset", "synthetic", "--hidden",
                                        "8",     "--quiet",   "--epochs"};
  std::vector<std::string> two = arguments, four = arguments;
  two.push_back("2");
  four.push_back("4");
  ASSERT_EQ(begin("run", two).status, 0);
  ASSERT_EQ(begin("whole", four).status, 0);
  EXPECT_EQ(resume("run", {"--epochs", "4", "--quiet"}).status, 0);
  EXPECT_TRUE(end_of("run") == end_of("whole"));
}

TEST_F(ResumeTest, OneTwinAndARecipeAreContinuedToo) {
  write("mine.recipe", "hidden = 8\noptimizer = sgd\nlr = 0.1\nmomentum = 0.9\ndataset = synthetic\n");
  ASSERT_EQ(
      run({"train", "--recipe", "mine.recipe", "--twins", "manual", "--epochs", "1", "--out", "run"}).status,
      0);
  ASSERT_EQ(run({"train", "--recipe", "mine.recipe", "--twins", "manual", "--epochs", "2", "--out", "whole"})
                .status,
            0);
  fs::remove(folder.path() / "mine.recipe");
  const Outcome outcome = resume("run", {"--epochs", "2"});
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("mine.recipe"));
  EXPECT_TRUE(content(path("run") / "manual.safetensors") == content(path("whole") / "manual.safetensors"));
}

TEST_F(ResumeTest, ARunThatBeganWithWeightsOfAFileNeedsThemNoMore) {
  const std::vector<std::string> arguments = {"train", "--dataset", "synthetic", "--hidden", "8", "--quiet"};
  const auto train = [&](std::vector<std::string> more) {
    more.insert(more.begin(), arguments.begin(), arguments.end());
    return run(more).status;
  };
  ASSERT_EQ(train({"--epochs", "1", "--out", "first"}), 0);
  ASSERT_EQ(run({"export", "--model", "first", "--to", "w.safetensors"}).status, 0);
  ASSERT_EQ(train({"--epochs", "2", "--init", "w.safetensors", "--out", "whole"}), 0);
  ASSERT_EQ(train({"--epochs", "1", "--init", "w.safetensors", "--out", "run"}), 0);
  expect_one_line(resume("run", {"--epochs", "2", "--init", "w.safetensors"}), "--init");
  fs::remove(folder.path() / "w.safetensors");
  EXPECT_EQ(resume("run", {"--epochs", "2", "--quiet"}).status, 0);
  EXPECT_TRUE(end_of("run") == end_of("whole"));
}

TEST_F(ResumeTest, AKillBetweenTheLastStepAndTheSummaryIsMadeGood) {
  ASSERT_EQ(begin("run", options(2)).status, 0);
  const std::string old_summary = content(path("run") / "summary.json");
  const std::string old_weights = content(path("run") / "manual.safetensors");
  ASSERT_EQ(resume("run", {"--epochs", "4", "--quiet"}).status, 0);
  const std::string end = end_of("run");
  write("run/summary.json", old_summary);  // as if the second end had not come so far
  write("run/manual.safetensors", old_weights);
  EXPECT_EQ(resume("run", {"--quiet"}).status, 0);
  EXPECT_TRUE(end_of("run") == end);
  EXPECT_EQ(Json::parse(content(path("run") / "summary.json"))["training"]["epochs"], 4);
}

TEST_F(ResumeTest, OtherOptionsAreRefused) {
  ASSERT_EQ(begin("run").status, 0);
  const auto before = files("run");
  expect_one_line(resume("run", {"--epochs", "5", "--hidden", "32"}),
                  "network widths \"784-32-10\" in place of \"784-16-10\"");
  expect_one_line(resume("run", {"--epochs", "5", "--seed", "2"}), "seed");
  expect_one_line(resume("run", {"--epochs", "5", "--threads", "1"}), "threads");
  expect_one_line(resume("run", {"--epochs", "5", "--out", "other"}), "--out");
  EXPECT_EQ(files("run"), before);
  EXPECT_EQ(resume("run", {"--hidden", "16"}).status, 0) << "the same is no other";
}

/// Four small IDX files.
void write_data(const fs::path& folder, char pixel) {
  fs::create_directories(folder);
  const auto write = [&](const std::string& name, std::vector<int> sizes,
                         const std::function<char(int)>& byte) {
    std::ofstream file(folder / name, std::ios::binary);
    file << '\0' << '\0' << '\x08' << static_cast<char>(sizes.size());
    int count = 1;
    for (const int size : sizes) {
      file << '\0' << '\0' << static_cast<char>(size >> 8) << static_cast<char>(size);
      count *= size;
    }
    for (int i = 0; i < count; ++i) {
      file << byte(i);
    }
  };
  for (const std::string part : {"train", "t10k"}) {
    write(part + "-images-idx3-ubyte", {60, 4, 4}, [&](int i) { return static_cast<char>(i * 37 + pixel); });
    write(part + "-labels-idx1-ubyte", {60}, [](int i) { return static_cast<char>(i % 10); });
  }
}

TEST_F(ResumeTest, OtherDataIsRefused) {
  write_data(folder.path() / "data", 1);
  ASSERT_EQ(
      run({"train", "--dataset", "data", "--hidden", "4", "--epochs", "1", "--quiet", "--out", "run"}).status,
      0);
  write_data(folder.path() / "data", 2);
  const auto before = files("run");
  expect_one_line(resume("run", {"--epochs", "2"}), "expected the data that the run was begun with");
  EXPECT_EQ(files("run"), before);
  write_data(folder.path() / "data", 1);
  EXPECT_EQ(resume("run", {"--epochs", "2", "--quiet"}).status, 0);
}

TEST_F(ResumeTest, ADamagedCheckpointIsPassedOver) {
  ASSERT_EQ(begin("whole", options(4)).status, 0);
  for (const bool cut : {true, false}) {
    const std::string out = cut ? "cut" : "changed";
    std::vector<std::string> arguments = options(4);
    arguments.insert(arguments.end(), {"--out", out});
    const pid_t child = start_and_wait(arguments, out);
    kill(child, SIGKILL);
    finish(child);
    while (checkpoints(out).size() < 2) {  // killed after the first: go on a little
      const pid_t again = start_and_wait({"train", "--resume", out, "--quiet"}, out);
      kill(again, SIGKILL);
      finish(again);
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
    EXPECT_THAT(outcome.output, AllOf(HasSubstr("Passed over"), HasSubstr(newest.filename().string())));
    EXPECT_TRUE(end_of(out) == end_of("whole"));
  }
}

TEST_F(ResumeTest, WithoutAWholeCheckpointNothingIsTouched) {
  ASSERT_EQ(begin("run").status, 0);
  for (const fs::path& file : checkpoints("run")) {
    fs::resize_file(file, 10);
  }
  const auto before = files("run");
  expect_one_line(resume("run", {"--epochs", "9"}), "expected a whole checkpoint");
  EXPECT_EQ(files("run"), before);
  fs::remove_all(path("run") / "checkpoint");
  expect_one_line(resume("run", {"--epochs", "9"}), "found none");
  expect_one_line(resume("nothing"), "--resume nothing: expected the folder of a run, found nothing");
  write("file", "text");
  expect_one_line(resume("file"), "found a file");
}

TEST_F(ResumeTest, ACheckpointCannotBeOfAnotherRun) {
  ASSERT_EQ(begin("run").status, 0);
  ASSERT_EQ(begin("longer", options(5)).status, 0);
  for (const fs::path& file : checkpoints("run")) {
    fs::remove(file);
  }
  fs::copy(checkpoints("longer").back(), path("run") / "checkpoint");
  const auto before = files("run");
  expect_one_line(resume("run", {"--epochs", "9"}), "metrics.jsonl");
  EXPECT_EQ(files("run"), before);
}

/// The same checkpoint with other texts, and a right checksum.
std::string with_text(const std::string& content, const std::function<void(CheckpointText&)>& change) {
  SafetensorsHeader header = parse_safetensors_header(content, "before");
  CheckpointText text = parse_checkpoint_text(header.metadata, content, "before");
  change(text);
  header.metadata = metadata_of(text);
  const std::string elements = header.tensors.empty() ? "" : content.substr(header.tensors.front().begin);
  return with_checksum(write_safetensors_header(header) + elements);
}

TEST_F(ResumeTest, ACheckpointThatNoRunHasWrittenIsOneLine) {
  ASSERT_EQ(begin("run").status, 0);
  const fs::path newest = checkpoints("run").back();
  const std::string sound = content(newest);
  const auto refuse = [&](const std::string& what, const std::function<void(CheckpointText&)>& change) {
    std::ofstream(newest, std::ios::binary) << with_text(sound, change);
    const auto before = files("run");
    expect_one_line(resume("run", {"--epochs", "9"}), what);
    EXPECT_EQ(files("run"), before);
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
  refuse("one that cannot be its", [](CheckpointText& text) { ++text.progress.result.steps; });
  refuse("one that cannot be its", [](CheckpointText& text) { text.progress.epoch = 0; });
  refuse("one that cannot be its", [](CheckpointText& text) { text.progress.samples_done = 1; });
  std::ofstream(newest, std::ios::binary) << with_text(sound, [](CheckpointText&) {});
  EXPECT_EQ(resume("run", {"--epochs", "4", "--quiet"}).status, 0);
}

TEST_F(ResumeTest, TwoRunsCannotShareAFolder) {
  const std::vector<std::string> forever = {"train",  "--dataset", "synthetic", "--epochs",
                                            "100000", "--quiet",   "--out",     "run"};
  const pid_t first = start_and_wait(forever, "run");
  const pid_t second = fork();
  if (second == 0) {
    if (chdir(folder.path().c_str()) != 0) {
      _exit(126);
    }
    dup2(open("errors of the second", O_CREAT | O_WRONLY | O_TRUNC, 0600), STDERR_FILENO);
    become_program({"train", "--resume", "run"});
  }
  EXPECT_EQ(status_of(second), 2);
  EXPECT_THAT(content(folder.path() / "errors of the second"), HasSubstr("going on"));
  kill(first, SIGINT);
  EXPECT_EQ(finish(first).status, 130);
}

TEST_F(ResumeTest, AFullDiskIsOneLineAndTheLastCheckpointStays) {
  ASSERT_EQ(begin("whole", options(4)).status, 0);
  ASSERT_EQ(begin("run", options(4)).status, 0);
  fs::remove_all(path("run"));
  std::vector<std::string> arguments = options(4);
  arguments.insert(arguments.end(), {"--out", "run"});
  const pid_t child = start_and_wait(arguments, "run");
  kill(child, SIGKILL);
  finish(child);
  const std::vector<fs::path> before = checkpoints("run");
  // A limit on the size of files stands for the end of the disk: the write fails half way.
  const std::string command = std::string("trap '' XFSZ; ulimit -f 40; exec ") + TWINGRAD_PROGRAM +
                              " train --resume run --quiet 2> errors";
  const std::string in_folder = "cd '" + folder.path().string() + "' && " + command;
  EXPECT_EQ(WEXITSTATUS(std::system(in_folder.c_str())), 2);
  expect_one_line({2, "", content(folder.path() / "errors")}, "File too large");
  EXPECT_EQ(checkpoints("run"), before);
  EXPECT_EQ(resume("run", {"--quiet"}).status, 0);
  EXPECT_TRUE(end_of("run") == end_of("whole"));
}

TEST_F(ResumeTest, WhereNothingCanBeWrittenNothingIsLeft) {
  expect_one_line(begin("/proc/twingrad-run"), "--out /proc/twingrad-run");
  write("file", "text");
  expect_one_line(begin("file/run"), "--out file/run");
  fs::create_directories(path("run"));
  write("run/checkpoint", "a file in the place of the folder");
  expect_one_line(begin("run"), "checkpoint");
  EXPECT_EQ(content(path("run") / "checkpoint"), "a file in the place of the folder");
}

TEST_F(ResumeTest, ANonFiniteWeightNeverReachesACheckpoint) {
  // A linear model under a rate far too high: its error is multiplied step by step until it overflows.
  const std::vector<std::string> arguments = {
      "train", "--dataset", "synthetic", "--hidden", "none", "--loss",  "mse",   "--optimizer",
      "sgd",   "--lr",      "1e4",       "--epochs", "20",   "--quiet", "--out", "run"};
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("step "), HasSubstr("twin")));
  const Outcome again = resume("run", {"--quiet"});
  EXPECT_EQ(again.status, 1);
  EXPECT_EQ(again.errors, outcome.errors) << "the checkpoint is that of a sound run: it ends in the same way";
}

}  // namespace
}  // namespace twingrad
