#pragma once

#include <string>
#include <vector>

#include "twingrad/report/run_report.h"

namespace twingrad {

/// The names of the twins of a run, in its order.
std::vector<std::string> twins_of(const RunReport& report);

/// The metrics of the last epoch of a twin, or nullptr.
const EpochMetrics* last_epoch(const RunReport& report, const std::string& twin);

/// The seconds of all training steps of a twin.
double seconds_of(const RunReport& report, const std::string& twin);

/// The agreement with the largest difference of gradients, or nullptr.
const Agreement* worst_agreement(const RunReport& report);

/// A fraction as "85.78 %", with a space that does not break.
std::string percent_text(double fraction);

/// A class by name, or its number.
std::string class_text(const RunReport& report, std::int64_t index);

/// Sections of the page of a run; "" if the run has nothing to show there.
std::string learning_section(const RunReport& report);
std::string agreement_section(const RunReport& report);
std::string time_section(const RunReport& report);
std::string weights_section(const RunReport& report);
std::string test_section(const RunReport& report);
std::string facts_section(const RunReport& report);

}  // namespace twingrad
