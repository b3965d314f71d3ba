#include <cstdlib>
#include <regex>

#include "app_fixture.h"

// Help, and what the command line refuses.

namespace twingrad {
namespace {

struct RefusedCase {
  Arguments arguments;
  const char* where;
  const char* what;
};

class UsageTest : public AppTest {
 protected:
  void expect_all_refused(const std::vector<RefusedCase>& cases) const {
    for (const auto& [arguments, where, what] : cases) {
      expect_refused(arguments, where, what);
    }
  }
};

TEST_F(UsageTest, InvalidCommandLinesAreRefused) {
  expect_all_refused({
      {"", "the command line", "expected a command"},
      {"trian", "trian", "did you mean train?"},
      {"trian --epochs 3", "trian", "did you mean train?"},
      {"--jsno train", "--jsno", "expected an option of 'twingrad'"},
      {"train --hiden 12", "--hiden", "did you mean --hidden?"},
      {"train --hiden=12", "--hiden", "see 'twingrad train --help'"},
      {"train leftover", "leftover", "expected an option"},
      {"bench check", "check", "found an unexpected argument"},
      {"train --epochs", "--epochs", "expected a value, found none"},
      {"train --hidden 3 --hidden", "--hidden", "expected a value, found none"},
      {"train --quiet=maybe", "--quiet", "expected true or false, found 'maybe'"},
      {"data verfy", "twingrad data", "did you mean verify?"},
      {"data verify", "twingrad data verify", "found none"},
  });
}

TEST_F(UsageTest, InvalidValuesAreRefused) {
  expect_all_refused({
      {"train --epochs 0", "--epochs", "found '0'"},
      {"train --epochs 3x", "--epochs", "found '3x'"},
      {"train --epochs 99999999999999999999", "--epochs", "expected an integer"},
      {"train --lr nan", "--lr", "found 'nan'"},
      {"train --lr -1", "--lr", "found '-1'"},
      {"train --hidden 12,,3", "--hidden", "found '12,,3'"},
      {"train --hidden 12,", "--hidden", "found '12,'"},
      {{"train", "--hidden", ""}, "--hidden", "found ''"},
      {"train --hidden -5", "--hidden", "found '-5'"},
      {"train --dataset synthetic --hidden 1000000,1000000", "--hidden", "GB of memory"},
      {"train --activation rleu", "--activation", "did you mean relu?"},
      {"train --loss hubert", "--loss", "did you mean huber?"},
      {"train --twins three", "--twins", "both, autograd or manual"},
      {"train --dtype float16", "--dtype", "float32 or float64"},
      {"train --batch-size 0", "--batch-size", "found '0'"},
      {"train --beta1 1", "--beta1", "found '1'"},
      {"train --clip-norm 1 --clip-norm-type 0", "--clip-norm-type", "found '0'"},
      {"train --pct-start 1.5", "--pct-start", "found '1.5'"},
      {"train --class-weights 1,0 --classes 2", "--class-weights", "found '1,0'"},
  });
}

TEST_F(UsageTest, OptionsOfOtherKindsAreRefused) {
  expect_all_refused({
      {"train --momentum 0.9", "--momentum", "--optimizer sgd"},
      {"train --optimizer sgd --nesterov", "--nesterov", "expected --momentum above 0 with it, found none"},
      {"train --optimizer sgd --dampening 0.5 --momentum 0", "--dampening", "found --momentum 0;"},
      {"train --amsgrad --optimizer sgd", "--amsgrad", "--optimizer adam or adamw"},
      {"train --label-smoothing 0.1 --loss mse", "--label-smoothing",
       "--loss cross_entropy, class_probabilities or kl_divergence with it, found --loss mse"},
      {"train --class-weights 1,2 --loss l1", "--class-weights", "found --loss l1"},
      {"train --class-weights 1,2", "--class-weights", "each of 10 classes, found 2"},
      {"train --positive-weights 1,1,1 --loss bce_with_logits", "--positive-weights",
       "each of 10 classes, found 3"},
      {"train --positive-weights 1", "--positive-weights", "--loss bce_with_logits"},
      {"train --ignore-index 10", "--ignore-index", "a class from 0 to 9, found 10"},
      {"train --ignore-index 1 --loss huber", "--ignore-index", "found --loss huber"},
      {"train --huber-delta 2", "--huber-delta", "--loss huber"},
      {"train --smooth-l1-beta 2 --loss huber", "--smooth-l1-beta", "--loss smooth_l1"},
      {"train --batch-mean", "--batch-mean", "--loss kl_divergence"},
      {"train --loss kl_divergence --log-target", "--log-target", "--label-smoothing"},
      {"train --loss kl_divergence --batch-mean --reduction sum", "--batch-mean", "--reduction mean"},
      {"train --beta1 0.9 --optimizer sgd", "--beta1", "found --optimizer sgd"},
      {"train --nesterov=false", "--nesterov", "found --optimizer adam"},
      {"train --optimizer sgd --momentum 0.9 --nesterov --dampening 0.1", "--nesterov", "no --dampening"},
      {"train --beta2 0.9 --optimizer sgd", "--beta2", "found --optimizer sgd"},
      {"train --eps 1e-3 --optimizer sgd", "--eps", "found --optimizer sgd"},
      {"train --alpha 0.9", "--alpha", "--optimizer rmsprop"},
      {"train --lr-decay 0.9", "--lr-decay", "--optimizer adagrad"},
      {"train --initial-accumulator 1", "--initial-accumulator", "--optimizer adagrad"},
      {"train --clip-norm-type 1", "--clip-norm-type", "--clip-norm"},
      {"train --eta-min 1e-3 --schedule step", "--eta-min", "found --schedule step"},
      {"train --schedule-gamma 0.5", "--schedule-gamma", "--schedule step"},
      {"train --three-phase", "--three-phase", "--schedule one_cycle"},
      {"train --warm-up-start 0.5", "--warm-up-start", "--warm-up"},
      {"train --no-affine", "--no-affine", "--normalization"},
      {"train --normalization rms --no-running-statistics", "--no-running-statistics",
       "--normalization batch"},
      {"train --dataset synthetic --normalization batch --batch-size 1", "--batch-size",
       "leave a last batch of one"},
      {"train --dataset synthetic --residual", "--residual", "found 784-128-10"},
      {"train --dataset synthetic --batch-size full --epochs 2 --schedule one_cycle --pct-start 0.5",
       "--schedule one_cycle", "in 2 updates"},
  });
}

TEST_F(UsageTest, MissingDataAndInvalidDirectoriesAreRefused) {
  write("file", "");
  expect_all_refused({
      {"train --dataset nowhere/", "nowhere/", "nowhere"},
      {"train --dataset fashon-mnist", "data set \"fashon-mnist\"", "did you mean fashion-mnist?"},
      {"train --dataset synthetic --out file", "--out file", "found a file"},
  });
}

TEST_F(UsageTest, HelpGoesToStandardOutputWithAtMost80Columns) {
  for (const std::string command :
       {"", "train ", "compare ", "check ", "bench ", "report ", "predict ", "export ", "data "}) {
    SCOPED_TRACE(command);
    const Outcome outcome = run(command + "--help");
    EXPECT_EQ(outcome.status, 0);
    EXPECT_THAT(outcome.output, HasSubstr("Usage: twingrad " + command));
    EXPECT_EQ(outcome.errors, "");
    std::istringstream lines(outcome.output);
    for (std::string line; std::getline(lines, line);) {
      const auto is_first_byte = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
      EXPECT_LE(std::count_if(line.begin(), line.end(), is_first_byte), 80) << line;
    }
  }
  EXPECT_EQ(run("help").output, run("--help").output);
  EXPECT_THAT(run("--version").output, AllOf(HasSubstr("twingrad 0."), HasSubstr("LibTorch")));
}

/// The command lines after "Examples:" in the help of a command.
std::vector<std::string> examples_in(const std::string& help) {
  std::vector<std::string> examples;
  std::istringstream lines(help.substr(std::min(help.size(), help.find("Examples:"))));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  twingrad ")) {
      examples.push_back(line.substr(std::string("  twingrad ").size()));
    }
  }
  return examples;
}

