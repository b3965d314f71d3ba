#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "twingrad/mlp/twin.h"
#include "twingrad/runtime/process_group.h"
#include "twingrad/runtime/ranks.h"

namespace twingrad::app {

/// This process and those that train together with it. Rank 0 reads options and files first; the others wait
/// until it lets them continue, so that an error that all would find is reported once.
class Processes {
 public:
  /// group: null for a single process.
  explicit Processes(ProcessGroup* group = nullptr) : group_(group) {}

  ProcessGroup* group() { return group_; }
  int count() const { return group_ == nullptr ? 1 : group_->size(); }
  bool is_first() const { return group_ == nullptr || group_->rank() == 0; }

  /// Rank 0 passes a text on to the others, which wait for it here. Returns the text of rank 0. Throws
  /// EndedByRankZero in the others if rank 0 has ended.
  std::string continue_with(const std::string& text);

  /// Waits until all processes are ready.
  void wait_for_all();

  /// Copies the weights of rank 0 to the others. From then on, the processes depend on each other.
  void copy_weights(const std::vector<Twin*>& twins);

 private:
  friend int run_in_processes(const Ranks& ranks, const std::function<int(Processes&)>& command);

  ProcessGroup* group_;
  bool others_wait_ = true;  ///< for rank 0 in continue_with
};

/// Rank 0 has ended with this status before the others began.
class EndedByRankZero : public std::runtime_error {
 public:
  explicit EndedByRankZero(int status) : std::runtime_error("rank 0 has ended"), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

/// Runs the command as one of several processes, or alone. Returns its exit status. Errors of other ranks
/// than 0 begin with the rank. With torchrun, they are also written to its error file.
int run_in_processes(const Ranks& ranks, const std::function<int(Processes&)>& command);

}  // namespace twingrad::app
