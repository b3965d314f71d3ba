#include "app/processes.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::app {
namespace {

// What rank 0 sends to the others: this, followed by a text or by its exit status.
constexpr char kContinue = 'c', kEnd = 'e';

/// Writes the message in the form that torchrun expects. It shows the call stack.
void write_error_file(const Ranks& ranks, const char* message) {
  if (ranks.error_file.empty()) {
    return;
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  const nlohmann::json error = {
      {"message",
       {{"message", message},
        {"extraInfo", {{"py_callstack", message}, {"timestamp", std::to_string(seconds)}}}}}};
  std::ofstream(ranks.error_file) << error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Divides the processors of this host among its processes, unless the user or the launcher has.
void share_processors(const Ranks& ranks) {
  constexpr int kKeepExisting = 0;
  setenv("OMP_NUM_THREADS", std::to_string(std::max(1, available_processors() / ranks.local_size)).c_str(),
         kKeepExisting);
}

/// Runs the command, and names the rank in its errors unless it is 0.
int run_command(Processes& processes, const Ranks& ranks, const std::function<int(Processes&)>& command) {
  const std::string rank = fmt::format("rank {}", ranks.rank);
  try {
    return command(processes);
  } catch (const EndedByRankZero& end) {
    return end.status();
  } catch (const RankLost&) {  // names the rank already
    throw;
  } catch (const OtherRankFailed&) {
    if (processes.is_first()) throw;
    return kCheckFailed;
  } catch (const UserError& error) {
    if (processes.is_first()) throw;
    throw UserError::inside(rank, error);
  } catch (const CheckFailed& error) {
    if (processes.is_first()) throw;
    throw CheckFailed(rank + ": " + error.what());
  }
}

}  // namespace

std::string Processes::continue_with(const std::string& text) {
  if (group_ == nullptr) {
    return text;
  }
  const std::string message = broadcast_text(*group_, kContinue + text);
  if (message.front() == kEnd) {
    throw EndedByRankZero(message[1]);
  }
  return message.substr(1);
}

void Processes::wait_for_all() {
  if (group_ != nullptr) {
    group_->barrier();
  }
}

void Processes::copy_weights(const std::vector<Twin*>& twins) {
  others_wait_ = false;
  if (group_ == nullptr) {
    return;
  }
  const at::NoGradGuard no_gradient;
  for (const Twin* twin : twins) {
    for (const NamedTensor& weight : network_of(*twin)) {
      at::Tensor values = weight.tensor.contiguous();
      group_->broadcast(values);
      weight.tensor.copy_(values);
    }
  }
}

int run_in_processes(const Ranks& ranks, const std::function<int(Processes&)>& command) {
  if (ranks.size == 1) {
    Processes alone;
    return command(alone);
  }
  try {
    share_processors(ranks);
    const std::unique_ptr<ProcessGroup> group = join_process_group(ranks);
    Processes processes(group.get());
    const auto end_others = [&](int status) {
      try {
        if (processes.is_first() && processes.others_wait_) {
          broadcast_text(*group, {kEnd, static_cast<char>(status)});
        }
      } catch (const RankLost&) {  // then they end by themselves
      }
    };
    try {
      const int status = run_command(processes, ranks, command);
      end_others(status);
      return status;
    } catch (const RankLost&) {
      throw;
    } catch (const CheckFailed&) {
      end_others(kCheckFailed);
      throw;
    } catch (const std::exception&) {
      end_others(kWrongUsage);
      throw;
    }
  } catch (const std::exception& error) {
    write_error_file(ranks, error.what());
    throw;
  }
}

}  // namespace twingrad::app
