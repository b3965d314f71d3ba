#include <arpa/inet.h>
#include <sys/socket.h>

#include <cmath>

#include "app_fixture.h"
#include "twingrad/compare/difference.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/twin.h"

// Training in several processes.

namespace twingrad {
namespace {

/// A port that nothing listens at.
std::string free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  close(socket);
  return std::to_string(ntohs(address.sin_port));
}

class ProcessesTest : public AppTest {
 protected:
  void SetUp() override {
#ifndef TWINGRAD_HAS_GLOO
    GTEST_SKIP() << "this build has no Gloo";
#endif
  }

  /// Starts the program as these ranks of a group. Their streams are "output.0", "errors.0", ….
  std::vector<pid_t> start_ranks(int size, const Arguments& arguments) const {
    const std::string port = free_port();
    std::vector<pid_t> ranks;
    for (int rank = 0; rank < size; ++rank) {
      const std::string number = std::to_string(rank);
      ranks.push_back(fork());
      if (ranks.back() == 0) {
        for (const auto& [name, value] :
             std::map<std::string, std::string>{{"RANK", number},
                                                {"WORLD_SIZE", std::to_string(size)},
                                                {"LOCAL_RANK", number},
                                                {"LOCAL_WORLD_SIZE", std::to_string(size)},
                                                {"MASTER_ADDR", "127.0.0.1"},
                                                {"MASTER_PORT", port},
                                                {"OMP_NUM_THREADS", "1"}}) {
          setenv(name.c_str(), value.c_str(), 1);
        }
        if (chdir(folder.path().c_str()) != 0) {
          _exit(126);
        }
        const int flags = O_CREAT | O_WRONLY | O_TRUNC;
        dup2(open(("output." + number).c_str(), flags, 0600), STDOUT_FILENO);
        dup2(open(("errors." + number).c_str(), flags, 0600), STDERR_FILENO);
        become_program(arguments);
      }
    }
    return ranks;
  }

  std::vector<Outcome> finish_ranks(const std::vector<pid_t>& ranks) const {
    std::vector<Outcome> outcomes;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      const int status = status_of(ranks[i]);
      const std::string number = std::to_string(i);
      outcomes.push_back({status, content(folder.path() / ("output." + number)),
                          content(folder.path() / ("errors." + number))});
    }
    return outcomes;
  }

  std::vector<Outcome> run_ranks(int size, const Arguments& arguments) const {
    return finish_ranks(start_ranks(size, arguments));
  }

  /// Expects all ranks to end with this status.
  static void expect_status(const std::vector<Outcome>& ranks, int status) {
    for (const Outcome& rank : ranks) {
      EXPECT_EQ(rank.status, status) << rank.errors;
    }
  }

  /// The step of the newest checkpoint; -1 if there is none.
  int newest_step(const std::string& run) const {
    int newest = -1;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder.path() / run / "checkpoint", error)) {
      const std::string name = entry.path().stem().string();
      if (name.starts_with("step-")) {
        newest = std::max(newest, std::stoi(name.substr(5)));
      }
    }
    return newest;
  }

  TensorFile weights(const std::string& run, const std::string& twin) const {
    return read_tensor_file(folder.path() / run / (twin + ".safetensors"));
  }

  /// Expects the same weights of both twins.
  void expect_same_weights(const std::string& run, const std::string& other, double tolerance) const {
    for (const std::string twin : {"autograd", "manual"}) {
      const TensorFile expected = weights(run, twin), actual = weights(other, twin);
      for (const auto& [name, tensor] : expected.tensors) {
        const double distance =
            difference(tensor, find_tensor(actual.tensors, name, tensor.sizes())).absolute;
        EXPECT_LE(distance, tolerance) << twin << " " << name;
      }
    }
  }

  static constexpr const char* kShort =
      "train --dataset synthetic --hidden 16 --dtype float64 --epochs 2 --quiet ";
  /// Long enough for a signal.
  static constexpr const char* kLong =
      "train --dataset synthetic --hidden 16 --dtype float64 --epochs 400 --checkpoint-every 20 --quiet ";
};

