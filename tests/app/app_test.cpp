#include <pty.h>

#include "app_fixture.h"

namespace twingrad {
namespace {

// ---- Training
// --------------------------------------------------------------------------------------------------------

TEST_F(AppTest, TrainWritesTheFilesOfTheContract) {
  const Outcome outcome = train({"--out", "run"});
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("synthetic"), HasSubstr("before step 1"), HasSubstr("autograd"),
                                    HasSubstr("manual"), HasSubstr("Written to run")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("\x1b"))) << "no escape codes in a file";
  const std::vector<Json> events = metrics("run");
  ASSERT_EQ(events.size(), 7)
      << "agreement before the first update, then two twins and agreement in each of two epochs";
  EXPECT_EQ(events[0]["event"], "agreement");
  EXPECT_EQ(events[0]["epoch"], 0);
  EXPECT_EQ(events[0]["step"], 0);
  for (const char* key :
       {"max_abs_gradient_difference", "max_rel_gradient_difference", "max_abs_weight_difference"}) {
    EXPECT_TRUE(events[0][key].is_number()) << key;
  }
  EXPECT_TRUE(events[0]["worst"].is_string());
  EXPECT_EQ(events[1]["event"], "epoch");
  EXPECT_EQ(events[1]["epoch"], 1);
  EXPECT_EQ(events[1]["twin"], "autograd");
  EXPECT_EQ(events[2]["twin"], "manual");
  for (const char* key :
       {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds", "samples_per_second"}) {
    EXPECT_TRUE(events[2][key].is_number()) << key;
  }
  const Json summary = Json::parse(content(folder.path() / "run" / "summary.json"));
  EXPECT_EQ(summary["status"], "finished");
  EXPECT_EQ(summary["twins"]["manual"]["test_accuracy"], events[5]["test_accuracy"]);
  EXPECT_EQ(summary["network"]["parameters"], 784 * 16 + 16 + 16 * 10 + 10);
}

TEST_F(AppTest, TrainMakesAFolderOfItsOwnAndNeverOverwritesOne) {
  EXPECT_EQ(train({"--quiet"}).status, 0);
  EXPECT_EQ(train({"--quiet"}).status, 0);
  const auto begin = fs::directory_iterator(folder.path() / "runs");
  EXPECT_EQ(std::distance(begin, fs::directory_iterator()), 2);
  EXPECT_EQ(train({"--out", "run", "--quiet"}).status, 0);
  const std::string before = content(folder.path() / "run" / "metrics.jsonl");
  const Outcome again = train({"--out", "run"});
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.errors, AllOf(StartsWith("twingrad: error: --out run"), HasSubstr("another run")));
  EXPECT_EQ(content(folder.path() / "run" / "metrics.jsonl"), before);
}

TEST_F(AppTest, OneTwinTrainsAloneAndNothingIsCompared) {
  EXPECT_EQ(train({"--twins", "manual", "--out", "run"}).status, 0);
  for (const Json& event : metrics("run")) {
    EXPECT_EQ(event["event"], "epoch");
    EXPECT_EQ(event["twin"], "manual");
  }
}

