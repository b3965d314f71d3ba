#pragma once

#include <functional>
#include <string>

namespace twingrad {

constexpr int kMaxRanks = 65536;

/// The place of this process among those that train together.
struct Ranks {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  ///< among the processes on this host
  std::string address = "127.0.0.1";   ///< of the host of rank 0
  int port = 29500;
  bool has_agent_store = false;  ///< torchrun itself listens at the address, not rank 0
  int restarts = 0;              ///< of the processes by torchrun
  std::string error_file;        ///< where torchrun expects the error message; empty: nowhere
};

/// Looks up a variable; null if it is not set.
using Environment = std::function<const char*(const char* name)>;

/// Reads what launchers put into the environment: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE (torchrun
/// and script/launch), OMPI_COMM_WORLD_RANK, … (Open MPI), PMI_RANK, … (MPICH), SLURM_PROCID, … (srun), and
/// MASTER_ADDR and MASTER_PORT, which have defaults if all processes run on one host. A process without any
/// of them is rank 0 of 1. Throws UserError, naming the variable, for values that are missing, no numbers or
/// contradictory.
Ranks read_ranks(const Environment& environment);

/// The same for the environment of this process.
Ranks read_ranks();

}  // namespace twingrad
