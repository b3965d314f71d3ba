#include "app/train_options.h"

#include <fmt/format.h>
#include <torch/cuda.h>

#include <limits>

#include "app/command_line.h"
#include "app/option_values.h"
#include "app/recipe.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/text.h"
#include "twingrad/training/run_record.h"

namespace twingrad::app {
namespace {

constexpr std::int64_t kMany = 1'000'000'000;

/// The numbers whose default depends on another option.
struct Given {
  std::optional<double> lr;
  std::optional<double> weight_decay;
  std::optional<double> eps;
};

using OptimizerKind = OptimizerOptions::Kind;
const std::vector<std::pair<std::string, OptimizerKind>> kOptimizers = {{"adam", OptimizerKind::adam},
                                                                        {"adamw", OptimizerKind::adamw},
                                                                        {"sgd", OptimizerKind::sgd},
                                                                        {"rmsprop", OptimizerKind::rmsprop},
                                                                        {"adagrad", OptimizerKind::adagrad}};

using ScheduleKind = ScheduleOptions::Kind;
const std::vector<std::pair<std::string, ScheduleKind>> kSchedules = {{"constant", ScheduleKind::constant},
                                                                      {"step", ScheduleKind::step},
                                                                      {"cosine", ScheduleKind::cosine},
                                                                      {"one_cycle", ScheduleKind::one_cycle}};

std::vector<std::string> activation_names() {
  std::vector<std::string> names;
  for (const nn::ActivationEntry& entry : nn::activations()) {
    names.push_back(entry.name);
  }
  return names;
}

void add_data_options(CLI::App& command, TrainCommandOptions& options) {
  const std::string group = "Data and recipe";
  add_option(
      command, group,
      {"--recipe", "NAME|FILE", "",
       "a named set of options that any option beside it overrides: " + join_alternatives(recipe_names())},
      [](const std::string&) {});  // parse_recipe has been there before
  add_option(command, group,
             {"--dataset", "NAME|DIR", options.dataset,
              "fashion-mnist, mnist, synthetic, or a folder with the four IDX files"},
             [&](const std::string& text) { options.dataset = text; });
  add_option(
      command, group,
      {"--hold-out", "N", "0",
       "evaluate on the last N training images, kept out of the training, not on the test images"},
      [&](const std::string& text) { options.hold_out = parse_integer("--hold-out", text, 0, kMany); });
  add_option(command, group, {"--classes", "N", "10", "how many classes the labels name"},
             [&](const std::string& text) { options.classes = parse_integer("--classes", text, 2, 256); });
}

void add_network_options(CLI::App& command, TrainCommandOptions& options, bool& no_affine,
                         bool& no_statistics) {
  MlpSpec& network = options.network;
  const std::string group = "Network";
  add_option(command, group, {"--hidden", "N,N", "128", "widths of the hidden layers; none: a linear model"},
             [&](const std::string& text) { network.hidden = parse_widths("--hidden", text); });
  add_option(command, group,
             {"--activation", "NAME", network.activation, join_alternatives(activation_names())},
             [&](const std::string& text) {
               std::vector<std::pair<std::string, std::string>> choices;
               for (const std::string& name : activation_names()) {
                 choices.emplace_back(name, name);
               }
               network.activation = choose("--activation", text, choices);
             });
  add_option(command, group,
             {"--bias", "NAME", "layers",
              "layers: a bias in every layer; own: the same as layers of their own; ones: a column of ones "
              "behind the input, and no other bias"},
             [&](const std::string& text) { network.bias = choose("--bias", text, biases()); });
  add_option(command, group,
             {"--init", "NAME|FILE", "uniform",
              "uniform: as torch::nn::Linear; normal: weights from N(0, 1), biases 0; or a .safetensors or "
              ".pt file"},
             [&](const std::string& text) {
               std::error_code error;
               options.initial_weights = std::filesystem::is_regular_file(text, error) ? text : "";
               if (options.initial_weights.empty()) {
                 network.initialization = choose<Initialization>(
                     "--init", text,
                     {{"uniform", Initialization::uniform}, {"normal", Initialization::normal}});
               }
             });
  add_option(command, group,
             {"--normalization", "NAME", "none", "before each activation: none, batch, layer or rms"},
             [&](const std::string& text) {
               network.normalization = choose("--normalization", text, normalizations());
             });
  add_option(command, group, {"--input-dropout", "NUMBER", "0", "share of the pixels that training drops"},
             [&](const std::string& text) {
               network.input_dropout = parse_number("--input-dropout", text, 0, 0.99);
             });
  add_option(command, group,
             {"--dropout", "NUMBER", "0", "share of each hidden layer's activations that training drops"},
             [&](const std::string& text) { network.dropout = parse_number("--dropout", text, 0, 0.99); });
  add_flag(command, group, "--no-affine", no_affine, "normalization without a scale and a shift to learn");
  add_flag(command, group, "--no-running-statistics", no_statistics,
           "batch normalization by the batch in hand in evaluation too");
  add_flag(command, group, "--residual", network.residual,
           "each hidden layer F as wide as its input becomes y = x + F(x)");
}

/// "cross_entropy (fused, from the logits), …"
std::string describe_losses() {
  std::vector<std::string> texts;
  for (const LossEntry& entry : losses()) {
    texts.push_back(entry.name + (entry.text.empty() ? "" : " (" + entry.text + ")"));
  }
  return join_alternatives(texts);
}

void add_loss_options(CLI::App& command, MlpSpec& network) {
  const std::string group = "Loss";
  add_option(command, group, {"--loss", "NAME", "cross_entropy", describe_losses()},
             [&](const std::string& text) {
               std::vector<std::pair<std::string, LossKind>> choices;
               for (const LossEntry& entry : losses()) {
                 choices.emplace_back(entry.name, entry.kind);
               }
               network.loss = choose("--loss", text, choices);
             });
  add_option(command, group,
             {"--reduction", "NAME", "mean",
              "descend on the mean or the sum of the batch's losses; what is shown is the mean"},
             [&](const std::string& text) {
               network.reduction = choose<nn::Reduction>(
                   "--reduction", text, {{"mean", nn::Reduction::mean}, {"sum", nn::Reduction::sum}});
             });
  add_option(
      command, group,
      {"--label-smoothing", "NUMBER", "0",
       "share of a label that goes to all classes alike; cross_entropy, class_probabilities, kl_divergence"},
      [&](const std::string& text) {
        network.label_smoothing = parse_number("--label-smoothing", text, 0, 1);
      });
  constexpr double kSmallest = 1e-6;  // a weight of 0 could make the mean of a batch 0/0
  add_option(command, group,
             {"--class-weights", "N,N", "",
              "what each class counts, one number a class; cross_entropy, class_probabilities, nll, "
              "bce_with_logits"},
             [&](const std::string& text) {
               network.class_weights = parse_numbers("--class-weights", text, kSmallest, 1e6);
             });
  add_option(
      command, group,
      {"--ignore-index", "N", "",
       "a class whose images do not count in the loss of cross_entropy and nll; a batch of them alone has "
       "loss and gradient 0"},
      [&](const std::string& text) { network.ignore_index = parse_integer("--ignore-index", text, 0, 255); });
  add_option(command, group,
             {"--positive-weights", "N,N", "", "bce_with_logits: what a yes counts, one number a class"},
             [&](const std::string& text) {
               network.positive_weights = parse_numbers("--positive-weights", text, kSmallest, 1e6);
             });
  add_option(command, group, {"--smooth-l1-beta", "NUMBER", "1", "smooth_l1: where it turns linear"},
             [&](const std::string& text) {
               network.smooth_l1_beta = parse_number("--smooth-l1-beta", text, 0, 1e6);
             });
  add_option(
      command, group, {"--huber-delta", "NUMBER", "1", "huber: where it turns linear"},
      [&](const std::string& text) { network.huber_delta = parse_number("--huber-delta", text, 1e-6, 1e6); });
  add_flag(command, group, "--batch-mean", network.batch_mean,
           "kl_divergence: the mean over the images, not over images and classes");
  add_flag(command, group, "--log-target", network.log_target,
           "kl_divergence: from the logarithms of smoothed labels");
}

void add_optimizer_options(CLI::App& command, OptimizerOptions& optimizer, Given& given) {
  const std::string group = "Optimizer";
  add_option(command, group, {"--optimizer", "NAME", "adam", "adam, adamw, sgd, rmsprop or adagrad"},
             [&](const std::string& text) { optimizer.kind = choose("--optimizer", text, kOptimizers); });
  add_option(command, group,
             {"--lr", "NUMBER", "", "learning rate; default 1e-3, for sgd, rmsprop and adagrad 1e-2"},
             [&](const std::string& text) { given.lr = parse_number("--lr", text, 0, 1e6); });
  add_option(command, group, {"--momentum", "NUMBER", "0", "of sgd and rmsprop"},
             [&](const std::string& text) { optimizer.momentum = parse_number("--momentum", text, 0, 1); });
  add_option(command, group, {"--dampening", "NUMBER", "0", "of sgd's momentum"},
             [&](const std::string& text) { optimizer.dampening = parse_number("--dampening", text, 0, 1); });
  add_flag(command, group, "--nesterov", optimizer.nesterov, "Nesterov's form of sgd's momentum");
  add_option(command, group, {"--beta1", "NUMBER", "0.9", "adam, adamw: of the running mean"},
             [&](const std::string& text) { optimizer.beta1 = parse_number("--beta1", text, 0, 0.999999); });
  add_option(command, group, {"--beta2", "NUMBER", "0.999", "adam, adamw: of the running mean square"},
             [&](const std::string& text) { optimizer.beta2 = parse_number("--beta2", text, 0, 0.999999); });
  add_flag(command, group, "--amsgrad", optimizer.amsgrad,
           "adam, adamw: by the largest squared gradient so far");
  add_option(command, group, {"--alpha", "NUMBER", "0.99", "rmsprop: of the running mean square"},
             [&](const std::string& text) { optimizer.alpha = parse_number("--alpha", text, 0, 1); });
  add_flag(command, group, "--centered", optimizer.centered, "rmsprop: by the variance of the gradient");
  add_option(command, group,
             {"--eps", "NUMBER", "", "beside the root, for all but sgd; default 1e-8, for adagrad 1e-10"},
             [&](const std::string& text) { given.eps = parse_number("--eps", text, 1e-30, 1e6); });
  add_option(command, group,
             {"--lr-decay", "NUMBER", "0", "adagrad: update t takes lr / (1 + (t - 1) lr_decay)"},
             [&](const std::string& text) { optimizer.lr_decay = parse_number("--lr-decay", text, 0, 1e6); });
  add_option(command, group,
             {"--initial-accumulator", "NUMBER", "0", "adagrad: where the sum of squares starts"},
             [&](const std::string& text) {
               optimizer.initial_accumulator_value = parse_number("--initial-accumulator", text, 0, 1e6);
             });
  add_option(
      command, group,
      {"--weight-decay", "NUMBER", "",
       "part of the gradient, for adamw beside it; default 0, for adamw 1e-2"},
      [&](const std::string& text) { given.weight_decay = parse_number("--weight-decay", text, 0, 1e6); });
  add_option(
      command, group, {"--clip-norm", "NUMBER", "", "shorten the gradient of all parameters to this norm"},
      [&](const std::string& text) { optimizer.clip_norm = parse_number("--clip-norm", text, 1e-12, 1e12); });
  add_option(command, group, {"--clip-norm-type", "P|inf", "2", "p of that norm; inf: the largest entry"},
             [&](const std::string& text) {
               optimizer.clip_norm_type = text == "inf" ? std::numeric_limits<double>::infinity()
                                                        : parse_number("--clip-norm-type", text, 0.1, 100);
             });
}

void add_schedule_options(CLI::App& command, ScheduleOptions& schedule) {
  const std::string group = "Schedule of the learning rate";
  const auto add_number = [&](const OptionHelp& help, double& value, double minimum, double maximum) {
    add_option(command, group, help, [=, &value, name = help.name](const std::string& text) {
      value = parse_number(name, text, minimum, maximum);
    });
  };
  add_option(command, group, {"--schedule", "NAME", "constant", "constant, step, cosine or one_cycle"},
             [&](const std::string& text) { schedule.kind = choose("--schedule", text, kSchedules); });
  add_option(command, group, {"--schedule-epochs", "N", "10", "step: epochs from one drop to the next"},
             [&](const std::string& text) {
               schedule.step_epochs = parse_integer("--schedule-epochs", text, 1, kMany);
             });
  add_number({"--schedule-gamma", "NUMBER", "0.1", "step: what a drop multiplies the rate by"},
             schedule.gamma, 0, 1);
  add_number({"--eta-min", "NUMBER", "0", "cosine: the rate at the end"}, schedule.eta_min, 0, 1e6);
  add_number({"--pct-start", "NUMBER", "0.3", "one_cycle: share of the updates in which the rate climbs"},
             schedule.pct_start, 0, 1);
  add_number({"--div-factor", "NUMBER", "25", "one_cycle: --lr over the rate at the start"},
             schedule.div_factor, 1e-6, 1e12);
  add_number({"--final-div-factor", "NUMBER", "1e4", "one_cycle: the rate at the start over that at the end"},
             schedule.final_div_factor, 1e-6, 1e12);
  add_option(
      command, group, {"--anneal", "NAME", "cosine", "one_cycle: along a cosine or linear"},
      [&](const std::string& text) {
        schedule.anneal = choose<optim::OneCycleLR::Anneal>(
            "--anneal", text,
            {{"cosine", optim::OneCycleLR::Anneal::cosine}, {"linear", optim::OneCycleLR::Anneal::linear}});
      });
  add_flag(command, group, "--three-phase", schedule.three_phase,
           "one_cycle: down as fast as up, then on to the end");
  add_option(command, group, {"--warm-up", "N", "0", "updates in which the rate climbs to the whole"},
             [&](const std::string& text) { schedule.warm_up = parse_integer("--warm-up", text, 0, kMany); });
  add_number({"--warm-up-start", "NUMBER", "1/3", "the share of the rate at its start"},
             schedule.warm_up_start, 1e-9, 1);
  add_number({"--warm-up-end", "NUMBER", "1", "the share of the rate at its end and from then on"},
             schedule.warm_up_end, 0, 1);
}

void add_training_options(CLI::App& command, TrainCommandOptions& options) {
  TrainingOptions& training = options.training;
  const std::string group = "Training";
  add_option(command, group, {"--twins", "NAME", "both", "both, autograd or manual"},
             [&](const std::string& text) {
               const auto twins = choose<std::pair<bool, bool>>(
                   "--twins", text,
                   {{"both", {true, true}}, {"autograd", {true, false}}, {"manual", {false, true}}});
               std::tie(options.autograd, options.manual) = twins;
             });
  add_option(command, group, {"--batch-size", "N|full", "128", "images a step; full: all of them"},
             [&](const std::string& text) {
               training.batch_size = text == "full" ? 0 : parse_integer("--batch-size", text, 1, kMany);
             });
  add_option(command, group, {"--epochs", "N", "10", "passes over the training images"},
             [&](const std::string& text) { training.epochs = parse_integer("--epochs", text, 1, kMany); });
  add_option(command, group, {"--evaluate-every", "N", "1", "epochs from one row of the table to the next"},
             [&](const std::string& text) {
               training.evaluate_every = parse_integer("--evaluate-every", text, 1, kMany);
             });
  add_option(command, group,
             {"--seed", "N", "1", "of the first weights, the shuffling, dropout and synthetic data"},
             [&](const std::string& text) {
               training.seed = static_cast<std::uint64_t>(
                   parse_integer("--seed", text, 0, std::numeric_limits<std::int64_t>::max()));
             });
  add_option(
      command, group, {"--dtype", "NAME", "float32", "float32 or float64"}, [&](const std::string& text) {
        training.dtype =
            choose<at::ScalarType>("--dtype", text, {{"float32", at::kFloat}, {"float64", at::kDouble}});
      });
  add_option(command, group, {"--device", "NAME", "cpu", "cpu or cuda"}, [&](const std::string& text) {
    training.device = choose<at::DeviceType>("--device", text, {{"cpu", at::kCPU}, {"cuda", at::kCUDA}});
  });
  add_option(command, group, {"--threads", "N", "all processors", "at most so many threads"},
             [&](const std::string& text) {
               options.threads = static_cast<int>(parse_integer("--threads", text, 1, kMostThreads));
             });
}

void add_output_options(CLI::App& command, TrainCommandOptions& options) {
  const std::string group = "Output";
  add_option(command, group,
             {"--out", "DIR", "runs/<time>-<data set>", "a new or empty folder for what the run writes"},
             [&](const std::string& text) { options.out = text; });
  add_option(
      command, group,
      {"--resume", "DIR", "",
       "continue the run in that folder where it stopped; only --epochs, --quiet and --json may differ"},
      [&](const std::string& text) { options.resume = text; });
  add_option(command, group,
             {"--checkpoint-every", "N", "", "updates from one checkpoint to the next; default: each epoch"},
             [&](const std::string& text) {
               options.training.checkpoint_every = parse_integer("--checkpoint-every", text, 1, kMany);
             });
  add_flag(command, group, "--quiet", options.quiet, "print nothing but errors");
  add_flag(command, group, "--json", options.json,
           "the summary as JSON on standard output, all else on standard error");
}

std::vector<std::string> recipe_arguments(const std::string& recipe) {
  return read_recipe(find_recipe(recipe));
}

/// Parses the options of a recipe; what is wrong names its file.
void parse_recipe(CLI::App& command, const std::string& recipe) {
  const std::filesystem::path file = find_recipe(recipe);
  try {
    parse(command, read_recipe(file));
  } catch (const UserError& error) {
    const bool names_the_file = std::string(error.what()).rfind(file.string(), 0) == 0;
    throw names_the_file ? error : UserError::inside(file.string(), error);
  }
}

/// Parses the options of a run that is continued; what is wrong with them names its folder.
void parse_lasting(CLI::App& command, const std::vector<std::string>& lasting, const std::string& run) {
  try {
    parse(command, lasting);
  } catch (const UserError& error) {
    throw UserError("--resume " + run,
                    fmt::format("expected a run with options of 'twingrad train', found one with others ({})",
                                printable(error.what())),
                    "continue with the release of twingrad that began the run");
  }
}

/// The options that a run is repeated by, without those that only say how it is shown and where it goes. A path is
/// written out in full: the run may be continued from elsewhere.
std::vector<std::string> lasting_of(const std::string& recipe, const std::vector<std::string>& arguments) {
  std::vector<std::string> lasting = recipe.empty() ? std::vector<std::string>() : recipe_arguments(recipe);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::size_t equals = arguments[i].find('=');
    const std::string name = arguments[i].substr(0, equals);
    if (name == "--quiet" || name == "--json") {
      continue;
    }
    const bool is_flag =
        equals == std::string::npos && (i + 1 == arguments.size() || arguments[i + 1].rfind("--", 0) == 0);
    std::string value = equals != std::string::npos ? arguments[i].substr(equals + 1)
                        : is_flag                   ? ""
                                                    : arguments[++i];
    std::error_code error;
    if (name == "--dataset" && std::filesystem::is_directory(value, error)) {
      value = std::filesystem::absolute(value).lexically_normal().string();
    }
    if (name == "--init" && std::filesystem::is_regular_file(value, error)) {
      continue;  // whoever continues has the weights in the checkpoint
    }
    if (name != "--recipe" && name != "--out" && name != "--resume") {
      lasting.push_back(is_flag ? name : name + "=" + value);
    }
  }
  return lasting;
}

/// Throws UserError naming the option unless what it needs is there.
void need(bool is_there, const std::string& option, const std::string& what, const std::string& found,
          const std::string& remedy = "add it or leave the option out") {
  if (!is_there) {
    throw UserError(option, "expected " + what + " beside it, found " + found, remedy);
  }
}

void refuse_contradictions(const OptimizerOptions& optimizer, const Given& given) {
  const OptimizerOptions defaults;
  const bool sgd = optimizer.kind == OptimizerKind::sgd;
  const bool rmsprop = optimizer.kind == OptimizerKind::rmsprop;
  const bool adagrad = optimizer.kind == OptimizerKind::adagrad;
  const bool adam = optimizer.kind == OptimizerKind::adam || optimizer.kind == OptimizerKind::adamw;
  const std::string found = "--optimizer " + name_of(kOptimizers, optimizer.kind);
  need(!optimizer.nesterov || sgd, "--nesterov", "--optimizer sgd", found);
  need(optimizer.dampening == 0 || sgd, "--dampening", "--optimizer sgd", found);
  need(optimizer.momentum == 0 || sgd || rmsprop, "--momentum", "--optimizer sgd or rmsprop", found);
  need(!optimizer.amsgrad || adam, "--amsgrad", "--optimizer adam or adamw", found);
  need(optimizer.beta1 == defaults.beta1 || adam, "--beta1", "--optimizer adam or adamw", found);
  need(optimizer.beta2 == defaults.beta2 || adam, "--beta2", "--optimizer adam or adamw", found);
  need(!optimizer.centered || rmsprop, "--centered", "--optimizer rmsprop", found);
  need(optimizer.alpha == defaults.alpha || rmsprop, "--alpha", "--optimizer rmsprop", found);
  need(optimizer.lr_decay == 0 || adagrad, "--lr-decay", "--optimizer adagrad", found);
  need(optimizer.initial_accumulator_value == 0 || adagrad, "--initial-accumulator", "--optimizer adagrad",
       found);
  need(!given.eps || !sgd, "--eps", "--optimizer adam, adamw, rmsprop or adagrad", found);
  need(!optimizer.nesterov || optimizer.momentum > 0, "--nesterov", "a momentum above 0", "none",
       "add --momentum 0.9");
  need(!optimizer.nesterov || optimizer.dampening == 0, "--nesterov", "no --dampening", "one",
       "leave one of the two out");
  need(optimizer.dampening == 0 || optimizer.momentum > 0, "--dampening", "a momentum above 0", "none",
       "add --momentum 0.9");
  need(optimizer.clip_norm_type == defaults.clip_norm_type || optimizer.clip_norm > 0, "--clip-norm-type",
       "--clip-norm", "none");
}

void refuse_contradictions(const ScheduleOptions& schedule) {
  const ScheduleOptions defaults;
  const bool one_cycle = schedule.kind == ScheduleKind::one_cycle;
  const std::string found = "--schedule " + name_of(kSchedules, schedule.kind);
  const auto need_kind = [&](bool is_default, ScheduleKind kind, const std::string& option) {
    need(is_default || schedule.kind == kind, option, "--schedule " + name_of(kSchedules, kind), found);
  };
  need_kind(schedule.step_epochs == defaults.step_epochs, ScheduleKind::step, "--schedule-epochs");
  need_kind(schedule.gamma == defaults.gamma, ScheduleKind::step, "--schedule-gamma");
  need_kind(schedule.eta_min == defaults.eta_min, ScheduleKind::cosine, "--eta-min");
  need_kind(schedule.pct_start == defaults.pct_start, ScheduleKind::one_cycle, "--pct-start");
  need_kind(schedule.div_factor == defaults.div_factor, ScheduleKind::one_cycle, "--div-factor");
  need_kind(schedule.final_div_factor == defaults.final_div_factor, ScheduleKind::one_cycle,
            "--final-div-factor");
  need_kind(schedule.anneal == defaults.anneal, ScheduleKind::one_cycle, "--anneal");
  need_kind(!schedule.three_phase || one_cycle, ScheduleKind::one_cycle, "--three-phase");
  need(schedule.warm_up_start == defaults.warm_up_start || schedule.warm_up > 0, "--warm-up-start",
       "--warm-up", "none");
  need(schedule.warm_up_end == defaults.warm_up_end || schedule.warm_up > 0, "--warm-up-end", "--warm-up",
       "none");
}

void refuse_contradictions_of_loss(const MlpSpec& network, std::int64_t classes) {
  const MlpSpec defaults;
  const std::vector<std::tuple<LossOption, std::string, bool>> given = {
      {LossOption::label_smoothing, "--label-smoothing", network.label_smoothing > 0},
      {LossOption::class_weights, "--class-weights", !network.class_weights.empty()},
      {LossOption::ignore_index, "--ignore-index", network.ignore_index.has_value()},
      {LossOption::positive_weights, "--positive-weights", !network.positive_weights.empty()},
      {LossOption::beta, "--smooth-l1-beta", network.smooth_l1_beta != defaults.smooth_l1_beta},
      {LossOption::delta, "--huber-delta", network.huber_delta != defaults.huber_delta},
      {LossOption::batch_mean, "--batch-mean", network.batch_mean},
      {LossOption::log_target, "--log-target", network.log_target}};
  for (const auto& [option, name, is_given] : given) {
    std::vector<std::string> takers;
    for (const LossEntry& entry : losses()) {
      if (entry.takes(option)) {
        takers.push_back(entry.name);
      }
    }
    const LossEntry& loss = entry_of(network.loss);
    need(!is_given || loss.takes(option), name, "--loss " + join_alternatives(takers), "--loss " + loss.name);
  }
  const auto need_one_a_class = [&](const std::string& option, const std::vector<double>& weights) {
    if (!weights.empty() && std::ssize(weights) != classes) {
      throw UserError(
          option,
          fmt::format("expected one number for each of {} classes, found {}", classes, weights.size()),
          "give as many, or change --classes");
    }
  };
  need_one_a_class("--class-weights", network.class_weights);
  need_one_a_class("--positive-weights", network.positive_weights);
  if (network.ignore_index.value_or(0) >= classes) {
    throw UserError(
        "--ignore-index",
        fmt::format("expected a class from 0 to {}, found {}", classes - 1, *network.ignore_index),
        "name one of the classes");
  }
  need(!network.batch_mean || network.reduction == nn::Reduction::mean, "--batch-mean", "--reduction mean",
       "--reduction sum");
  need(!network.log_target || network.label_smoothing > 0, "--log-target",
       "a --label-smoothing above 0, without which the logarithm of a label is infinite", "none",
       "add --label-smoothing 0.1");
}

void refuse_contradictions_of_layers(const MlpSpec& network) {
  const bool normalizes = network.normalization != Normalization::none;
  need(network.normalization_affine || normalizes, "--no-affine", "--normalization batch, layer or rms",
       "--normalization none");
  need(network.normalization_statistics || network.normalization == Normalization::batch,
       "--no-running-statistics", "--normalization batch", "another or none");
}

void refuse_contradictions(const TrainCommandOptions& options, const Given& given, bool init_is_given) {
  refuse_contradictions(options.optimizer, given);
  refuse_contradictions(options.training.schedule);
  refuse_contradictions_of_layers(options.network);
  refuse_contradictions_of_loss(options.network, options.classes);
  if (!options.resume.empty() && init_is_given) {
    throw UserError("--init",
                    "expected none beside --resume, which continues with the weights of the run, found one",
                    "leave it out");
  }
  if (!options.out.empty() && !options.resume.empty()) {
    throw UserError("--out", "expected none beside --resume, which continues in its own folder, found one",
                    "leave it out");
  }
  if (options.training.device.is_cuda() && !torch::cuda::is_available()) {
    throw UserError("--device", "expected a GPU that this LibTorch can use, found none", "use --device cpu");
  }
}

}  // namespace

