#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "../support/temporary_folder.h"
#include "twingrad/io/png.h"

// Runs the program and examines its output, files and exit status.

namespace twingrad {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// The arguments of the program: a list, or a line that is split at spaces.
class Arguments {
 public:
  Arguments(const char* line) : Arguments(std::string(line)) {}
  Arguments(const std::string& line) {
    std::istringstream words(line);
    list_.assign(std::istream_iterator<std::string>(words), {});
  }
  Arguments(std::initializer_list<std::string> list) : list_(list) {}
  Arguments(std::vector<std::string> list) : list_(std::move(list)) {}

  const std::vector<std::string>& list() const { return list_; }

  Arguments operator+(const Arguments& more) const {
    std::vector<std::string> list = list_;
    list.insert(list.end(), more.list_.begin(), more.list_.end());
    return list;
  }

 private:
  std::vector<std::string> list_;
};

struct Outcome {
  int status = -1;
  std::string output;
  std::string errors;
};

inline std::string content(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Replaces this process with the program.
[[noreturn]] inline void become_program(const Arguments& arguments) {
  std::vector<char*> values = {const_cast<char*>(TWINGRAD_PROGRAM)};
  for (const std::string& argument : arguments.list()) {
    values.push_back(const_cast<char*>(argument.c_str()));
  }
  values.push_back(nullptr);
  execv(values[0], values.data());
  _exit(127);
}

inline int status_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Waits for the condition, for at most a minute.
template <typename Condition>
void wait_until(const Condition& condition) {
  for (int i = 0; i < 6000 && !condition(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

class AppTest : public ::testing::Test {
 protected:
  /// Starts the program in the directory of the test, with its streams redirected to "output" and `errors`.
  pid_t start(const Arguments& arguments, const char* errors = "errors") const {
    const pid_t child = fork();
    if (child == 0) {
      if (chdir(folder.path().c_str()) != 0) {
        _exit(126);
      }
      dup2(open("output", O_CREAT | O_WRONLY | O_TRUNC, 0600), STDOUT_FILENO);
      dup2(open(errors, O_CREAT | O_WRONLY | O_TRUNC, 0600), STDERR_FILENO);
      become_program(arguments);
    }
    return child;
  }

  Outcome finish(pid_t child) const {
    const int status = status_of(child);
    return {status, content(folder.path() / "output"), content(folder.path() / "errors")};
  }

  Outcome run(const Arguments& arguments) const { return finish(start(arguments)); }

  /// Runs the program, which must succeed. Returns its JSON output.
  Json run_json(const Arguments& arguments) const {
    const Outcome outcome = run(arguments + "--json");
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    return Json::parse(outcome.output);
  }

  /// `twingrad train` with a small network on synthetic data.
  Outcome train(const Arguments& arguments) const {
    return run(Arguments("train --dataset synthetic --hidden 16 --epochs 2") + arguments);
  }

  /// Expects an error message of one line, exit status 2 and no files.
  void expect_refused(const Arguments& arguments, const std::string& where, const std::string& what) const {
    SCOPED_TRACE(::testing::PrintToString(arguments.list()));
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors,
                AllOf(StartsWith("twingrad: error: " + where), HasSubstr(what), HasSubstr("; ")));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
    EXPECT_FALSE(fs::exists(folder.path() / "runs"));
  }

  std::vector<Json> metrics(const std::string& run_directory) const {
    std::ifstream file(folder.path() / run_directory / "metrics.jsonl");
    std::vector<Json> events;
    for (std::string line; std::getline(file, line);) {
      events.push_back(Json::parse(line));
    }
    return events;
  }

  Json summary(const std::string& run_directory) const {
    return Json::parse(content(folder.path() / run_directory / "summary.json"));
  }

  void write(const std::string& name, const std::string& text) const { folder.write(name, text); }

  /// A vertical stroke, 28×28.
  void write_digit(const std::string& name) const {
    GreyImage image{28, 28, std::vector<std::uint8_t>(784, 0)};
    for (std::size_t y = 5; y < 23; ++y) {
      image.pixels[y * 28 + 14] = 255;
    }
    write_png(folder.path() / name, image);
  }

  testing::TemporaryFolder folder;
};

}  // namespace twingrad
