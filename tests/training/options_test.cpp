#include "twingrad/training/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
