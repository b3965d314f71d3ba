#include "app/train_options.h"

#include <torch/cuda.h>

#include <limits>

#include "app/command_line.h"
#include "app/option_values.h"
#include "app/recipe.h"
#include "twingrad/layers/activations.h"

namespace twingrad::app {
namespace {

constexpr std::int64_t kMany = 1'000'000'000;

/// The numbers whose default depends on another option.
struct Given {
  std::optional<double> learning_rate;
  std::optional<double> weight_decay;
};

std::vector<std::string> activation_names() {
  std::vector<std::string> names;
  for (const ActivationEntry& entry : activations()) {
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
  add_option(command, group, {"--classes", "N", "10", "how many classes the labels name"},
             [&](const std::string& text) { options.classes = parse_integer("--classes", text, 2, 256); });
}

void add_network_options(CLI::App& command, MlpSpec& network) {
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
              "layers: a bias in every layer; ones: a column of ones behind the input, and no other bias"},
             [&](const std::string& text) {
               network.bias = choose<Bias>("--bias", text,
                                           {{"layers", Bias::every_layer}, {"ones", Bias::column_of_ones}});
             });
  add_option(
      command, group,
      {"--init", "NAME", "uniform", "uniform: as torch::nn::Linear; normal: weights from N(0, 1), biases 0"},
      [&](const std::string& text) {
        network.initialization = choose<Initialization>(
            "--init", text, {{"uniform", Initialization::uniform}, {"normal", Initialization::normal}});
      });
  add_option(
      command, group,
      {"--loss", "NAME", "cross_entropy",
       "cross_entropy: fused, from the logits; softmax_log: the chain softmax, log, mean; exercise: the same "
       "with the exercise's own softmax, which is not shifted"},
      [&](const std::string& text) {
        network.loss = choose<LossKind>("--loss", text,
                                        {{"cross_entropy", LossKind::cross_entropy},
                                         {"softmax_log", LossKind::softmax_log},
                                         {"exercise", LossKind::exercise_softmax_log}});
      });
  add_option(command, group,
             {"--label-smoothing", "NUMBER", "0", "share of a label that goes to all classes alike"},
             [&](const std::string& text) {
               network.label_smoothing = parse_number("--label-smoothing", text, 0, 1);
             });
  add_option(command, group,
             {"--normalization", "NAME", "none", "before each activation: none, batch, layer or rms"},
             [&](const std::string& text) {
               network.normalization = choose<Normalization>("--normalization", text,
                                                             {{"none", Normalization::none},
                                                              {"batch", Normalization::batch},
                                                              {"layer", Normalization::layer},
                                                              {"rms", Normalization::rms}});
             });
  add_option(command, group,
             {"--dropout", "NUMBER", "0", "share of each hidden layer's activations that training drops"},
             [&](const std::string& text) { network.dropout = parse_number("--dropout", text, 0, 0.99); });
  add_option(command, group,
             {"--reduction", "NAME", "mean",
              "descend on the mean or the sum of the batch's losses; what is shown is the mean"},
             [&](const std::string& text) {
               network.reduction = choose<Reduction>("--reduction", text,
                                                     {{"mean", Reduction::mean}, {"sum", Reduction::sum}});
             });
}

void add_optimizer_options(CLI::App& command, OptimizerOptions& optimizer, Given& given) {
  using Kind = OptimizerOptions::Kind;
  const std::string group = "Optimizer";
  add_option(command, group, {"--optimizer", "NAME", "adam", "adam, adamw, sgd, rmsprop or adagrad"},
             [&](const std::string& text) {
               optimizer.kind = choose<Kind>("--optimizer", text,
                                             {{"adam", Kind::adam},
                                              {"adamw", Kind::adamw},
                                              {"sgd", Kind::sgd},
                                              {"rmsprop", Kind::rmsprop},
                                              {"adagrad", Kind::adagrad}});
             });
  add_option(command, group,
             {"--lr", "NUMBER", "", "learning rate; default 1e-3, for sgd, rmsprop and adagrad 1e-2"},
             [&](const std::string& text) { given.learning_rate = parse_number("--lr", text, 0, 1e6); });
  add_option(command, group, {"--momentum", "NUMBER", "0", "of sgd and rmsprop"},
             [&](const std::string& text) { optimizer.momentum = parse_number("--momentum", text, 0, 1); });
  add_option(command, group, {"--dampening", "NUMBER", "0", "of sgd's momentum"},
             [&](const std::string& text) { optimizer.dampening = parse_number("--dampening", text, 0, 1); });
  add_flag(command, group, "--nesterov", optimizer.nesterov, "Nesterov's form of sgd's momentum");
  add_flag(command, group, "--amsgrad", optimizer.amsgrad,
           "adam, adamw: by the largest squared gradient so far");
  add_flag(command, group, "--centered", optimizer.centered, "rmsprop: by the variance of the gradient");
  add_option(
      command, group,
      {"--weight-decay", "NUMBER", "",
       "part of the gradient, for adamw beside it; default 0, for adamw 1e-2"},
      [&](const std::string& text) { given.weight_decay = parse_number("--weight-decay", text, 0, 1e6); });
  add_option(
      command, group, {"--clip-norm", "NUMBER", "", "shorten the gradient of all parameters to this norm"},
      [&](const std::string& text) { optimizer.clip_norm = parse_number("--clip-norm", text, 1e-12, 1e12); });
}

void add_schedule_options(CLI::App& command, ScheduleOptions& schedule) {
  using Kind = ScheduleOptions::Kind;
  const std::string group = "Schedule of the learning rate";
  add_option(command, group, {"--schedule", "NAME", "constant", "constant, step, cosine or one_cycle"},
             [&](const std::string& text) {
               schedule.kind = choose<Kind>("--schedule", text,
                                            {{"constant", Kind::constant},
                                             {"step", Kind::step},
                                             {"cosine", Kind::cosine},
                                             {"one_cycle", Kind::one_cycle}});
             });
  add_option(command, group, {"--schedule-epochs", "N", "10", "step: epochs from one drop to the next"},
             [&](const std::string& text) {
               schedule.step_epochs = parse_integer("--schedule-epochs", text, 1, kMany);
             });
  add_option(command, group,
             {"--schedule-gamma", "NUMBER", "0.1", "step: what a drop multiplies the rate by"},
             [&](const std::string& text) { schedule.gamma = parse_number("--schedule-gamma", text, 0, 1); });
  add_option(command, group,
             {"--warm-up", "N", "0", "updates in which the rate climbs from a third to the whole"},
             [&](const std::string& text) { schedule.warm_up = parse_integer("--warm-up", text, 0, kMany); });
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
  add_option(command, group, {"--threads", "N", "1", "threads that compute"}, [&](const std::string& text) {
    options.threads = static_cast<int>(parse_integer("--threads", text, 1, 1024));
  });
}

void add_output_options(CLI::App& command, TrainCommandOptions& options) {
  const std::string group = "Output";
  add_option(
      command, group,
      {"--out", "DIR", "runs/<time>-<data set>", "a new or empty folder for metrics.jsonl and summary.json"},
      [&](const std::string& text) { options.out = text; });
  add_flag(command, group, "--quiet", options.quiet, "print nothing but errors");
  add_flag(command, group, "--json", options.json,
           "the summary as JSON on standard output, all else on standard error");
}

/// The value of --recipe, the last one if there are several.
std::string recipe_argument(const std::vector<std::string>& arguments) {
  std::string recipe;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--recipe" && i + 1 < arguments.size()) {
      recipe = arguments[i + 1];
    } else if (arguments[i].rfind("--recipe=", 0) == 0) {
      recipe = arguments[i].substr(std::string("--recipe=").size());
    }
  }
  return recipe;
}

