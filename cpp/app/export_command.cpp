#include <fmt/format.h>

#include <memory>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/model_file.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/runtime/option_values.h"

namespace twingrad::app {
namespace {

struct ExportOptions {
  std::string model;
  std::string to;
  std::string twin = "manual";
};

int export_weights(const ExportOptions& options) {
  require_value("--model", options.model, "a file or a run directory", "twingrad export");
  require_value("--to", options.to, "a file", "twingrad export");
  const std::filesystem::path from = model_file(options.model, options.twin);
  const TensorFile file = read_tensor_file(from);
  write_tensor_file(options.to, file);
  fmt::print("{}: {} tensors from {}\n", options.to, file.tensors.size(), from.string());
  return kDone;
}

}  // namespace

std::function<int()> add_export_command(CLI::App& program) {
  const auto options = std::make_shared<ExportOptions>();
  CLI::App& command = add_command(program, "export", "Convert weights to .safetensors or .pt.");
  const std::string group = "Options";
  add_option(command, group, kModelOption, options->model);
  add_option(command, group,
             {"--to", "FILE", "",
              "file to write, with the extension .safetensors, .pt or .pth; in Python, load a .pt file with "
              "load_state_dict(dict(torch.load(FILE)))"},
             options->to);
  add_option(command, group, {"--twin", "NAME", options->twin, "twin of a run: manual or autograd"},
             [options](const std::string& text) {
               options->twin = choose("--twin", text, {"manual", "autograd"});
             });
  return [options] { return export_weights(*options); };
}

}  // namespace twingrad::app
