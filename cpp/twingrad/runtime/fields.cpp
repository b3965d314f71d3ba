#include "twingrad/runtime/fields.h"

#include <fmt/format.h>

#include <cmath>

namespace twingrad {
namespace {

using FieldJson = nlohmann::ordered_json;

std::string joined(const FieldJson& values, const char* separator, std::string (*text)(const FieldJson&)) {
  std::string list;
  for (const FieldJson& value : values) {
    list += (list.empty() ? "" : separator) + text(value);
  }
  return list;
}

}  // namespace

FieldJson number_to_json(double number) {
  return std::isfinite(number) ? FieldJson(number) : FieldJson(fmt::format("{}", number));
}

std::string option_text(const FieldJson& value) {
  if (value.is_array()) {
    return value.empty() ? "none" : joined(value, ",", option_text);
  }
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
}

std::string heading_text(const FieldJson& value) {
  if (value.is_array()) {
    return joined(value, ", ", heading_text);
  }
  return value.is_number_float() ? fmt::format("{:g}", value.get<double>()) : option_text(value);
}

std::string key_of_option(const std::string& option) {
  std::string key = option.substr(2);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

std::string labelled(const std::string& label, const FieldJson& value) {
  std::string text = " · " + label;
  if (const std::size_t place = text.find("{}"); place != std::string::npos) {
    text.replace(place, 2, heading_text(value));
  }
  return text;
}

}  // namespace twingrad
