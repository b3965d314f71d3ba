#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/option_values.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/version.h"

namespace {

using namespace twingrad::app;

constexpr const char* kUsage = R"(twingrad: the same multilayer perceptron twice, by autograd and by hand

Usage: twingrad COMMAND [OPTIONS]

Commands:
  train    train both twins in lockstep and compare every gradient
  check    hold every gradient by hand against autograd, central differences and planted bugs
  bench    time both twins and the matrix products alone
  predict  tell what is on images
  export   write weights for Python
  data     list the known data sets, or verify one

'twingrad COMMAND --help' tells a command's options. 'twingrad --version' tells what this program was built with.
)";

int run(const std::vector<std::string>& arguments) {
  const std::string command = arguments.empty() ? "" : arguments.front();
  if (command == "--help" || command == "-h" || command == "help") {
    fmt::print("{}", kUsage);
    return kDone;
  }
  if (command == "--version") {
    fmt::print("twingrad {}, LibTorch {}\n", twingrad::version(), twingrad::libtorch_version());
    return kDone;
  }
  const std::vector<std::string> rest(arguments.empty() ? arguments.end() : arguments.begin() + 1,
                                      arguments.end());
  if (command == "train") {
    return train_command(rest);
  }
  if (command == "check") {
    return check_command(rest);
  }
  if (command == "bench") {
    return bench_command(rest);
  }
  if (command == "predict") {
    return predict_command(rest);
  }
  if (command == "export") {
    return export_command(rest);
  }
  if (command == "data") {
    return data_command(rest);
  }
  throw twingrad::UserError(
      command.empty() ? "the command line" : command,
      fmt::format("expected a command, train, check, bench, predict, export or data, found {}",
                  command.empty() ? "none" : "another word"),
      "see 'twingrad --help'" +
          suggestion(command, {"train", "check", "bench", "predict", "export", "data"}));
}

int fail(const std::string& message, int status) {
  fmt::print(stderr, "twingrad: error: {}\n", message);
  return status;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

int main(int count, char** values) {
  try {
    return run({values + 1, values + count});
  } catch (const twingrad::UserError& error) {
    return fail(error.what(), kWrongUsage);
  } catch (const twingrad::CheckFailed& error) {
    return fail(error.what(), kCheckFailed);
  } catch (const c10::Error& error) {
    const std::string message = first_line(error.what_without_backtrace());
    const bool memory =
        message.find("allocate") != std::string::npos || message.find("memory") != std::string::npos;
    return memory ? fail("memory: expected enough for this network and batch, found too little (LibTorch: " +
                             message + "); choose a smaller --hidden or --batch-size",
                         kWrongUsage)
                  : fail("LibTorch: " + message, kCheckFailed);
  } catch (const std::bad_alloc&) {
    return fail(
        "memory: expected enough for this network and data, found too little; choose a smaller --hidden or "
        "--batch-size",
        kWrongUsage);
  } catch (const std::exception& error) {
    return fail(first_line(error.what()), kCheckFailed);
  }
}
