#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "twingrad/runtime/names.h"
#include "twingrad/runtime/option_values.h"

/// One table of fields per options struct. Each row defines a field completely: its command-line option, its
/// JSON key, its range, the kinds it belongs to, its label in the heading of a run, and its help text.
namespace twingrad {

/// An option that was given, as text.
struct GivenOption {
  std::string value;
  std::string where = {};  ///< "mine.recipe: line 3"; empty: on the command line
};

/// Options that were given, by name: "--lr".
using GivenOptions = std::map<std::string, GivenOption>;

// ---- JSON and text ----------------------------------------------------------------------------------------

/// Infinity and NaN, which JSON lacks, become the strings "inf", "-inf", "nan" and "-nan".
nlohmann::ordered_json number_to_json(double number);

/// Non-finite numbers become strings; an empty std::optional becomes null.
template <typename Value>
nlohmann::ordered_json value_to_json(const Value& value) {
  if constexpr (std::is_same_v<Value, double>) {
    return number_to_json(value);
  } else if constexpr (requires { value.has_value(); }) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  } else {
    return value;
  }
}

/// "0.001", "1,2", "relu", "true"; "none" for an empty list, "" for null.
std::string option_text(const nlohmann::ordered_json& value);

/// The same for the heading of a run: "0.001", "1, 2", "relu".
std::string heading_text(const nlohmann::ordered_json& value);

/// "lr_decay" for "--lr-decay"
std::string key_of_option(const std::string& option);

/// " · <label>" with "{}" replaced by the value.
std::string labelled(const std::string& label, const nlohmann::ordered_json& value);

// ---- Tables -----------------------------------------------------------------------------------------------

/// One field of an options struct: a row of its table, created by one of the functions below. The member
/// functions that return a Field add properties that only some rows need.
template <typename Options>
struct Field {
  using Json = nlohmann::ordered_json;
  std::string option;              ///< "--lr-decay"
  std::string value_name;          ///< placeholder for the value in --help: "NUMBER"; empty: a flag
  std::vector<std::string> kinds;  ///< the kinds that have the field (FieldTable::kind_option); {}: all kinds
  std::string label;               ///< in the heading, with {} for the value; empty: not shown there
  std::string help;
  std::function<void(Options&, const std::string& text)> read;  ///< throws UserError for an invalid value
  std::function<Json(const Options&)> write;
  std::vector<std::string> names = {};      ///< of the values of a choice
  std::string key = key_of_option(option);  ///< in JSON: "lr_decay"
  std::string needed_option = {};           ///< "--momentum 0.9": an option that this one requires
  bool is_always_shown = false;             ///< shown in the heading even with its default value
  bool has_default = true;                  ///< shown in --help; false: the help text describes it
  bool is_negated = false;                  ///< a flag that sets its member to false: "--no-affine"

  Field in_json_as(const std::string& name) const { return with(&Field::key, name); }
  Field needs(const std::string& other) const { return with(&Field::needed_option, other); }
  Field always_shown() const { return with(&Field::is_always_shown, true); }
  Field without_default() const { return with(&Field::has_default, false); }

  bool belongs_to(const std::string& kind) const {
    return kinds.empty() || std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  }
  /// The command-line text for this value: the inverse of `read`.
  std::string text(const Json& value) const {
    return option_text(is_negated ? Json(!value.get<bool>()) : value);
  }

 private:
  template <typename Value>
  Field with(Value Field::*member, const Value& value) const {
    Field changed = *this;
    changed.*member = value;
    return changed;
  }
};

/// The fields of an options struct or of a part of it.
template <typename Options>
struct FieldTable {
  std::string title;        ///< in --help
  std::string kind_option;  ///< the option that chooses the kind: "--optimizer"
  std::vector<Field<Options>> fields;

  const Field<Options>& at(const std::string& option) const {
    for (const Field<Options>& field : fields) {
      if (field.option == option) {
        return field;
      }
    }
    throw std::out_of_range("no field has the option " + option);
  }
  std::string kind_of(const Options& options) const {
    return kind_option.empty() ? "" : at(kind_option).write(options).template get<std::string>();
  }
};

// ---- Rows -------------------------------------------------------------------------------------------------

using Kinds = std::vector<std::string>;

struct NumberRange {
  double minimum;
  double maximum;
  bool or_infinity = false;  ///< "inf" is allowed too
};

struct IntegerRange {
  std::int64_t minimum = 0;
  std::int64_t maximum = 1'000'000'000;
};

/// A field that is parsed by parse(option, text).
template <typename Options, typename Member, typename Parse>
Field<Options> parsed(const std::string& option, const std::string& value_name, Member Options::*member,
                      Parse parse, const Kinds& kinds, const std::string& label, const std::string& help) {
  const auto read = [option, member, parse = std::move(parse)](Options& options, const std::string& text) {
    options.*member = static_cast<Member>(parse(option, text));
  };
  return {option, value_name, kinds, label, help, read, [=](const Options& options) {
            return value_to_json(options.*member);
          }};
}

template <typename Options>
Field<Options> number(const std::string& option, double Options::*member, NumberRange range,
                      const Kinds& kinds, const std::string& label, const std::string& help) {
  const auto parse = [=](const std::string& name, const std::string& text) {
    return range.or_infinity && text == "inf" ? std::numeric_limits<double>::infinity()
                                              : parse_number(name, text, range.minimum, range.maximum);
  };
  return parsed(option, range.or_infinity ? "NUMBER|inf" : "NUMBER", member, parse, kinds, label, help);
}

