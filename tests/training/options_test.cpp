#include "twingrad/training/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "../support/refusal.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/fields.h"

// The tables of fields, row by row.

namespace twingrad {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Calls `visit` with each table.
void for_each_table(const auto& visit) {
  visit(network_fields());
  visit(loss_fields());
  visit(optimizer_fields());
  visit(schedule_fields());
  visit(training_fields());
}

/// A valid text for the field that differs from its default.
template <typename Options>
std::string other_text(const Field<Options>& field) {
  std::vector<std::string> candidates = field.names;
  candidates.insert(candidates.end(), {"true", "0.5", "inf", "7", "64,32", "cuda", "full"});
  for (const std::string& candidate : candidates) {
    Options options;
    const bool is_valid = testing::refusal_of([&] { field.read(options, candidate); }) == "(it was accepted)";
    if (is_valid && field.write(options) != field.write(Options())) {
      return candidate;
    }
  }
  ADD_FAILURE() << field.option << ": none of the candidates changes the field";
  return "";
}

/// The options with the first kind that has the field or, if !belongs, lacks it.
template <typename Options>
Options with_kind(const FieldTable<Options>& table, const Field<Options>& field, bool belongs) {
  Options options;
  if (!table.kind_option.empty()) {
    const Field<Options>& kind = table.at(table.kind_option);
    for (const std::string& name : kind.names) {
      if (field.belongs_to(name) == belongs) {
        kind.read(options, name);
        break;
      }
    }
  }
  return options;
}

TEST(Fields, SurviveARoundTripThroughTextAndJson) {
  for_each_table([](const auto& table) {
    for (const auto& field : table.fields) {
      SCOPED_TRACE(field.option);
      auto options = with_kind(table, field, true);
      const std::string text = other_text(field);
      const GivenOptions given = {{field.option, {text}}};
      read_fields(table, given, options);
      const nlohmann::ordered_json json = fields_to_json(table, options);

      auto from_json = decltype(options)();
      fields_from_json(table, nlohmann::ordered_json::parse(json.dump()), from_json);
      EXPECT_EQ(fields_to_json(table, from_json), json);

      auto from_text = decltype(options)();
      field.read(from_text, field.text(json.at(field.key)));
      EXPECT_EQ(field.write(from_text), field.write(options));
      EXPECT_EQ(field.text(field.write(from_text)),
                field.is_negated ? "true" : option_text(json.at(field.key)));
    }
  });
}

TEST(Fields, AreRefusedWithAKindTheyDoNotBelongTo) {
  int refused = 0;
  for_each_table([&](const auto& table) {
    for (const auto& field : table.fields) {
      SCOPED_TRACE(field.option);
      // An option with its default value is refused as well.
      const std::string usual = field.value_name.empty() ? "false" : field.text(field.write({}));
      for (const std::string& text : {other_text(field), usual}) {
        if (field.kinds.empty()) {
          continue;
        }
        ++refused;
        const auto options = with_kind(table, field, false);
        const GivenOptions given = {{field.option, {text}}};
        const GivenOptions in_recipe = {{field.option, {text, "mine.recipe: line 3"}}};
        const auto refusal = [&](const GivenOptions& from) {
          return testing::refusal_of([&] { require_belonging(table, from, options); });
        };
        EXPECT_THAT(refusal(given), AllOf(StartsWith(field.option + ": expected " + table.kind_option),
                                          HasSubstr(", found " + table.kind_option + " ")));
        EXPECT_THAT(refusal(in_recipe), StartsWith("mine.recipe: line 3: " + field.option + ": expected "));
      }
    }
  });
  EXPECT_GE(refused, 2 * 26) << "9 of losses, 9 of optimizers, 8 of schedules and normalizations, each twice";
}

TEST(Fields, AreRefusedWithoutTheOptionTheyNeed) {
  for_each_table([](const auto& table) {
    for (const auto& field : table.fields) {
      if (field.needed_option.empty()) {
        continue;
      }
      SCOPED_TRACE(field.option);
      auto options = with_kind(table, field, true);
      GivenOptions given = {{field.option, {other_text(field)}}};
      EXPECT_THAT(testing::refusal_of([&] { require_belonging(table, given, options); }),
                  AllOf(StartsWith(field.option + ": expected --"), HasSubstr("use " + field.needed_option)));
      const std::size_t blank = field.needed_option.find(' ');
      given[field.needed_option.substr(0, blank)] = {field.needed_option.substr(blank + 1)};
      read_fields(table, given, options);
      EXPECT_EQ(testing::refusal_of([&] { require_belonging(table, given, options); }), "(it was accepted)");
    }
  });
}

TEST(Fields, NameOnlyKindsThatExist) {
  for_each_table([](const auto& table) {
    for (const auto& field : table.fields) {
      for (const std::string& kind : field.kinds) {
        EXPECT_THAT(table.at(table.kind_option).names, ::testing::Contains(kind)) << field.option;
      }
      EXPECT_FALSE(field.help.empty()) << field.option;
    }
  });
}

TEST(Fields, HaveDefaultsWithinTheirRanges) {
  for_each_table([](const auto& table) {
    for (const auto& field : table.fields) {
      auto options = decltype(with_kind(table, field, true))();
      if (field.has_default) {
        EXPECT_EQ(testing::refusal_of([&] { field.read(options, field.text(field.write(options))); }),
                  "(it was accepted)")
            << field.option;
      }
    }
  });
}

/// The expected properties of a field.
struct ExpectedField {
  const char* option;
  const char* key;
  const char* kinds;  ///< separated by blanks; "": all
  const char* usual;  ///< its default, as JSON
  const char* lowest = "";
  const char* largest = "";
  const char* needs = "";
};

/// A number a little below or above this one.
std::string beyond(const std::string& number, double direction) {
  const double value = std::stod(number);
  return fmt::format("{}", value + direction * std::max(std::abs(value), 1e-300) * 1e-6);
}

template <typename Options>
void expect_fields(const FieldTable<Options>& table, const std::vector<ExpectedField>& expected) {
  ASSERT_EQ(table.fields.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Field<Options>& field = table.fields[i];
    SCOPED_TRACE(field.option);
    EXPECT_EQ(field.option, expected[i].option);
    EXPECT_EQ(field.key, expected[i].key);
    EXPECT_EQ(fmt::format("{}", fmt::join(field.kinds, " ")), expected[i].kinds);
    EXPECT_EQ(field.write(Options()).dump(), expected[i].usual);
    EXPECT_EQ(field.needed_option.substr(0, field.needed_option.find(' ')), expected[i].needs);
    const auto accepts = [&](const std::string& text) {
      Options options;
      return testing::refusal_of([&] { field.read(options, text); }) == "(it was accepted)";
    };
    if (const std::string lowest = expected[i].lowest; !lowest.empty()) {
      EXPECT_TRUE(accepts(lowest)) << lowest;
      EXPECT_FALSE(accepts(beyond(lowest, -1))) << "below " << lowest;
    }
    if (const std::string largest = expected[i].largest; !largest.empty()) {
      EXPECT_TRUE(accepts(largest)) << largest;
      EXPECT_FALSE(accepts(beyond(largest, 1))) << "above " << largest;
      EXPECT_EQ(accepts("inf"), field.option == "--clip-norm-type");
      EXPECT_FALSE(accepts("nan"));
    }
  }
}

TEST(Fields, OfOptimizersHaveTheirKindsDefaultsAndRanges) {
  expect_fields(optimizer_fields(),
                {{"--optimizer", "kind", "", "\"adam\""},
                 {"--lr", "lr", "", "0.001", "0", "1e6"},
                 {"--momentum", "momentum", "sgd rmsprop", "0.0", "0", "1"},
                 {"--dampening", "dampening", "sgd", "0.0", "0", "1", "--momentum"},
                 {"--nesterov", "nesterov", "sgd", "false", "", "", "--momentum"},
                 {"--beta1", "beta1", "adam adamw", "0.9", "0", "0.999999"},
                 {"--beta2", "beta2", "adam adamw", "0.999", "0", "0.999999"},
                 {"--amsgrad", "amsgrad", "adam adamw", "false"},
                 {"--alpha", "alpha", "rmsprop", "0.99", "0", "1"},
                 {"--centered", "centered", "rmsprop", "false"},
                 {"--eps", "eps", "adam adamw rmsprop adagrad", "1e-08", "1e-30", "1e6"},
                 {"--lr-decay", "lr_decay", "adagrad", "0.0", "0", "1e6"},
                 {"--initial-accumulator", "initial_accumulator", "adagrad", "0.0", "0", "1e6"},
                 {"--weight-decay", "weight_decay", "", "0.0", "0", "1e6"},
                 {"--clip-norm", "clip_norm", "", "0.0", "1e-12", "1e12"},
                 {"--clip-norm-type", "clip_norm_type", "", "2.0", "0.1", "100", "--clip-norm"}});
}

TEST(Fields, OfSchedulesHaveTheirKindsDefaultsAndRanges) {
  expect_fields(schedule_fields(),
                {{"--schedule", "kind", "", "\"constant\""},
                 {"--schedule-epochs", "step_epochs", "step", "10"},
                 {"--schedule-gamma", "gamma", "step", "0.1", "0", "1"},
                 {"--eta-min", "eta_min", "cosine", "0.0", "0", "1e6"},
                 {"--pct-start", "pct_start", "one_cycle", "0.3", "0", "1"},
                 {"--div-factor", "div_factor", "one_cycle", "25.0", "1e-6", "1e12"},
                 {"--final-div-factor", "final_div_factor", "one_cycle", "10000.0", "1e-6", "1e12"},
                 {"--anneal", "anneal", "one_cycle", "\"cosine\""},
                 {"--three-phase", "three_phase", "one_cycle", "false"},
                 {"--warm-up", "warm_up", "", "0"},
                 {"--warm-up-start", "warm_up_start", "", "0.3333333333333333", "1e-9", "1", "--warm-up"},
                 {"--warm-up-end", "warm_up_end", "", "1.0", "0", "1", "--warm-up"}});
  ScheduleOptions schedule;
  const auto refusal = [&](const char* option, const char* text) {
    return testing::refusal_of([&] { schedule_fields().at(option).read(schedule, text); });
  };
  EXPECT_NE(refusal("--schedule-epochs", "0"), "(it was accepted)");
  EXPECT_EQ(refusal("--schedule-epochs", "1"), "(it was accepted)");
  EXPECT_NE(refusal("--warm-up", "-1"), "(it was accepted)");
  EXPECT_EQ(refusal("--warm-up", "0"), "(it was accepted)");
}

TEST(Fields, OfNetworksAndLossesHaveTheirKindsDefaultsAndRanges) {
  expect_fields(network_fields(), {{"--hidden", "hidden", "", "[128]"},
                                   {"--activation", "activation", "", "\"relu\""},
                                   {"--bias", "bias", "", "\"layers\""},
                                   {"--normalization", "normalization", "", "\"none\""},
                                   {"--no-affine", "affine", "batch layer rms", "true"},
                                   {"--no-running-statistics", "running_statistics", "batch", "true"},
                                   {"--input-dropout", "input_dropout", "", "0.0", "0", "0.99"},
                                   {"--dropout", "dropout", "", "0.0", "0", "0.99"},
                                   {"--residual", "residual", "", "false"}});
  expect_fields(loss_fields(),
                {{"--loss", "kind", "", "\"cross_entropy\""},
                 {"--reduction", "reduction", "", "\"mean\""},
                 {"--label-smoothing", "label_smoothing", "cross_entropy class_probabilities kl_divergence",
                  "0.0", "0", "1"},
                 {"--class-weights", "class_weights", "cross_entropy class_probabilities nll bce_with_logits",
                  "[]", "1e-6", "1e6"},
                 {"--ignore-index", "ignore_index", "cross_entropy nll", "null"},
                 {"--positive-weights", "positive_weights", "bce_with_logits", "[]", "1e-6", "1e6"},
                 {"--smooth-l1-beta", "smooth_l1_beta", "smooth_l1", "1.0", "0", "1e6"},
                 {"--huber-delta", "huber_delta", "huber", "1.0", "1e-6", "1e6"},
                 {"--batch-mean", "batch_mean", "kl_divergence", "false"},
                 {"--log-target", "log_target", "kl_divergence", "false", "", "", "--label-smoothing"}});
}

/// The options after reading these texts, each for the option before it.
template <typename Options>
Options read_all(const FieldTable<Options>& table,
                 const std::vector<std::pair<const char*, const char*>>& texts) {
  Options options;
  GivenOptions given;
  for (const auto& [option, text] : texts) {
    given[option] = {text};
  }
  read_fields(table, given, options);
  return options;
}

TEST(Fields, SetTheMemberOfTheirName) {
  const auto o = read_all(optimizer_fields(), {{"--optimizer", "adamw"},
                                               {"--lr", "0.01"},
                                               {"--momentum", "0.02"},
                                               {"--dampening", "0.03"},
                                               {"--nesterov", "true"},
                                               {"--beta1", "0.04"},
                                               {"--beta2", "0.05"},
                                               {"--alpha", "0.06"},
                                               {"--eps", "0.07"},
                                               {"--lr-decay", "0.08"},
                                               {"--initial-accumulator", "0.09"},
                                               {"--weight-decay", "0.1"},
                                               {"--clip-norm", "0.11"},
                                               {"--clip-norm-type", "inf"}});
  EXPECT_EQ(std::tuple(o.kind, o.lr, o.momentum, o.dampening, o.beta1, o.beta2, o.alpha, o.eps, o.lr_decay),
            std::tuple(OptimizerOptions::Kind::adamw, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08));
  EXPECT_EQ(std::tuple(o.initial_accumulator_value, o.weight_decay, o.clip_norm, o.clip_norm_type),
            std::tuple(0.09, 0.1, 0.11, std::numeric_limits<double>::infinity()));
  EXPECT_EQ(std::tuple(o.nesterov, o.amsgrad, o.centered), std::tuple(true, false, false));
  EXPECT_TRUE(read_all(optimizer_fields(), {{"--amsgrad", "true"}}).amsgrad);
  EXPECT_TRUE(read_all(optimizer_fields(), {{"--centered", "true"}}).centered);

  const auto s = read_all(schedule_fields(), {{"--schedule", "one_cycle"},
                                              {"--schedule-epochs", "2"},
                                              {"--schedule-gamma", "0.03"},
                                              {"--eta-min", "0.04"},
                                              {"--pct-start", "0.05"},
                                              {"--div-factor", "6"},
                                              {"--final-div-factor", "7"},
                                              {"--anneal", "linear"},
                                              {"--three-phase", "true"},
                                              {"--warm-up", "8"},
                                              {"--warm-up-start", "0.09"},
                                              {"--warm-up-end", "0.1"}});
  EXPECT_EQ(std::tuple(s.kind, s.step_epochs, s.gamma, s.eta_min, s.pct_start, s.div_factor),
            std::tuple(ScheduleOptions::Kind::one_cycle, 2, 0.03, 0.04, 0.05, 6));
  EXPECT_EQ(std::tuple(s.final_div_factor, s.anneal, s.three_phase),
            std::tuple(7, optim::OneCycleLR::Anneal::linear, true));
  EXPECT_EQ(std::tuple(s.warm_up, s.warm_up_start, s.warm_up_end), std::tuple(8, 0.09, 0.1));

  const auto n = read_all(network_fields(), {{"--input-dropout", "0.1"}, {"--dropout", "0.2"}});
  EXPECT_EQ(std::tuple(n.input_dropout, n.dropout, n.residual), std::tuple(0.1, 0.2, false));
  const auto affine = read_all(network_fields(), {{"--no-affine", "true"}});
  EXPECT_EQ(std::tuple(affine.normalization_affine, affine.normalization_statistics),
            std::tuple(false, true));
  const auto l = read_all(loss_fields(), {{"--class-weights", "1,2"},
                                          {"--positive-weights", "3,4"},
                                          {"--smooth-l1-beta", "0.5"},
                                          {"--huber-delta", "0.6"},
                                          {"--log-target", "true"}});
  EXPECT_EQ(std::tuple(l.class_weights, l.positive_weights, l.smooth_l1_beta, l.huber_delta),
            std::tuple(std::vector<double>{1, 2}, std::vector<double>{3, 4}, 0.5, 0.6));
  EXPECT_EQ(std::tuple(l.log_target, l.batch_mean), std::tuple(true, false));
}

TEST(Fields, AreReadFromJsonAsStrictlyAsFromTheCommandLine) {
  const nlohmann::ordered_json json = fields_to_json(network_fields(), MlpSpec());
  const auto change = [&](const char* key, const nlohmann::ordered_json& value) {
    nlohmann::ordered_json changed = json;
    changed[key] = value;
    MlpSpec spec;
    fields_from_json(network_fields(), changed, spec);
  };
  for (const auto& [key, value] : std::vector<std::pair<const char*, nlohmann::ordered_json>>{
           {"hidden", "128,64"},
           {"hidden", {0}},
           {"hidden", {1.5}},
           {"dropout", 1},
           {"dropout", "0.5"},
           {"dropout", nullptr},
           {"activation", "rleu"},
           {"activation", 1},
           {"affine", "false"},
           {"affine", 0},
           {"bias", nlohmann::ordered_json::array()}}) {
    EXPECT_ANY_THROW(change(key, value)) << key << value;
  }
  nlohmann::ordered_json incomplete = json;
  incomplete.erase("residual");
  MlpSpec spec;
  EXPECT_ANY_THROW(fields_from_json(network_fields(), incomplete, spec));
}

TEST(Fields, AppearInTheHeadingUnlessTheyHaveTheirDefault) {
  OptimizerOptions optimizer = default_options(OptimizerOptions::Kind::sgd);
  EXPECT_EQ(heading_of_fields(optimizer_fields(), optimizer), " · sgd · learning rate 0.01");
  optimizer.momentum = 0.9;
  optimizer.nesterov = true;
  EXPECT_EQ(heading_of_fields(optimizer_fields(), optimizer),
            " · sgd · learning rate 0.01 · momentum 0.9 · Nesterov");
  EXPECT_EQ(heading_of_fields(schedule_fields(), {.kind = ScheduleOptions::Kind::step}),
            " · step · every 10 epochs · times 0.1");
}

}  // namespace
}  // namespace twingrad