TEST_F(ProcessesTest, GiveTheWeightsOfOneProcess) {
  // 1961 rows leave a last batch of one row, so that one rank has none.
  for (const std::string options :
       {"", "--optimizer sgd --momentum 0.9 --clip-norm 0.5 --dropout 0.2 --input-dropout 0.1",
        "--class-weights 1,2,3,4,5,1,2,3,4,5 --ignore-index 3", "--reduction sum --lr 1e-5",
        "--loss bce_with_logits --normalization layer", "--hold-out 39 --ignore-index 0"}) {
    SCOPED_TRACE(options);
    const std::string end = options + " --out ";
    ASSERT_EQ(run(kShort + end + "one --batch-size 40").status, 0);
    expect_status(run_ranks(2, kShort + end + "two --batch-size 20"), 0);
    expect_same_weights("one", "two", 1e-10);
    for (std::size_t i = 0; i < metrics("one").size(); ++i) {
      const Json one = metrics("one")[i], two = metrics("two").at(i);
      if (one["event"] == "epoch") {
        EXPECT_NEAR(one["train_loss"].get<double>(), two["train_loss"].get<double>(), 1e-9);
        EXPECT_EQ(one["train_accuracy"], two["train_accuracy"]);
        EXPECT_EQ(one["test_accuracy"], two["test_accuracy"]);
      }
    }
    fs::remove_all(folder.path() / "one");
    fs::remove_all(folder.path() / "two");
  }
}

TEST_F(ProcessesTest, OfAnyNumberGiveTheWeightsOfOne) {
  ASSERT_EQ(run(Arguments(kShort) + "--out one --batch-size full").status, 0);
  expect_status(run_ranks(3, Arguments(kShort) + "--out three --batch-size full"), 0);
  expect_same_weights("one", "three", 1e-10);
}

TEST_F(ProcessesTest, RepeatARunBitForBit) {
  const std::string options = "train --dataset synthetic --hidden 32 --epochs 2 --dropout 0.1 --quiet --out ";
  for (const char* out : {"a", "b"}) {
    expect_status(run_ranks(3, options + out), 0);
  }
  expect_same_weights("a", "b", 0);
}

TEST_F(ProcessesTest, WriteByRankZeroAlone) {
  const std::vector<Outcome> ranks =
      run_ranks(2, "train --dataset synthetic --hidden 16 --epochs 1 --json --out run");
  expect_status(ranks, 0);
  EXPECT_THAT(ranks[0].errors, HasSubstr("Processes   2 · batch 256 = 2 × 128\n"));
  const Json summary = Json::parse(ranks[0].output);
  EXPECT_EQ(summary["processes"]["ranks"], 2);
  EXPECT_GT(summary["processes"]["exchange_seconds"], 0);
  EXPECT_EQ(summary["training"]["batch_size"], 256);
  EXPECT_EQ(ranks[1].output + ranks[1].errors, "");
}

TEST_F(ProcessesTest, ReportAWrongOptionOnce) {
  for (const auto& [options, message] : std::map<std::string, std::string>{
           {"--hidden x", "twingrad: error: --hidden: expected"},
           {"--dataset nowhere", "twingrad: error: data set \"nowhere\": "},
           {"--resume nowhere", "twingrad: error: --resume nowhere: "},
           {"--dataset synthetic --normalization batch",
            "twingrad: error: --normalization batch: expected a single process, found 2"},
           {"--dataset synthetic --out errors.0", "twingrad: error: --out errors.0: "}}) {
    const std::vector<Outcome> ranks = run_ranks(2, "train " + options);
    expect_status(ranks, 2);
    EXPECT_THAT(ranks[0].errors, StartsWith(message));
    EXPECT_EQ(std::count(ranks[0].errors.begin(), ranks[0].errors.end(), '\n'), 1) << ranks[0].errors;
    if (options.find("--out") == options.npos) {
      EXPECT_EQ(ranks[1].errors, "");
    }
    EXPECT_FALSE(fs::exists(folder.path() / "runs"));
  }
}