void parse_recipe(CLI::App& command, const std::string& recipe) {
  const std::filesystem::path file = find_recipe(recipe);
  try {
    parse(command, read_recipe(file));
  } catch (const UserError& error) {
    const bool names_the_file = std::string(error.what()).rfind(file.string(), 0) == 0;
    throw names_the_file ? error : UserError::inside(file.string(), error);
  }
}

/// Throws UserError naming the option unless what it needs is there.
void need(bool is_there, const std::string& option, const std::string& what, const std::string& remedy) {
  if (!is_there) {
    throw UserError(option, "expected " + what + " beside it, found something else", remedy);
  }
}

void refuse_contradictions(const TrainCommandOptions& options) {
  using Kind = OptimizerOptions::Kind;
  const OptimizerOptions& optimizer = options.optimizer;
  const bool sgd = optimizer.kind == Kind::sgd;
  const bool rmsprop = optimizer.kind == Kind::rmsprop;
  const bool adam = optimizer.kind == Kind::adam || optimizer.kind == Kind::adamw;
  const std::string remedy = "add it or leave the option out";
  need(!optimizer.nesterov || sgd, "--nesterov", "--optimizer sgd", remedy);
  need(optimizer.dampening == 0 || sgd, "--dampening", "--optimizer sgd", remedy);
  need(optimizer.momentum == 0 || sgd || rmsprop, "--momentum", "--optimizer sgd or rmsprop", remedy);
  need(!optimizer.amsgrad || adam, "--amsgrad", "--optimizer adam or adamw", remedy);
  need(!optimizer.centered || rmsprop, "--centered", "--optimizer rmsprop", remedy);
  need(!optimizer.nesterov || optimizer.momentum > 0, "--nesterov", "a momentum above 0",
       "add --momentum 0.9");
  need(!optimizer.nesterov || optimizer.dampening == 0, "--nesterov", "no --dampening",
       "leave one of the two out");
  need(options.network.label_smoothing == 0 || options.network.loss == LossKind::cross_entropy,
       "--label-smoothing", "--loss cross_entropy", remedy);
  if (options.training.device.is_cuda() && !torch::cuda::is_available()) {
    throw UserError("--device", "expected a GPU that this LibTorch can use, found none", "use --device cpu");
  }
}

}  // namespace

std::optional<TrainCommandOptions> parse_train_options(const std::vector<std::string>& arguments) {
  TrainCommandOptions options;
  Given given;
  CLI::App command("Trains both twins in lockstep on the same batches and compares every gradient.",
                   "twingrad train");
  add_data_options(command, options);
  add_network_options(command, options.network);
  add_optimizer_options(command, options.optimizer, given);
  add_schedule_options(command, options.training.schedule);
  add_training_options(command, options);
  add_output_options(command, options);

  options.recipe = recipe_argument(arguments);
  if (!options.recipe.empty()) {
    parse_recipe(command, options.recipe);
  }
  if (!parse(command, arguments)) {
    return std::nullopt;
  }
  const auto kind = options.optimizer.kind;
  options.optimizer.learning_rate =
      given.learning_rate.value_or(kind == OptimizerOptions::Kind::sgd ? 1e-2 : 1e-3);
  options.optimizer.weight_decay =
      given.weight_decay.value_or(kind == OptimizerOptions::Kind::adamw ? 1e-2 : 0);
  refuse_contradictions(options);
  return options;
}

}  // namespace twingrad::app
