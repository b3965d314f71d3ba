#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "../support/temporary_folder.h"

// The program as a user meets it: arguments in; output, files and exit status out.

namespace twingrad {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

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

/// Replaces this process (a child) by the program.
[[noreturn]] inline void become_program(const std::vector<std::string>& arguments) {
  std::vector<char*> values = {const_cast<char*>(TWINGRAD_PROGRAM)};
  for (const std::string& argument : arguments) {
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

class AppTest : public ::testing::Test {
 protected:
  /// Starts the program in the test's folder with both streams going to files.
  pid_t start(const std::vector<std::string>& arguments) const {
    const pid_t child = fork();
    if (child == 0) {
      if (chdir(folder.path().c_str()) != 0) {
        _exit(126);
      }
      dup2(open("output", O_CREAT | O_WRONLY | O_TRUNC, 0600), STDOUT_FILENO);
      dup2(open("errors", O_CREAT | O_WRONLY | O_TRUNC, 0600), STDERR_FILENO);
      become_program(arguments);
    }
    return child;
  }

  Outcome finish(pid_t child) const {
    const int status = status_of(child);
    return {status, content(folder.path() / "output"), content(folder.path() / "errors")};
  }

  Outcome run(const std::vector<std::string>& arguments) const { return finish(start(arguments)); }

  /// `twingrad train` on synthetic data, small and quick.
  Outcome train(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(),
                     {"train", "--dataset", "synthetic", "--hidden", "16", "--epochs", "2"});
    return run(arguments);
  }

  /// One line, exit 2, and nothing left behind.
  void expect_refused(const std::vector<std::string>& arguments, const std::string& where,
                      const std::string& what) const {
    SCOPED_TRACE(::testing::PrintToString(arguments));
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(outcome.errors,
                AllOf(StartsWith("twingrad: error: " + where), HasSubstr(what), HasSubstr("; ")));
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
    EXPECT_FALSE(fs::exists(folder.path() / "runs"));
  }

  std::vector<Json> metrics(const std::string& run_folder) const {
    std::ifstream file(folder.path() / run_folder / "metrics.jsonl");
    std::vector<Json> events;
    for (std::string line; std::getline(file, line);) {
      events.push_back(Json::parse(line));
    }
    return events;
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder.path() / name) << text;
  }

  testing::TemporaryFolder folder;
};

}  // namespace twingrad