/// Member: an integer, or std::optional of one.
template <typename Options, typename Member>
Field<Options> integer(const std::string& option, Member Options::*member, IntegerRange range,
                       const Kinds& kinds, const std::string& label, const std::string& help) {
  const auto parse = [=](const std::string& name, const std::string& text) {
    return parse_integer(name, text, range.minimum, range.maximum);
  };
  return parsed(option, "N", member, parse, kinds, label, help);
}

/// A list of numbers, "1,2.5".
template <typename Options>
Field<Options> numbers(const std::string& option, std::vector<double> Options::*member, NumberRange range,
                       const Kinds& kinds, const std::string& label, const std::string& help) {
  const auto parse = [=](const std::string& name, const std::string& text) {
    return parse_numbers(name, text, range.minimum, range.maximum);
  };
  return parsed(option, "N,N", member, parse, kinds, label, help);
}

template <typename Options>
Field<Options> flag(const std::string& option, bool Options::*member, const Kinds& kinds,
                    const std::string& label, const std::string& help) {
  return parsed(option, "", member, parse_flag, kinds, label, help);
}

/// A flag that sets its member to false.
template <typename Options>
Field<Options> negated_flag(const std::string& option, bool Options::*member, const Kinds& kinds,
                            const std::string& label, const std::string& help) {
  const auto parse = [](const std::string& name, const std::string& text) { return !parse_flag(name, text); };
  Field<Options> field = parsed(option, "", member, parse, kinds, label, help);
  field.is_negated = true;
  return field;
}

/// A file, a directory or a name.
template <typename Options>
Field<Options> text(const std::string& option, const std::string& value_name, std::string Options::*member,
                    const std::string& help) {
  const auto parse = [](const std::string& /*name*/, const std::string& value) { return value; };
  return parsed(option, value_name, member, parse, {}, "", help);
}

/// One of several named values. An empty `help` is replaced by the list of names.
template <typename Options, typename Value>
Field<Options> choice(const std::string& option, Value Options::*member, const Names<Value>& values,
                      const Kinds& kinds, const std::string& label, const std::string& help) {
  std::vector<std::string> names;
  for (const auto& [name, value] : values) {
    names.push_back(name);
  }
  return {option,
          "NAME",
          kinds,
          label,
          help.empty() ? join_alternatives(names) : help,
          [=](Options& options, const std::string& name) { options.*member = choose(option, name, values); },
          [=](const Options& options) { return name_of(values, options.*member); },
          names};
}

// ---- Use --------------------------------------------------------------------------------------------------

/// All fields as one JSON object, in the order of the table.
template <typename Options>
nlohmann::ordered_json fields_to_json(const FieldTable<Options>& table, const Options& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const Field<Options>& field : table.fields) {
    json[field.key] = field.write(options);
  }
  return json;
}

/// The inverse of fields_to_json. Throws std::exception for a missing key and for a value that the command
/// line would refuse.
template <typename Options>
void fields_from_json(const FieldTable<Options>& table, const nlohmann::ordered_json& json,
                      Options& options) {
  for (const Field<Options>& field : table.fields) {
    const nlohmann::ordered_json& value = json.at(field.key);
    if (field.write(options) != value) {
      field.read(options, field.text(value));
      if (field.write(options) != value) {
        throw std::invalid_argument(field.key + " has the wrong type");
      }
    }
  }
}

/// Runs `read`. Errors name the place where the option was given.
template <typename Read>
void read_given(const GivenOption& given, Read read) {
  try {
    read();
  } catch (const UserError& error) {
    throw given.where.empty() ? error : UserError::inside(given.where, error);
  }
}

/// Reads the options that were given. Throws UserError for an invalid value.
template <typename Options>
void read_fields(const FieldTable<Options>& table, const GivenOptions& given, Options& options) {
  for (const Field<Options>& field : table.fields) {
    if (const auto found = given.find(field.option); found != given.end()) {
      read_given(found->second, [&] { field.read(options, found->second.value); });
    }
  }
}

/// Throws UserError for a given option that does not belong to the chosen kind, or that requires another
/// option which has its default value.
template <typename Options>
void require_belonging(const FieldTable<Options>& table, const GivenOptions& given, const Options& options) {
  const std::string kind = table.kind_of(options);
  for (const Field<Options>& field : table.fields) {
    const auto found = given.find(field.option);
    if (found == given.end()) {
      continue;
    }
    if (!field.belongs_to(kind)) {
      read_given(found->second, [&] {
        throw UserError(field.option,
                        "expected " + table.kind_option + " " + join_alternatives(field.kinds) +
                            " with it, found " + table.kind_option + " " + kind,
                        "add it or leave the option out");
      });
    }
    const std::string needed = field.needed_option.substr(0, field.needed_option.find(' '));
    if (!needed.empty() && table.at(needed).write(options) == table.at(needed).write(Options())) {
      read_given(found->second, [&] {
        const auto other = given.find(needed);
        throw UserError(field.option,
                        "expected " + needed + " above 0 with it, found " +
                            (other == given.end() ? "none" : needed + " " + other->second.value),
                        "use " + field.needed_option + ", for example");
      });
    }
  }
}

/// The fields with values other than the default, for the heading of a run: " · momentum 0.9 · Nesterov".
template <typename Options>
std::string heading_of_fields(const FieldTable<Options>& table, const Options& options) {
  std::string heading;
  for (const Field<Options>& field : table.fields) {
    const bool is_shown = field.is_always_shown || field.write(options) != field.write(Options());
    if (is_shown && !field.label.empty() && field.belongs_to(table.kind_of(options))) {
      heading += labelled(field.label, field.write(options));
    }
  }
  return heading;
}

}  // namespace twingrad
