#include <fmt/format.h>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/model_file.h"
#include "twingrad/io/tensor_file.h"

namespace twingrad::app {
namespace {

struct ExportOptions {
  std::string model;
  std::string to;
  std::string twin = "manual";
};

// clang-format off
const FieldTable<ExportOptions> kExportFields = {"Options", "", {
  model_field(&ExportOptions::model),
  text("--to", "FILE", &ExportOptions::to,
       "file to write, with the extension .safetensors, .pt or .pth; in Python, load a .pt file with "
       "net.load_state_dict(torch.load(FILE))").without_default(),
  parsed("--twin", "NAME", &ExportOptions::twin, one_of({"manual", "autograd"}), {}, "",
         "twin of a run: manual or autograd"),
}};
// clang-format on

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
  return command_with(add_command(program, "export", "Convert weights to .safetensors or .pt.",
                                  {{"twingrad export --model runs/first --to weights.pt",
                                    "for net.load_state_dict(torch.load(\"weights.pt\")) in Python"},
                                   {"twingrad export --model runs/first --twin autograd --to a.safetensors",
                                    "the other twin, in another format"}}),
                      kExportFields, export_weights);
}

}  // namespace twingrad::app
