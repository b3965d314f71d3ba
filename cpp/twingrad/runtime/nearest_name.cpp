#include "twingrad/runtime/nearest_name.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace twingrad {
namespace {

std::size_t edit_distance(std::string_view from, std::string_view to) {
  // row[j]: from the letters of `from` read so far to the first j letters of `to`
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (const char letter : from) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (letter == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_name(const std::string& text, const std::vector<std::string>& known) {
  std::string nearest;
  std::size_t least = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& name : known) {
    if (const std::size_t distance = edit_distance(text, name); distance < least) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace twingrad
