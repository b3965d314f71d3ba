// The input is a recipe.
#include <cstddef>
#include <cstdint>
#include <string>

#include "app/recipe.h"
#include "fuzz.h"
#include "memory_file.h"
#include "twingrad/runtime/error.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace twingrad::fuzz;
  const MemoryFile file({data, size});
  try {
    for (const auto& [name, option] : twingrad::app::read_recipe(file.path())) {
      const std::string text = name + "=" + option.value;
      require(name.starts_with("--") && name.size() > 2 && !option.value.empty(), "a name and a value");
      require(name[2] != '-' && name != "--recipe" && name != "--resume",
              "only options that are allowed in a recipe");
      require(text.find_first_of("#\n") == std::string::npos, "no comment, one line");
      for (const char character : text) {
        require(character == '\t' || character < 0 || character >= ' ', "no control characters");
      }
    }
  } catch (const twingrad::UserError& error) {
    require_one_line(error.what());
  }
  return 0;
}
