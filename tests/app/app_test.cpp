#include <pty.h>

#include "app_fixture.h"

namespace twingrad {
namespace {

// ---- Training ---------------------------------------------------------------------------------------------

TEST_F(AppTest, TrainWritesMetricsAndSummary) {
  const Outcome outcome = train("--out run");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  for (const char* text : {"synthetic", "before step 1", "autograd", "manual", "Written to run"}) {
    EXPECT_THAT(outcome.output, HasSubstr(text));
  }
  EXPECT_THAT(outcome.output, Not(HasSubstr("\x1b"))) << "no escape codes in a file";
  const std::vector<Json> events = metrics("run");
  ASSERT_EQ(events.size(), 7) << "agreement before the first update; two twins and agreement in each epoch";
  EXPECT_EQ(events[0]["event"], "agreement");
  EXPECT_EQ(events[0]["epoch"], 0);
  EXPECT_EQ(events[0]["step"], 0);
  for (const char* key : {"max_abs_gradient_difference", "max_rel_gradient_difference",
                          "max_abs_weight_difference", "max_abs_optimizer_state_difference"}) {
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
  EXPECT_EQ(summary("run")["status"], "finished");
  EXPECT_EQ(summary("run")["twins"]["manual"]["test_accuracy"], events[5]["test_accuracy"]);
  EXPECT_EQ(summary("run")["network"]["parameters"], 784 * 16 + 16 + 16 * 10 + 10);
}

TEST_F(AppTest, EachRunHasItsOwnDirectoryAndNoneIsOverwritten) {
  EXPECT_EQ(train("--quiet").status, 0);
  EXPECT_EQ(train("--quiet").status, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path() / "runs"), {}), 2);
  EXPECT_EQ(train("--out run --quiet").status, 0);
  const std::string before = content(folder.path() / "run" / "metrics.jsonl");
  const Outcome again = train("--out run");
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.errors, AllOf(StartsWith("twingrad: error: --out run"), HasSubstr("another run")));
  EXPECT_EQ(content(folder.path() / "run" / "metrics.jsonl"), before);
}

TEST_F(AppTest, SingleTwinIsNotCompared) {
  EXPECT_EQ(train("--twins manual --out run").status, 0);
  for (const Json& event : metrics("run")) {
    EXPECT_EQ(event["event"], "epoch");
    EXPECT_EQ(event["twin"], "manual");
  }
}

TEST_F(AppTest, QuietPrintsNothing) {
  const Outcome outcome = train("--quiet --out run");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.output + outcome.errors, "");
}

TEST_F(AppTest, JsonOptionPrintsOnlyJsonOnStandardOutput) {
  const Outcome outcome = train("--json --out run");
  EXPECT_EQ(Json::parse(outcome.output), summary("run"));
  EXPECT_THAT(outcome.errors, HasSubstr("before step 1"));
}

