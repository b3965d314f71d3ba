#pragma once

#include <string>
#include <vector>

namespace twingrad::app {

/// How `twingrad check` shows its results.
enum class CheckFormat {
  text,    ///< a table for people
  json,    ///< everything
  github,  ///< an annotation for each failure, as GitHub Actions reads them from the output of a step
  junit,   ///< JUnit's XML, which other services and editors read
};

/// One result for a machine.
struct CheckVerdict {
  std::string entry;  ///< "relu"
  std::string name;   ///< "autograd in float64"
  bool passed = true;
  std::string detail;  ///< of a failure: lines of text
};

/// A line `::error title=…::…` for each failure; empty if all passed.
std::string to_github(const std::vector<CheckVerdict>& verdicts);

/// A test suite with a test case for each verdict. seconds: of all.
std::string to_junit(const std::vector<CheckVerdict>& verdicts, double seconds);

/// Prints them on standard output if the format is github or junit.
void print_verdicts(const std::vector<CheckVerdict>& verdicts, double seconds, CheckFormat format);

}  // namespace twingrad::app
