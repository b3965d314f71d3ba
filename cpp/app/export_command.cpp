#include <fmt/format.h>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/model_file.h"
#include "app/option_values.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/runtime/error.h"

namespace twingrad::app {

int export_command(const std::vector<std::string>& arguments) {
  CLI::App command(
      "Writes weights as .safetensors, or as a .pt file for dict(torch.load(FILE)) and load_state_dict.",
      "twingrad export");
  std::string model;
  std::string to;
  std::string twin = "manual";
  const std::string group = "Options";
  add_option(command, group,
             {"--model", "FILE|DIR", "", "weights as .safetensors or .pt, or the folder of a run"},
             [&](const std::string& text) { model = text; });
  add_option(command, group, {"--to", "FILE", "", "the file to write, ending in .safetensors, .pt or .pth"},
             [&](const std::string& text) { to = text; });
  add_option(command, group, {"--twin", "NAME", twin, "of a run with two: manual or autograd"},
             [&](const std::string& text) {
               twin = choose<std::string>("--twin", text, {{"manual", "manual"}, {"autograd", "autograd"}});
             });
  if (!parse(command, arguments)) {
    return kDone;
  }
  for (const auto& [option, value] : {std::pair("--model", &model), std::pair("--to", &to)}) {
    if (value->empty()) {
      throw UserError(option, "expected a file, found none", "see 'twingrad export --help'");
    }
  }
  const std::filesystem::path from = model_file(model, twin);
  const TensorFile file = read_tensor_file(from);
  write_tensor_file(to, file);
  fmt::print("{}: {} tensors of {}\n", to, file.tensors.size(), from.string());
  return kDone;
}

}  // namespace twingrad::app
