#pragma once

#include <stdexcept>
#include <string>

namespace twingrad {

/// An error that the user can cause and mend: a missing file, a damaged file, a wrong option. The program
/// prints it as one line, "twingrad: error: <where>: <what was expected>, <what was found>; <what to do>",
/// and exits with 2.
class UserError : public std::runtime_error {
 public:
  /// where: the file (with the offset, if there is one) or the option, for example "--hidden" or "a.gz: byte
  /// 16". problem: what was expected and what was found. remedy: what to do about it.
  UserError(const std::string& where, const std::string& problem, const std::string& remedy)
      : std::runtime_error(where + ": " + problem + "; " + remedy) {}

  /// The same error, with the file named in which it was made (a wrong option inside a recipe).
  static UserError inside(const std::string& file, const UserError& error) {
    return UserError(file + ": " + error.what());
  }

 private:
  explicit UserError(const std::string& line) : std::runtime_error(line) {}
};

/// The two twins disagree, or a check failed: what the program found to be false. Exit status 1.
class CheckFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace twingrad
