#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace twingrad {

/// The values of an enumeration with their names in options and files.
template <typename Value>
using Names = std::vector<std::pair<std::string, Value>>;

/// The name of a value. Throws std::logic_error if it has none.
template <typename Value>
std::string name_of(const Names<Value>& names, const Value& value) {
  for (const auto& [name, choice] : names) {
    if (choice == value) {
      return name;
    }
  }
  throw std::logic_error("unknown value");
}

}  // namespace twingrad