TEST_F(AppTest, SameCommandGivesSameNumbers) {
  EXPECT_EQ(train("--out one --quiet").status, 0);
  EXPECT_EQ(train("--out two --quiet").status, 0);
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

TEST_F(AppTest, InterruptFinishesTheStepAndExitsWith130) {
  const pid_t child = start("train --dataset synthetic --epochs 100000 --out run");
  wait_until([&] { return fs::exists(folder.path() / "run" / "metrics.jsonl"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  kill(child, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.status, 130) << outcome.errors;
  EXPECT_EQ(summary("run")["status"], "interrupted");
}

TEST_F(AppTest, ThreadsOptionLimitsTheNumberOfThreads) {
  // Without batch normalization, the threads are those of the thread pool; with it, those of the BLAS
  // library.
  for (const std::string normalization : {"none", "batch"}) {
    for (const int threads : {1, 3}) {
      const std::string out = normalization + std::to_string(threads);
      const pid_t child = start("train --dataset synthetic --twins manual --normalization " + normalization +
                                " --epochs 100000 --threads " + std::to_string(threads) + " --out " + out);
      wait_until([&] { return !content(folder.path() / out / "metrics.jsonl").empty(); });
      const auto tasks = fs::path("/proc") / std::to_string(child) / "task";
      EXPECT_EQ(std::distance(fs::directory_iterator(tasks), {}), threads) << out;
      kill(child, SIGINT);
      EXPECT_EQ(finish(child).status, 130);
    }
  }
}

TEST_F(AppTest, HeldOutImagesReplaceTheTestImages) {
  const Outcome outcome = train("--hold-out 300 --out run");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_THAT(outcome.output, HasSubstr("1,700 train · 300 test"));
  expect_refused("train --dataset synthetic --hold-out 2000", "--hold-out", "1999");
}

TEST_F(AppTest, NonFiniteLossExitsWith1AndNamesTheTensor) {
  const Outcome outcome = train("--loss exercise --init normal --hidden 128 --quiet --out run");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.errors, AllOf(StartsWith("twingrad: error: step 1"), HasSubstr("3.output")));
}

TEST_F(AppTest, ProgressLineIsDrawnAndErasedOnATerminal) {
  int terminal = -1;
  const winsize size{.ws_row = 24, .ws_col = 60, .ws_xpixel = 0, .ws_ypixel = 0};
  const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    become_program("train --dataset synthetic --epochs 30 --out " + (folder.path() / "run").string());
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

TEST_F(AppTest, CudaTrainsWithAGpuAndIsRefusedWithoutOne) {
  const Outcome outcome = train("--device cuda --quiet");
  if (outcome.status == 0) {
    EXPECT_EQ(outcome.errors, "");
  } else {
    expect_refused("train --device cuda", "--device",
                   "expected a GPU that this LibTorch can use, found none");
  }
}

/// Options, and the expected content of the heading and of summary.json.
struct OptionsCase {
  const char* arguments;
  std::vector<std::string> heading;
  Json summary;
};

TEST_F(AppTest, OptionsAppearInTheHeadingAndTheSummary) {
  const std::vector<OptionsCase> cases = {
      {"--loss cross_entropy --label-smoothing 0.1 --class-weights 1,2,1,1,1,1,1,1,1,0.5 --ignore-index 3 "
       "--optimizer rmsprop --alpha 0.9 --centered",
       {"rmsprop · learning rate 0.01 · alpha 0.9 · centered", "label smoothing 0.1",
        "class weights 1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5", "ignoring class 3"},
       {{"loss",
         {{"label_smoothing", 0.1},
          {"class_weights", {1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5}},
          {"ignore_index", 3}}},
        {"optimizer",
         {{"kind", "rmsprop"}, {"lr", 0.01}, {"alpha", 0.9}, {"centered", true}, {"eps", 1e-8}}}}},
      {"--loss kl_divergence --label-smoothing 0.2 --log-target --batch-mean --optimizer adagrad "
       "--lr-decay 0.001 --initial-accumulator 0.1 --eps 1e-6",
       {"kl_divergence", "mean over images", "logarithms of the labels",
        "adagrad · learning rate 0.01 · eps 1e-06 · rate decay 0.001 · initial accumulator 0.1"},
       {{"loss", {{"kind", "kl_divergence"}, {"batch_mean", true}, {"log_target", true}}},
        {"optimizer", {{"lr", 0.01}, {"lr_decay", 0.001}, {"initial_accumulator", 0.1}, {"eps", 1e-6}}}}},
      {"--loss bce_with_logits --positive-weights 9,9,9,9,9,9,9,9,9,9 --schedule cosine --eta-min 1e-4 "
       "--warm-up 4 --warm-up-start 0.1 --warm-up-end 0.9",
       {"positive weights 9, 9", "cosine · down to 0.0001 · warm-up of 4 updates · from 0.1 · to 0.9"},
       {{"loss", {{"kind", "bce_with_logits"}, {"positive_weights", {9, 9, 9, 9, 9, 9, 9, 9, 9, 9}}}},
        {"schedule", {{"eta_min", 1e-4}, {"warm_up", 4}, {"warm_up_start", 0.1}, {"warm_up_end", 0.9}}}}},
      {"--loss huber --huber-delta 0.5 --schedule one_cycle --pct-start 0.4 --div-factor 10 "
       "--final-div-factor 100 --anneal linear --three-phase --beta1 0.8 --beta2 0.99 --eps 1e-7",
       {"huber · delta 0.5", "β1 0.8 · β2 0.99 · eps 1e-07",
        "one_cycle · rising for 0.4 · div factor 10 · final div factor 100 · linear · three phases"},
       {{"loss", {{"kind", "huber"}, {"huber_delta", 0.5}}},
        {"optimizer", {{"beta1", 0.8}, {"beta2", 0.99}, {"eps", 1e-7}}},
        {"schedule",
         {{"pct_start", 0.4},
          {"div_factor", 10},
          {"final_div_factor", 100},
          {"anneal", "linear"},
          {"three_phase", true}}}}},
      {"--loss smooth_l1 --smooth-l1-beta 0.5 --hidden 16,16 --residual --bias own --normalization batch "
       "--no-affine --no-running-statistics --clip-norm 0.1 --clip-norm-type inf",
       {"smooth_l1 · beta 0.5", "residual", "batch normalization · without scale and shift · without running",
        "bias own", "clipped to norm 0.1 · p inf"},
       {{"loss", {{"smooth_l1_beta", 0.5}}},
        {"network", {{"residual", true}, {"bias", "own"}, {"affine", false}, {"running_statistics", false}}},
        {"optimizer", {{"clip_norm", 0.1}, {"clip_norm_type", "inf"}}}}},
  };
  for (const OptionsCase& options : cases) {
    SCOPED_TRACE(options.arguments);
    const std::string out = "run" + std::to_string(&options - cases.data());
    const Outcome outcome = train(Arguments(options.arguments) + ("--out " + out));
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    for (const std::string& words : options.heading) {
      EXPECT_THAT(outcome.output, HasSubstr(words));
    }
    const Json written = summary(out);
    for (const auto& [part, values] : options.summary.items()) {
      for (const auto& [name, value] : values.items()) {
        EXPECT_EQ(written[part][name], value) << part << "." << name;
      }
    }
  }
}

TEST_F(AppTest, ScheduleStartsFromTheGivenLearningRate) {
  // With a learning rate of 0, any schedule keeps the weights, so the test loss is the same after both
  // epochs.
  EXPECT_EQ(train("--schedule cosine --lr 0 --quiet --out run").status, 0);
  std::vector<double> losses;
  for (const Json& event : metrics("run")) {
    if (event["event"] == "epoch" && event["twin"] == "manual") {
      losses.push_back(event["test_loss"]);
    }
  }
  ASSERT_EQ(losses.size(), 2);
  EXPECT_EQ(losses[0], losses[1]);
}

// ---- Recipes ----------------------------------------------------------------------------------------------

TEST_F(AppTest, CommandLineOverridesARecipe) {
  write("my.recipe",
        "# a test\ndataset = synthetic\nhidden = 12,6   # two layers\nepochs = 1\noptimizer = sgd\nlr=0.5\n");
  EXPECT_EQ(run("train --recipe my.recipe --lr 0.25 --out run --quiet").status, 0);
  EXPECT_EQ(summary("run")["network"]["widths"], "784-12-6-10");
  EXPECT_EQ(summary("run")["optimizer"]["kind"], "sgd");
  EXPECT_EQ(summary("run")["optimizer"]["lr"], 0.25);
  EXPECT_EQ(summary("run")["recipe"], "my.recipe");
}

TEST_F(AppTest, RecipeCanContainAnyOption) {
  write("my.recipe",
        "dataset = synthetic\nhidden = 8,8\nresidual = true\nepochs = 1\nloss = nll\nignore-index = 4\n"
        "class-weights = 1,1,1,1,1,2,2,2,2,2\nclip-norm = 1\nclip-norm-type = 1\n");
  EXPECT_EQ(run("train --recipe my.recipe --out run --quiet").status, 0);
  EXPECT_EQ(summary("run")["network"]["residual"], true);
  EXPECT_EQ(summary("run")["loss"]["kind"], "nll");
  EXPECT_EQ(summary("run")["loss"]["class_weights"][5], 2);
  EXPECT_EQ(summary("run")["loss"]["ignore_index"], 4);
  EXPECT_EQ(summary("run")["optimizer"]["clip_norm_type"], 1);
}

TEST_F(AppTest, EveryRecipeOfTheProgramRuns) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(TWINGRAD_RECIPES)) {
    const std::string name = entry.path().stem();
    SCOPED_TRACE(name);
    ++count;
    const Outcome outcome =
        run("train --recipe " + name + " --dataset synthetic --epochs 2 --quiet --out " + name);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
  }
  EXPECT_GE(count, 3);
}

TEST_F(AppTest, ErrorInARecipeNamesTheFile) {
  write("bad.recipe", "epochs = 1\nhiden = 12\n");
  expect_refused("train --recipe bad.recipe", "bad.recipe: line 2: --hiden", "did you mean --hidden?");
  write("worse.recipe", "epochs = 1\nwhat is this\n");
  write("kinds.recipe", "optimizer = sgd\nbeta1 = 0.9\n");
  expect_refused("train --recipe kinds.recipe", "kinds.recipe: line 2: --beta1", "found --optimizer sgd");
  write("resume.recipe", "resume = run\n");
  expect_refused("train --recipe resume.recipe", "resume.recipe: line 1", "found 'resume = run'");
  expect_refused("train --recipe worse.recipe", "worse.recipe: line 2", "name = value");
  write("worst.recipe", "epochs = many\n");
  expect_refused("train --recipe worst.recipe", "worst.recipe: line 1: --epochs", "found 'many'");
  write("control.recipe", "lr = \x1b[31m\n");
  expect_refused("train --recipe control.recipe", "control.recipe: line 1", "found 'lr = \\x1b[31m'");
  write("latin1.recipe", "\nout = l\xe4ufe\n");
  expect_refused("train --recipe latin1.recipe", "latin1.recipe: line 2", "found 'out = l\\xe4ufe'");
  write("long.recipe", std::string(65537, '#'));
  expect_refused("train --recipe long.recipe", "long.recipe", "expected at most 65536 bytes, found more");
  expect_refused("train --recipe seed-nump", "--recipe", "did you mean seed-numpy?");
}

}  // namespace
}  // namespace twingrad
