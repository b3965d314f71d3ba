#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/ranks.h"

namespace twingrad {

/// Another process of the group ended, or did not answer for kRankTimeoutSeconds.
class RankLost : public UserError {
 public:
  using UserError::UserError;
};

/// A check failed in another process, which reports it.
class OtherRankFailed : public CheckFailed {
 public:
  using CheckFailed::CheckFailed;
};

/// How long a process waits for the others in each of the functions below.
constexpr int kRankTimeoutSeconds = 20;

/// Processes that compute together. All of them call the same functions in the same order, with tensors of
/// the same shape and dtype, contiguous and on the CPU. The functions throw RankLost.
class ProcessGroup {
 public:
  ProcessGroup() = default;
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  virtual ~ProcessGroup() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Replaces the tensor by its sum over all ranks. The order of summation depends only on the number of
  /// entries and ranks, so repeated runs give the same bits, and so do all ranks.
  virtual void all_reduce_sum(at::Tensor& tensor) = 0;

  /// Replaces the tensor by that of rank 0.
  virtual void broadcast(at::Tensor& tensor) = 0;

  /// Waits until all ranks have called it.
  virtual void barrier() = 0;
};

/// Joins the group of c10d, LibTorch's library for distributed training, with Gloo as its backend. The
/// network interface is GLOO_SOCKET_IFNAME or, by default, the one that leads to the host of rank 0. Throws
/// UserError if not all ranks join within kRankTimeoutSeconds, or if this build has no Gloo.
std::unique_ptr<ProcessGroup> join_process_group(const Ranks& ranks);

/// Returns the text of rank 0 on every rank.
std::string broadcast_text(ProcessGroup& group, const std::string& text);

}  // namespace twingrad