TEST_F(UsageTest, ExamplesOfHelpWork) {
  if (run_json("data list")[0]["location"].get<std::string>().empty()) {
    GTEST_SKIP() << "Fashion-MNIST is not installed";
  }
  fs::create_directories(folder.path() / "images");
  write_digit("digit.png");
  write_digit("images/digit.png");
  // In this order: train writes the run directory, and export the weights, that the others read.
  for (const std::string command :
       {"train", "export", "compare", "check", "bench", "report", "predict", "data"}) {
    const std::vector<std::string> examples = examples_in(run(command + " --help").output);
    EXPECT_GE(examples.size(), 2U) << command;
    for (const std::string& example : examples) {
      const Outcome outcome = run(example);
      EXPECT_EQ(outcome.status, example.find("--bug") == std::string::npos ? 0 : 1)
          << example << outcome.errors;
      EXPECT_THAT(outcome.errors, Not(HasSubstr("error"))) << example;
    }
  }
  for (const char* file : {"runs/first/summary.json", "weights.pt", "a.safetensors", "gelu.svg"}) {
    EXPECT_TRUE(fs::exists(folder.path() / file)) << file;
  }
}

TEST_F(UsageTest, TheManualPageHasEveryCommandOptionAndExample) {
  const std::string page = run("--generate man").output;
  for (const std::string command :
       {"train", "compare", "check", "bench", "report", "predict", "export", "data"}) {
    EXPECT_THAT(page, HasSubstr(".SS twingrad " + command + "\n"));
    const std::string help = run(command + " --help").output;
    std::istringstream words(help.substr(0, help.find("Examples:")) + ' ');
    for (std::string word; words >> word;) {
      if (word.starts_with("--")) {
        const std::string option = std::regex_replace(word, std::regex("[^a-z0-9-]"), "");
        EXPECT_THAT(page, HasSubstr("\\fB" + std::regex_replace(option, std::regex("-"), "\\-") + "\\fR"));
      }
    }
    for (const std::string& example : examples_in(help)) {
      EXPECT_THAT(page, HasSubstr(std::regex_replace("twingrad " + example, std::regex("-"), "\\-")));
    }
  }
}

