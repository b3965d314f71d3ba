#pragma once

#include <string>
#include <vector>

namespace twingrad::app {

/// Exit statuses, the same for every command.
enum ExitStatus : int { kDone = 0, kCheckFailed = 1, kWrongUsage = 2, kInterrupted = 130 };

/// Each takes the arguments behind its name and returns the exit status.
int train_command(const std::vector<std::string>& arguments);
int check_command(const std::vector<std::string>& arguments);
int bench_command(const std::vector<std::string>& arguments);
int predict_command(const std::vector<std::string>& arguments);
int export_command(const std::vector<std::string>& arguments);
int data_command(const std::vector<std::string>& arguments);

}  // namespace twingrad::app
