// The input is a recipe. It gives one argument "--name=value" per line, or is refused.
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
    for (const std::string& argument : twingrad::app::read_recipe(file.path())) {
      const std::size_t equals = argument.find('=');
      require(argument.starts_with("--") && equals > 2 && equals + 1 < argument.size(), "a name and a value");
      require(argument[2] != '-' && !argument.starts_with("--recipe="),
              "no option that is not allowed in a recipe");
      require(argument.find_first_of("#\n") == std::string::npos, "no comment, one line");
      for (const char character : argument) {
        require(character == '\t' || character < 0 || character >= ' ', "no control characters");
      }
    }
  } catch (const twingrad::UserError& error) {
    require_one_line(error.what());
  }
  return 0;
}