TEST_F(ProcessesTest, EndTogetherWhenACheckFails) {
  const std::vector<Outcome> ranks = run_ranks(
      2, "train --dataset synthetic --optimizer sgd --lr 1e6 --loss mse --epochs 3 --quiet --out run");
  expect_status(ranks, 1);
  EXPECT_THAT(ranks[0].errors, HasSubstr("twingrad: error: step "));
}

TEST_F(ProcessesTest, StopAfterTheSameStepWhenOneIsInterrupted) {
  expect_status(run_ranks(2, std::string(kLong) + "--epochs 20 --out whole"), 0);
  for (const std::size_t rank : {0, 1}) {
    const std::string out = "part" + std::to_string(rank);
    const std::vector<pid_t> ranks = start_ranks(2, std::string(kLong) + "--out " + out);
    wait_until([&] { return newest_step(out) > 0; });
    kill(ranks[rank], SIGTERM);
    const std::vector<Outcome> outcomes = finish_ranks(ranks);
    expect_status(outcomes, 130);
    EXPECT_THAT(outcomes[0].errors, HasSubstr("resume with: twingrad train --resume " + out));
    EXPECT_EQ(outcomes[1].errors, "");
    expect_status(run_ranks(2, "train --epochs 20 --quiet --resume " + out), 0);
    expect_same_weights("whole", out, 0);
  }
}

/// Ends one of two processes by a signal. Expects the other to end within 30 s, and the run to resume in one
/// process.
class LostRankTest : public ProcessesTest {
 protected:
  void lose(std::size_t lost, int signal) const {
    ASSERT_EQ(run(kLong + std::string("--epochs 20 --batch-size 64 --out one")).status, 0);
    const std::string endless = "--batch-size 32 --checkpoint-every 100000 --out run";
    const std::vector<pid_t> ranks = start_ranks(2, kLong + endless);
    wait_until([&] { return content(folder.path() / "run/metrics.csv").find("\n3,") != std::string::npos; });
    const auto start = std::chrono::steady_clock::now();
    kill(ranks[lost], signal);
    const std::size_t left = 1 - lost;
    EXPECT_EQ(status_of(ranks[left]), 2);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
    kill(ranks[lost], SIGKILL);
    status_of(ranks[lost]);
    const std::string errors = content(folder.path() / ("errors." + std::to_string(left)));
    EXPECT_THAT(errors, StartsWith("twingrad: error: rank " + std::to_string(left) +
                                   " of 2: expected all processes to go on, found one that ended or gave no "
                                   "answer for 20 s"));
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
    if (left == 0) {
      EXPECT_GT(newest_step("run"), 0);  // although none was due
    }
    ASSERT_EQ(run("train --epochs 20 --quiet --resume run").status, 0);
    expect_same_weights("one", "run", 1e-9);
  }
};

TEST_F(LostRankTest, KilledEndsRankZeroWithACheckpoint) { lose(1, SIGKILL); }
TEST_F(LostRankTest, StoppedEndsRankZeroWithACheckpoint) { lose(1, SIGSTOP); }
TEST_F(LostRankTest, KilledRankZeroEndsTheOthers) { lose(0, SIGKILL); }

TEST_F(ProcessesTest, ResumeInMoreProcesses) {
  ASSERT_EQ(run(kShort + std::string("--batch-size 60 --out one")).status, 0);
  ASSERT_EQ(run(kShort + std::string("--batch-size 60 --epochs 1 --out run")).status, 0);
  expect_status(run_ranks(3, "train --resume run --epochs 2 --quiet"), 0);
  expect_same_weights("one", "run", 1e-10);
}

}  // namespace
}  // namespace twingrad