std::string argument_of(const std::string& option, const std::vector<std::string>& arguments) {
  std::string value;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == option && i + 1 < arguments.size()) {
      value = arguments[i + 1];
    } else if (arguments[i].rfind(option + "=", 0) == 0) {
      value = arguments[i].substr(option.size() + 1);
    }
  }
  return value;
}

std::optional<TrainCommandOptions> parse_train_options(const std::vector<std::string>& arguments,
                                                       const std::vector<std::string>& lasting) {
  TrainCommandOptions options;
  Given given;
  CLI::App command("Trains both twins in lockstep on the same batches and compares every gradient.",
                   "twingrad train");
  add_data_options(command, options);
  bool no_affine = false;
  bool no_statistics = false;
  add_network_options(command, options, no_affine, no_statistics);
  add_loss_options(command, options.network);
  add_optimizer_options(command, options.optimizer, given);
  add_schedule_options(command, options.training.schedule);
  add_training_options(command, options);
  add_output_options(command, options);

  options.recipe = argument_of("--recipe", arguments);
  if (!lasting.empty()) {
    parse_lasting(command, lasting, argument_of("--resume", arguments));
  }
  if (!options.recipe.empty()) {
    parse_recipe(command, options.recipe);
  }
  if (!parse(command, arguments)) {
    return std::nullopt;
  }
  options.lasting = lasting;
  for (std::string& argument : lasting_of(options.recipe, arguments)) {
    options.lasting.push_back(std::move(argument));
  }
  options.network.normalization_affine = !no_affine;
  options.network.normalization_statistics = !no_statistics;
  const OptimizerOptions defaults = default_options(options.optimizer.kind);
  options.optimizer.lr = given.lr.value_or(defaults.lr);
  options.optimizer.weight_decay = given.weight_decay.value_or(defaults.weight_decay);
  options.optimizer.eps = given.eps.value_or(defaults.eps);
  options.training.lr = options.optimizer.lr;  // what a schedule starts from
  refuse_contradictions(options, given, !argument_of("--init", arguments).empty());
  return options;
}

}  // namespace twingrad::app