TEST_F(UsageTest, BashCompletesCommandsOptionsAndNames) {
  write("twingrad.bash", run("--generate bash").output);
  write("complete.bash",
        "source ./twingrad.bash\nCOMP_WORDS=(twingrad \"$@\")\nCOMP_CWORD=$#\n_twingrad\n"
        "echo \"${COMPREPLY[*]}\"\n");
  const auto completed = [&](const std::string& words) {
    const std::string line =
        "cd '" + folder.path().string() + "' && bash complete.bash " + words + " > completed";
    EXPECT_EQ(std::system(line.c_str()), 0) << line;  // NOLINT(cert-env33-c)
    return content(folder.path() / "completed");
  };
  EXPECT_EQ(completed("tr"), "train\n");
  EXPECT_EQ(completed("--ver"), "--version\n");
  EXPECT_EQ(completed("train --act"), "--activation\n");
  EXPECT_EQ(completed("train --epochs 2 --activation re"), "relu\n");
  EXPECT_EQ(completed("train --activation = re"), "relu\n");  // bash splits --activation=re
  EXPECT_EQ(completed("train --dataset synth"), "synthetic\n");
  EXPECT_EQ(completed("train --recipe fash"), "fashion-mnist\n");
  EXPECT_EQ(completed("train --hidden ''"), "\n");  // file names, by bash
  EXPECT_EQ(completed("compare --epo"), "\n");      // not an option of this command
  EXPECT_EQ(completed("compare --bug adam.square_n"), "adam.square_not_squared\n");
  EXPECT_EQ(completed("check gelu_"), "gelu_tanh\n");
  EXPECT_EQ(completed("data veri"), "verify\n");
}

}  // namespace
}  // namespace twingrad
