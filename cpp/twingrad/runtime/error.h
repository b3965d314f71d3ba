#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace twingrad {

/// An error that the user can cause and fix: a missing file, a damaged file, a wrong option. The program
/// prints it as one line, "twingrad: error: <where>: <what was expected>, <what was found>; <what to do>",
/// and exits with status 2.
class UserError : public std::runtime_error {
 public:
  /// where: the file (with the offset, if there is one) or the option: "a.gz: byte 16", "--hidden".
  /// problem: what was expected and what was found. remedy: what to do about it.
  UserError(const std::string& where, const std::string& problem, const std::string& remedy)
      : std::runtime_error(where + ": " + problem + "; " + remedy) {}

  /// The same error, prefixed with the file that contains it (for example an invalid option in a recipe).
  static UserError inside(const std::string& file, const UserError& error) {
    return UserError(file + ": " + error.what());
  }

 private:
  explicit UserError(const std::string& line) : std::runtime_error(line) {}
};

/// A place in a file for the message of a UserError: "a.gz: byte 16".
inline std::string at_byte(const std::string& file, std::uint64_t offset) {
  return file + ": byte " + std::to_string(offset);
}

/// The twins disagree, or a check failed. The program exits with status 1.
class CheckFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace twingrad
