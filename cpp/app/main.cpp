#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "app/command_line.h"
#include "app/commands.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/runtime/version.h"

namespace twingrad::app {
namespace {

/// Runs the command that the arguments name. Returns its exit status.
int run_program(std::vector<std::string> arguments) {
  CLI::App program("The same multilayer perceptron twice: with autograd and by hand.", "twingrad");
  program.set_help_flag("-h,--help", "show this help");
  program.set_version_flag("--version",
                           fmt::format("twingrad {}, LibTorch {}", version(), libtorch_version()),
                           "show the versions of twingrad and LibTorch");
  program.require_subcommand(0, 1);
  const std::vector<std::function<int()>> commands = {
      add_train_command(program), add_compare_command(program), add_check_command(program),
      add_bench_command(program), add_predict_command(program), add_export_command(program),
      add_data_command(program)};
  program.footer("'twingrad COMMAND --help' shows the options of a command.");
  program.formatter(std::make_shared<CLI::Formatter>());  // the commands have a wider column
  program.get_formatter()->column_width(14);
  program.get_formatter()->label("SUBCOMMAND", "COMMAND");

  if (!arguments.empty() && arguments.front() == "help") {
    arguments.front() = "--help";
  }
  if (!parse(program, std::move(arguments))) {
    return kDone;
  }
  const std::vector<CLI::App*> names = program.get_subcommands([](const CLI::App*) { return true; });
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i]->parsed()) {
      return commands[i]();
    }
  }
  throw UserError("the command line", "expected a command, found none", "see 'twingrad --help'");
}

int fail(const std::string& message, int status) {
  fmt::print(stderr, "twingrad: error: {}\n", message);
  return status;
}

int fail_for_memory(const std::string& cause = "") {
  return fail("memory: expected enough for this network, batch and data, found too little" + cause +
                  "; choose a smaller --hidden or --batch-size",
              kWrongUsage);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace
}  // namespace twingrad::app

int main(int count, char** values) {
  using namespace twingrad::app;
  try {
    return run_program({values + 1, values + count});
  } catch (const twingrad::UserError& error) {
    return fail(error.what(), kWrongUsage);
  } catch (const twingrad::CheckFailed& error) {
    return fail(error.what(), kCheckFailed);
  } catch (const c10::Error& error) {
    const std::string message = "LibTorch: " + first_line(error.what_without_backtrace());
    return twingrad::reports_out_of_memory(message) ? fail_for_memory(" (" + message + ")")
                                                    : fail(message, kCheckFailed);
  } catch (const std::bad_alloc&) {
    return fail_for_memory();
  } catch (const std::exception& error) {
    return fail(first_line(error.what()), kCheckFailed);
  }
}
