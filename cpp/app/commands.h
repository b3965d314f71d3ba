#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace twingrad::app {

/// Exit statuses, the same for every command.
enum ExitStatus : int { kDone = 0, kCheckFailed = 1, kWrongUsage = 2, kInterrupted = 130 };

/// Each adds a command with its options to the program. The result runs the command with the parsed options
/// and returns the exit status.
std::function<int()> add_train_command(CLI::App& program);
std::function<int()> add_compare_command(CLI::App& program);
std::function<int()> add_check_command(CLI::App& program);
std::function<int()> add_bench_command(CLI::App& program);
std::function<int()> add_report_command(CLI::App& program);
std::function<int()> add_predict_command(CLI::App& program);
std::function<int()> add_export_command(CLI::App& program);
std::function<int()> add_data_command(CLI::App& program);

}  // namespace twingrad::app
