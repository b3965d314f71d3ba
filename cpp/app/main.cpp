#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/documentation.h"
#include "app/help_formatter.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/memory.h"
#include "twingrad/runtime/option_values.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/runtime/version.h"

namespace twingrad::app {
namespace {

/// Runs the command that the arguments name. Returns its exit status.
int run_program(std::vector<std::string> arguments) {
  CLI::App program("The same multilayer perceptron twice: with autograd and by hand.", "twingrad");
  program.formatter(std::make_shared<HelpFormatter>());
  program.set_help_flag("-h,--help", "show this help");
  program.set_version_flag("--version",
                           fmt::format("twingrad {}, LibTorch {}", version(), libtorch_version()),
                           "show the versions of twingrad and LibTorch");
  program.require_subcommand(0, 1);
  const std::vector<std::function<int()>> commands = {
      add_train_command(program),  add_compare_command(program), add_check_command(program),
      add_bench_command(program),  add_report_command(program),  add_predict_command(program),
      add_export_command(program), add_data_command(program)};
  program.footer("'twingrad COMMAND --help' shows the options of a command.");
  if (!arguments.empty() && arguments.front() == "help") {
    arguments.front() = "--help";
  }
  std::string document;
  program.add_option("--generate", document, "print a manual page (man) or a completion script (bash)")
      ->type_name("NAME");
  if (!parse(program, std::move(arguments))) {
    return kDone;
  }
  if (!document.empty()) {
    const Names<std::string (*)(const CLI::App&)> documents = {{"man", manual_page},
                                                               {"bash", bash_completion}};
    fmt::print("{}", choose("--generate", document, documents)(program));
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
  std::fputs(fmt::format("twingrad: error: {}\n", message).c_str(), stderr);  // fmt::print could throw
  return status;
}

int fail_for_memory(const std::string& cause = "") {
  return fail("memory: expected enough for this network, batch and data, found too little" + cause +
                  "; choose a smaller --hidden or --batch-size",
              kWrongUsage);
}

/// error: an error number of the system, or 0 if it is not known any more.
int fail_for_output(int error) {
  const std::string found =
      error == 0 ? "an error" : fmt::format("\"{}\"", std::generic_category().message(error));
  return fail("standard output: expected to write all results, found " + found +
                  "; free space or write them elsewhere",
              kWrongUsage);
}

/// Writes what is left of the output. The result is the status, or an error if any output was lost.
int finish_output(int status) {
  if (std::fflush(stdout) != 0) {
    return fail_for_output(errno);
  }
  return std::ferror(stdout) != 0 ? fail_for_output(0) : status;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Opens standard streams that are closed, so that no file of a run takes their place. Output then fails, and
/// errors are lost.
void open_standard_streams() {
  for (const auto& [stream, file] :
       {std::pair(STDIN_FILENO, "/dev/null"), std::pair(STDOUT_FILENO, "/dev/full"),
        std::pair(STDERR_FILENO, "/dev/null")}) {
    if (fcntl(stream, F_GETFD) == -1) {
      open(file, stream == STDIN_FILENO ? O_RDONLY : O_WRONLY);  // takes the lowest free number
    }
  }
}

/// The first process of a container ignores signals that have no handler.
void end_on_signals_as_init() {
  if (getpid() != 1) {
    return;
  }
  for (const int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, [](int number) { _exit(128 + number); });
  }
}

/// Runs the program and reports its errors, each in one line.
int run_and_report(const std::vector<std::string>& arguments) {
  try {
    return finish_output(run_program(arguments));
  } catch (const ThreadsRefused& error) {
    std::_Exit(fail(error.what(), kWrongUsage));
  } catch (const UserError& error) {
    return fail(error.what(), kWrongUsage);
  } catch (const CheckFailed& error) {
    return fail(error.what(), kCheckFailed);
  } catch (const c10::Error& error) {
    const std::string message = "LibTorch: " + first_line(error.what_without_backtrace());
    return reports_out_of_memory(message) ? fail_for_memory(" (" + message + ")")
                                          : fail(message, kCheckFailed);
  } catch (const std::bad_alloc&) {
    return fail_for_memory();
  } catch (const std::system_error& error) {
    const bool is_output = std::ferror(stdout) != 0 || std::ferror(stderr) != 0;  // thrown by fmt::print
    return is_output ? fail_for_output(error.code().value())
           : error.code() == std::errc::resource_unavailable_try_again
               ? fail(ThreadsRefused("more threads").what(), kWrongUsage)
               : fail(first_line(error.what()), kCheckFailed);
  } catch (const std::exception& error) {
    return fail(first_line(error.what()), kCheckFailed);
  }
}

}  // namespace
}  // namespace twingrad::app

int main(int count, char** values) {
  twingrad::app::open_standard_streams();
  twingrad::app::end_on_signals_as_init();
  return twingrad::app::run_and_report({values + 1, values + count});
}