TEST_F(AppTest, QuietPrintsNothing) {
  const Outcome outcome = train({"--quiet", "--out", "run"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.output + outcome.errors, "");
}

TEST_F(AppTest, JsonAloneGoesToStandardOutput) {
  const Outcome outcome = train({"--json", "--out", "run"});
  EXPECT_EQ(Json::parse(outcome.output), Json::parse(content(folder.path() / "run" / "summary.json")));
  EXPECT_THAT(outcome.errors, HasSubstr("before step 1"));
}

TEST_F(AppTest, TheSameCommandGivesTheSameNumbers) {
  EXPECT_EQ(train({"--out", "one", "--quiet"}).status, 0);
  EXPECT_EQ(train({"--out", "two", "--quiet"}).status, 0);
  std::vector<Json> one = metrics("one");
  std::vector<Json> two = metrics("two");
  for (auto* events : {&one, &two}) {
    for (Json& event : *events) {
      event.erase("seconds");
      event.erase("samples_per_second");
    }
  }
  EXPECT_EQ(one, two);
}

TEST_F(AppTest, AnInterruptFinishesTheStepAndExitsWith130) {
  const pid_t child = start({"train", "--dataset", "synthetic", "--epochs", "100000", "--out", "run"});
  for (int i = 0; i < 600 && !fs::exists(folder.path() / "run" / "metrics.jsonl"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  kill(child, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.status, 130) << outcome.errors;
  EXPECT_EQ(Json::parse(content(folder.path() / "run" / "summary.json"))["status"], "interrupted");
}

TEST_F(AppTest, ThreadsAreBoundedByTheOption) {
  // Shards have threads of ours; what cannot be sharded leaves them to the library that multiplies.
  for (const std::string normalization : {"none", "batch"}) {
    for (const int threads : {1, 3}) {
      const std::string out = normalization + std::to_string(threads);
      const pid_t child =
          start({"train", "--dataset", "synthetic", "--twins", "manual", "--normalization", normalization,
                 "--epochs", "100000", "--threads", std::to_string(threads), "--out", out});
      const fs::path metrics = folder.path() / out / "metrics.jsonl";
      for (int wait = 0; wait < 3000 && content(metrics).empty(); ++wait) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      const auto tasks = fs::path("/proc") / std::to_string(child) / "task";
      EXPECT_EQ(std::distance(fs::directory_iterator(tasks), {}), threads) << out << ", whoever starts them";
      kill(child, SIGINT);
      EXPECT_EQ(finish(child).status, 130);
    }
  }
}

TEST_F(AppTest, HeldOutImagesTakeThePlaceOfTheTestImages) {
  const Outcome outcome = train({"--hold-out", "300", "--out", "run"});
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("1,700 train · 300 test"));
  expect_refused({"train", "--dataset", "synthetic", "--hold-out", "2000"}, "--hold-out", "1999");
}

TEST_F(AppTest, BenchTimesBothTwinsAndTheProducts) {
  const Outcome outcome = run({"bench", "--hidden", "8", "--batch-size", "1000", "--repeats", "2", "--json"});
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
  if (answer["products_by_hand"] != "") {  // and both once more with LibTorch's own products
    const std::string by = ", by " + answer["blas"].get<std::string>();
    expected.insert(expected.end(), {expected[1] + by, expected[2] + by});
  }
  EXPECT_EQ(rows, expected);
  EXPECT_THAT(outcome.errors, HasSubstr("optimizer, all threads"));
  for (const Json& row : answer["cases"][0]["core_to_core"]) {  // none with one processor
    EXPECT_GT(row["seconds"]["min"], 1e-9);
  }
  expect_refused({"bench", "--batch-size", "0"}, "--batch-size", "found '0'");
}

TEST_F(AppTest, ANonFiniteLossExitsWith1AndNamesTheTensor) {
  const Outcome outcome =
      train({"--loss", "exercise", "--init", "normal", "--hidden", "128", "--quiet", "--out", "run"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.errors, AllOf(StartsWith("twingrad: error: step 1"), HasSubstr("3.output")));
}

TEST_F(AppTest, OnATerminalAProgressLineIsDrawnAndErased) {
  int terminal = -1;
  const winsize size{.ws_row = 24, .ws_col = 60, .ws_xpixel = 0, .ws_ypixel = 0};
  const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    const std::string out = folder.path() / "run";
    become_program({"train", "--dataset", "synthetic", "--epochs", "30", "--out", out});
  }
  ASSERT_GE(child, 0) << "this test needs a pseudo-terminal; is /dev/pts mounted?";
  std::string shown;
  char buffer[4096];
  for (ssize_t count = 0; (count = read(terminal, buffer, sizeof buffer)) > 0;) {
    shown.append(buffer, static_cast<std::size_t>(count));
  }
  close(terminal);
  EXPECT_EQ(status_of(child), 0);
  EXPECT_THAT(shown, HasSubstr("\repoch ")) << "a progress line";
  EXPECT_THAT(shown, HasSubstr("\r\x1b[K")) << "erased before a row";
  EXPECT_THAT(shown, HasSubstr("\x1b[1m")) << "bold headings";
  EXPECT_THAT(shown, HasSubstr("Written to"));
}

/// What a run is told, what its heading shows and what summary.json holds.
struct OptionsCase {
  std::vector<std::string> arguments;
  std::vector<std::string> heading;
  Json summary;
};

TEST_F(AppTest, EveryOptionReachesTheRunItsHeadingAndItsSummary) {
  const std::vector<OptionsCase> cases = {
      {{"--loss", "cross_entropy", "--label-smoothing", "0.1", "--class-weights", "1,2,1,1,1,1,1,1,1,0.5",
        "--ignore-index", "3", "--optimizer", "rmsprop", "--alpha", "0.9", "--centered"},
       {"rmsprop · learning rate 0.01 · alpha 0.9 · centered", "label smoothing 0.1",
        "class weights 1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5", "ignoring class 3"},
       {{"loss",
         {{"label_smoothing", 0.1},
          {"class_weights", {1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5}},
          {"ignore_index", 3}}},
        {"optimizer",
         {{"kind", "rmsprop"}, {"lr", 0.01}, {"alpha", 0.9}, {"centered", true}, {"eps", 1e-8}}}}},
      {{"--loss", "kl_divergence", "--label-smoothing", "0.2", "--log-target", "--batch-mean", "--optimizer",
        "adagrad", "--lr-decay", "0.001", "--initial-accumulator", "0.1", "--eps", "1e-6"},
       {"kl_divergence", "mean over images", "logarithms of the labels",
        "adagrad · learning rate 0.01 · eps 1e-06 · rate decay 0.001 · initial accumulator 0.1"},
       {{"loss", {{"kind", "kl_divergence"}, {"batch_mean", true}, {"log_target", true}}},
        {"optimizer", {{"lr", 0.01}, {"lr_decay", 0.001}, {"initial_accumulator", 0.1}, {"eps", 1e-6}}}}},
      {{"--loss", "bce_with_logits", "--positive-weights", "9,9,9,9,9,9,9,9,9,9", "--schedule", "cosine",
        "--eta-min", "1e-4", "--warm-up", "4", "--warm-up-start", "0.1", "--warm-up-end", "0.9"},
       {"positive weights 9, 9", "cosine · down to 0.0001 · warm-up of 4 updates · from 0.1 · to 0.9"},
       {{"loss", {{"kind", "bce_with_logits"}, {"positive_weights", {9, 9, 9, 9, 9, 9, 9, 9, 9, 9}}}},
        {"schedule", {{"eta_min", 1e-4}, {"warm_up", 4}, {"warm_up_start", 0.1}, {"warm_up_end", 0.9}}}}},
      {{"--loss",
        "huber",
        "--huber-delta",
        "0.5",
        "--schedule",
        "one_cycle",
        "--pct-start",
        "0.4",
        "--div-factor",
        "10",
        "--final-div-factor",
        "100",
        "--anneal",
        "linear",
        "--three-phase",
        "--beta1",
        "0.8",
        "--beta2",
        "0.99",
        "--eps",
        "1e-7"},
       {"huber · delta 0.5", "β1 0.8 · β2 0.99 · eps 1e-07",
        "one_cycle · climbing for 0.4 · div factor 10 · final div factor 100 · linear · three phases"},
       {{"loss", {{"kind", "huber"}, {"huber_delta", 0.5}}},
        {"optimizer", {{"beta1", 0.8}, {"beta2", 0.99}, {"eps", 1e-7}}},
        {"schedule",
         {{"pct_start", 0.4},
          {"div_factor", 10},
          {"final_div_factor", 100},
          {"anneal", "linear"},
          {"three_phase", true}}}}},
      {{"--loss", "smooth_l1", "--smooth-l1-beta", "0.5", "--hidden", "16,16", "--residual", "--bias", "own",
        "--normalization", "batch", "--no-affine", "--no-running-statistics", "--clip-norm", "0.1",
        "--clip-norm-type", "inf"},
       {"smooth_l1 · beta 0.5", "residual", "batch normalization without scale and shift without running",
        "bias as a layer of its own", "clipped to norm 0.1 · p inf"},
       {{"loss", {{"smooth_l1_beta", 0.5}}},
        {"network", {{"residual", true}, {"bias", "own"}, {"affine", false}, {"running_statistics", false}}},
        {"optimizer", {{"clip_norm", 0.1}, {"clip_norm_type", "inf"}}}}},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(::testing::PrintToString(cases[i].arguments));
    std::vector<std::string> arguments = cases[i].arguments;
    const std::string out = "run" + std::to_string(i);
    arguments.insert(arguments.end(), {"--out", out});
    const Outcome outcome = train(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    for (const std::string& words : cases[i].heading) {
      EXPECT_THAT(outcome.output, HasSubstr(words));
    }
    const Json summary = Json::parse(content(folder.path() / out / "summary.json"));
    for (const auto& [part, values] : cases[i].summary.items()) {
      for (const auto& [name, value] : values.items()) {
        EXPECT_EQ(summary[part][name], value) << part << "." << name;
      }
    }
  }
}

TEST_F(AppTest, AScheduleStartsFromTheLearningRateThatIsAskedFor) {
  // A rate of 0 by any schedule: nothing is learned, so both epochs see the same test loss.
  EXPECT_EQ(train({"--schedule", "cosine", "--lr", "0", "--quiet", "--out", "run"}).status, 0);
  std::vector<double> losses;
  for (const Json& event : metrics("run")) {
    if (event["event"] == "epoch" && event["twin"] == "manual") {
      losses.push_back(event["test_loss"]);
    }
  }
  ASSERT_EQ(losses.size(), 2);
  EXPECT_EQ(losses[0], losses[1]);
}

// ---- Recipes
// ---------------------------------------------------------------------------------------------------------

TEST_F(AppTest, ARecipeSetsOptionsAndTheCommandLineOverridesThem) {
  write("my.recipe",
        "# a test\ndataset = synthetic\nhidden = 12,6   # two layers\nepochs = 1\noptimizer = sgd\nlr=0.5\n");
  EXPECT_EQ(run({"train", "--recipe", "my.recipe", "--lr", "0.25", "--out", "run", "--quiet"}).status, 0);
  const Json summary = Json::parse(content(folder.path() / "run" / "summary.json"));
  EXPECT_EQ(summary["network"]["widths"], "784-12-6-10");
  EXPECT_EQ(summary["optimizer"]["kind"], "sgd");
  EXPECT_EQ(summary["optimizer"]["lr"], 0.25);
  EXPECT_EQ(summary["recipe"], "my.recipe");
}

TEST_F(AppTest, ARecipeMayHoldAnyOption) {
  write("my.recipe",
        "dataset = synthetic\nhidden = 8,8\nresidual = true\nepochs = 1\nloss = nll\nignore-index = 4\n"
        "class-weights = 1,1,1,1,1,2,2,2,2,2\nclip-norm = 1\nclip-norm-type = 1\n");
  EXPECT_EQ(run({"train", "--recipe", "my.recipe", "--out", "run", "--quiet"}).status, 0);
  const Json summary = Json::parse(content(folder.path() / "run" / "summary.json"));
  EXPECT_EQ(summary["network"]["residual"], true);
  EXPECT_EQ(summary["loss"]["kind"], "nll");
  EXPECT_EQ(summary["loss"]["class_weights"][5], 2);
  EXPECT_EQ(summary["loss"]["ignore_index"], 4);
  EXPECT_EQ(summary["optimizer"]["clip_norm_type"], 1);
}

TEST_F(AppTest, EveryRecipeOfTheProgramRuns) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(TWINGRAD_RECIPES)) {
    const std::string name = entry.path().stem();
    SCOPED_TRACE(name);
    ++count;
    const Outcome outcome =
        run({"train", "--recipe", name, "--dataset", "synthetic", "--epochs", "2", "--quiet", "--out", name});
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
  }
  EXPECT_GE(count, 3);
}

TEST_F(AppTest, AWrongRecipeIsNamedWithItsLine) {
  write("bad.recipe", "epochs = 1\nhiden = 12\n");
  expect_refused({"train", "--recipe", "bad.recipe"}, "bad.recipe: --hiden", "did you mean --hidden?");
  write("worse.recipe", "epochs = 1\nwhat is this\n");
  expect_refused({"train", "--recipe", "worse.recipe"}, "worse.recipe: line 2", "name = value");
  write("worst.recipe", "epochs = many\n");
  expect_refused({"train", "--recipe", "worst.recipe"}, "worst.recipe: --epochs", "found 'many'");
  write("steering.recipe", "lr = \x1b[31m\n");
  expect_refused({"train", "--recipe", "steering.recipe"}, "steering.recipe: line 1",
                 "found 'lr = \\x1b[31m'");
  write("latin1.recipe", "\nout = l\xe4ufe\n");
  expect_refused({"train", "--recipe", "latin1.recipe"}, "latin1.recipe: line 2", "found 'out = l\\xe4ufe'");
  write("long.recipe", std::string(65537, '#'));
  expect_refused({"train", "--recipe", "long.recipe"}, "long.recipe",
                 "expected at most 65536 bytes, found more");
  expect_refused({"train", "--recipe", "seed-nump"}, "--recipe", "did you mean seed-numpy?");
}

// ---- The catalogue
// -----------------------------------------------------------------------------------------------

TEST_F(AppTest, CheckProvesTheWholeCatalogue) {
  const Outcome outcome = run({"check", "--json"});
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  const Json report = Json::parse(outcome.output);
  EXPECT_TRUE(report["passed"]);
  for (const char* key :
       {"name", "oracle", "dtype", "max_abs_error", "max_rel_error", "tolerance", "passed"}) {
    EXPECT_TRUE(report["checks"][0].contains(key)) << key;
  }
  EXPECT_EQ(report["bugs"].size(), Json::parse(run({"check", "--list-bugs", "--json"}).output).size());
}

TEST_F(AppTest, CheckTakesNamesAndWhatLiesBelowThem) {
  EXPECT_EQ(run({"check", "sgd", "--list"}).output,
            "sgd\nsgd.weight_decay\nsgd.momentum\nsgd.dampening\nsgd.nesterov\n");
  EXPECT_THAT(run({"check", "relu", "tanh"}).output, HasSubstr("2 of 2 entries agree"));
  expect_refused({"check", "rellu"}, "rellu", "did you mean relu?");
}

TEST_F(AppTest, APlantedBugIsShownAndExitsWith1) {
  const Outcome outcome = run({"check", "--bug", "softmax.diagonal_only"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("REJECTED"), HasSubstr("diagonal only")));
  const Outcome json = run({"check", "--bug", "softmax.diagonal_only", "--json"});
  EXPECT_EQ(json.status, 1);
  EXPECT_FALSE(Json::parse(json.output)["passed"]);
  EXPECT_EQ(run({"check", "softmax", "--bug", "none"}).status, 0) << "the control";
  expect_refused({"check", "--bug", "softmax.diagonal"}, "--bug", "expected the name of a planted bug");
}

TEST_F(AppTest, SweepShowsTheErrorFallAndRise) {
  const Outcome outcome = run({"check", "tanh", "--sweep"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("1.0e-01"), HasSubstr("1.0e-12")));
}

TEST_F(AppTest, SweepIsDrawnAndPrintedAsJson) {
  const Outcome outcome = run({"check", "tanh", "gelu", "--sweep", "--json", "--out", "sweep.svg"});
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  const Json sweeps = Json::parse(outcome.output);
  ASSERT_EQ(sweeps.size(), 2U);
  EXPECT_EQ(sweeps[0]["points"].size(), 23U);
  EXPECT_THAT(content(folder.path() / "sweep.svg"), AllOf(HasSubstr("<svg"), HasSubstr(">tanh<")));
}

TEST_F(AppTest, CheckRunsOneDtypeAlone) {
  const Json report = Json::parse(run({"check", "tanh", "sgd", "--dtype", "float32", "--json"}).output);
  EXPECT_TRUE(report["passed"]);
  for (const Json& row : report["checks"]) {
    EXPECT_EQ(row["dtype"], "float32");
  }
}

TEST_F(AppTest, CheckRefusesWhatMakesNoSense) {
  expect_refused({"check", "tanh", "--dtype", "half"}, "--dtype", "expected float32 or float64");
  expect_refused({"check", "schedule", "--dtype", "float32"}, "--dtype", "found none");
  expect_refused({"check", "tanh", "--out", "sweep.svg"}, "--out", "add --sweep");
  expect_refused({"check", "tanh", "--sweep", "--out", "nowhere/sweep.svg"}, "--out", "no folder nowhere");
  expect_refused({"check", "tanh", "--sweep", "--out", "."}, "--out", "found the folder .");
  expect_refused({"check", "--sweep", "--out", "sweep.svg"}, "--out", "expected at most 8 entries");
  expect_refused({"check", "sgd", "--sweep"}, "--sweep", "expected a layer or a loss");
  expect_refused({"check", "tanh", "--sweep", "--dtype", "float32"}, "--sweep", "expected float64");
}

// ---- Wrong usage
// -----------------------------------------------------------------------------------------------------

TEST_F(AppTest, WrongUsageIsOneLineAndExit2) {
  expect_refused({}, "the command line", "expected a command");
  expect_refused({"trian"}, "trian", "did you mean train?");
  expect_refused({"train", "--hiden", "12"}, "--hiden", "did you mean --hidden?");
  expect_refused({"train", "leftover"}, "leftover", "expected an option");
  expect_refused({"train", "--epochs"}, "--epochs", "expected a value");
  expect_refused({"train", "--epochs", "0"}, "--epochs", "found '0'");
  expect_refused({"train", "--epochs", "3x"}, "--epochs", "found '3x'");
  expect_refused({"train", "--epochs", "99999999999999999999"}, "--epochs", "expected a whole number");
  expect_refused({"train", "--lr", "nan"}, "--lr", "found 'nan'");
  expect_refused({"train", "--lr", "-1"}, "--lr", "found '-1'");
  expect_refused({"train", "--hidden", "12,,3"}, "--hidden", "found '12,,3'");
  expect_refused({"train", "--hidden", "12,"}, "--hidden", "found '12,'");
  expect_refused({"train", "--hidden", ""}, "--hidden", "found ''");
  expect_refused({"train", "--hidden", "-5"}, "--hidden", "found '-5'");
  expect_refused({"train", "--dataset", "synthetic", "--hidden", "1000000,1000000"}, "--hidden",
                 "GB of memory");
  expect_refused({"train", "--activation", "rleu"}, "--activation", "did you mean relu?");
  expect_refused({"train", "--twins", "three"}, "--twins", "both, autograd or manual");
  expect_refused({"train", "--dtype", "float16"}, "--dtype", "float32 or float64");
  expect_refused({"train", "--batch-size", "0"}, "--batch-size", "found '0'");
  expect_refused({"train", "--momentum", "0.9"}, "--momentum", "--optimizer sgd");
  expect_refused({"train", "--optimizer", "sgd", "--nesterov"}, "--nesterov", "--momentum 0.9");
  expect_refused({"train", "--amsgrad", "--optimizer", "sgd"}, "--amsgrad", "--optimizer adam or adamw");
  expect_refused({"train", "--dataset", "synthetic", "--normalization", "batch", "--batch-size", "1"},
                 "--batch-size", "end with a batch of one");
  expect_refused({"data", "verfy"}, "twingrad data", "did you mean verify?");
}

TEST_F(AppTest, OptionsThatDoNotFitAreRefused) {
  expect_refused({"train", "--label-smoothing", "0.1", "--loss", "mse"}, "--label-smoothing",
                 "--loss cross_entropy, class_probabilities or kl_divergence beside it, found --loss mse");
  expect_refused({"train", "--class-weights", "1,2", "--loss", "l1"}, "--class-weights", "found --loss l1");
  expect_refused({"train", "--class-weights", "1,2"}, "--class-weights", "each of 10 classes, found 2");
  expect_refused({"train", "--class-weights", "1,0", "--classes", "2"}, "--class-weights", "found '1,0'");
  expect_refused({"train", "--positive-weights", "1,1,1", "--loss", "bce_with_logits"}, "--positive-weights",
                 "each of 10 classes, found 3");
  expect_refused({"train", "--positive-weights", "1"}, "--positive-weights", "--loss bce_with_logits");
  expect_refused({"train", "--ignore-index", "10"}, "--ignore-index", "a class from 0 to 9, found 10");
  expect_refused({"train", "--ignore-index", "1", "--loss", "huber"}, "--ignore-index", "found --loss huber");
  expect_refused({"train", "--huber-delta", "2"}, "--huber-delta", "--loss huber");
  expect_refused({"train", "--smooth-l1-beta", "2", "--loss", "huber"}, "--smooth-l1-beta",
                 "--loss smooth_l1");
  expect_refused({"train", "--batch-mean"}, "--batch-mean", "--loss kl_divergence");
  expect_refused({"train", "--loss", "kl_divergence", "--log-target"}, "--log-target", "--label-smoothing");
  expect_refused({"train", "--loss", "kl_divergence", "--batch-mean", "--reduction", "sum"}, "--batch-mean",
                 "--reduction mean");
  expect_refused({"train", "--loss", "hubert"}, "--loss", "did you mean huber?");
  expect_refused({"train", "--beta1", "1"}, "--beta1", "found '1'");
  expect_refused({"train", "--beta2", "0.9", "--optimizer", "sgd"}, "--beta2", "found --optimizer sgd");
  expect_refused({"train", "--eps", "1e-3", "--optimizer", "sgd"}, "--eps", "found --optimizer sgd");
  expect_refused({"train", "--alpha", "0.9"}, "--alpha", "--optimizer rmsprop");
  expect_refused({"train", "--lr-decay", "0.9"}, "--lr-decay", "--optimizer adagrad");
  expect_refused({"train", "--initial-accumulator", "1"}, "--initial-accumulator", "--optimizer adagrad");
  expect_refused({"train", "--clip-norm-type", "1"}, "--clip-norm-type", "--clip-norm");
  expect_refused({"train", "--clip-norm", "1", "--clip-norm-type", "0"}, "--clip-norm-type", "found '0'");
  expect_refused({"train", "--eta-min", "1e-3", "--schedule", "step"}, "--eta-min", "found --schedule step");
  expect_refused({"train", "--schedule-gamma", "0.5"}, "--schedule-gamma", "--schedule step");
  expect_refused({"train", "--three-phase"}, "--three-phase", "--schedule one_cycle");
  expect_refused({"train", "--pct-start", "1.5"}, "--pct-start", "found '1.5'");
  expect_refused({"train", "--warm-up-start", "0.5"}, "--warm-up-start", "--warm-up");
  expect_refused({"train", "--no-affine"}, "--no-affine", "--normalization");
  expect_refused({"train", "--normalization", "rms", "--no-running-statistics"}, "--no-running-statistics",
                 "--normalization batch");
  expect_refused({"train", "--dataset", "synthetic", "--residual"}, "--residual", "found 784-128-10");
  expect_refused({"train", "--dataset", "synthetic", "--batch-size", "full", "--epochs", "2", "--schedule",
                  "one_cycle", "--pct-start", "0.5"},
                 "--schedule one_cycle", "in 2 updates");
}

TEST_F(AppTest, MissingDataNamesTheCommandThatGetsIt) {
  expect_refused({"train", "--dataset", "nowhere/"}, "nowhere/", "nowhere");
  expect_refused({"train", "--dataset", "fashon-mnist"}, "data set \"fashon-mnist\"",
                 "did you mean fashion-mnist?");
}

TEST_F(AppTest, CudaTrainsWhereThereIsAGpuAndIsRefusedElsewhere) {
  const Outcome outcome = train({"--device", "cuda", "--quiet"});
  if (outcome.status == 0) {
    EXPECT_EQ(outcome.errors, "");
  } else {
    expect_refused({"train", "--device", "cuda"}, "--device",
                   "expected a GPU that this LibTorch can use, found none");
  }
}

TEST_F(AppTest, OutMustBeAFolder) {
  write("file", "");
  expect_refused({"train", "--dataset", "synthetic", "--out", "file"}, "--out file", "found a file");
}

TEST_F(AppTest, HelpGoesToStandardOutput) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--help"}, {"train", "--help"}, {"data", "--help"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_THAT(outcome.output, HasSubstr("twingrad"));
    EXPECT_EQ(outcome.errors, "");
  }
  std::istringstream lines(run({"train", "--help"}).output);
  for (std::string line; std::getline(lines, line);) {
    const auto columns = std::count_if(line.begin(), line.end(),
                                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    EXPECT_LE(columns, 80) << line;
  }
  EXPECT_THAT(run({"--version"}).output, AllOf(HasSubstr("twingrad 0."), HasSubstr("LibTorch")));
}

TEST_F(AppTest, DataListsWhatIsKnown) {
  const Outcome outcome = run({"data", "list"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("fashion-mnist"), HasSubstr("mnist"), HasSubstr("synthetic")));
  EXPECT_EQ(Json::parse(run({"data", "list", "--json"}).output).size(), 3);
}

}  // namespace
}  // namespace twingrad
