#include "twingrad/runtime/ranks.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// The variables of one launcher.
struct Launcher {
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
};

constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    // Only srun sets the number of tasks of a step. A batch script has a SLURM_PROCID too.
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"},
};

constexpr int kMaxPort = 65535;

std::string text_of(const Environment& environment, const char* name) {
  const char* text = environment(name);
  return text == nullptr ? "" : text;
}

[[noreturn]] void refuse(const char* name, const std::string& expected, const std::string& found) {
  throw UserError(name,
                  fmt::format("expected {}, found {}", expected, found.empty() ? "none" : printable(found)),
                  "start the processes with script/launch, mpirun, srun or torchrun, or unset the variable");
}

/// A number from `least` to `most`; `otherwise` if the variable is not set.
int number_of(const Environment& environment, const char* name, int least, int most, int otherwise) {
  std::string text = text_of(environment, name);
  if (text.empty()) {
    return otherwise;
  }
  const std::string given = text;
  if (std::string_view(name) == "SLURM_STEP_TASKS_PER_NODE") {  // "2(x3),1"
    text = text.substr(0, text.find_first_of("(,"));
  }
  char* end = nullptr;
  const long number = std::strtol(text.c_str(), &end, 10);
  if (*end != '\0' || number < least || number > most) {
    refuse(name, fmt::format("a number from {} to {}", least, most), given);
  }
  return static_cast<int>(number);
}

/// The first host of a list such as "node[01-04,07]" or "a,b".
std::string first_host(const std::string& hosts) {
  const std::size_t bracket = hosts.find('[');
  if (bracket == hosts.npos || hosts.find(',') < bracket) {
    return hosts.substr(0, hosts.find(','));
  }
  const std::size_t end = hosts.find_first_of("-,]", bracket);
  return hosts.substr(0, bracket) + hosts.substr(bracket + 1, end - bracket - 1);
}

/// A port that depends on the job, because several may run on one host.
int port_of_job(const Environment& environment) {
  std::uint32_t hash = 2166136261;  // FNV-1a
  for (const char* name : {"PMIX_NAMESPACE", "SLURM_JOB_ID", "SLURM_STEP_ID"}) {
    for (const char c : text_of(environment, name)) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
    }
  }
  return 20000 + static_cast<int>(hash % 10000);  // below the ports that Linux gives to clients
}

void read_address(const Environment& environment, bool by_torchrun, Ranks& ranks) {
  const std::string address = text_of(environment, "MASTER_ADDR");
  const std::string hosts = text_of(environment, "SLURM_STEP_NODELIST");
  const bool is_one_host = ranks.local_size == ranks.size;
  if (!address.empty()) {
    ranks.address = address;
  } else if (!is_one_host && !by_torchrun && !hosts.empty()) {
    ranks.address = first_host(hosts);
  } else if (!is_one_host) {
    refuse("MASTER_ADDR", "the address of the host of rank 0", "");
  }
  ranks.port = number_of(environment, "MASTER_PORT", 1, kMaxPort, by_torchrun ? 0 : port_of_job(environment));
  if (ranks.port == 0) {
    refuse("MASTER_PORT", "the port of rank 0", "");
  }
}

}  // namespace

Ranks read_ranks(const Environment& environment) {
  Ranks ranks;
  for (const Launcher& launcher : kLaunchers) {
    const bool is_srun = std::string_view(launcher.rank) == "SLURM_PROCID";
    const bool has_rank = !text_of(environment, launcher.rank).empty();
    const bool has_size = !text_of(environment, launcher.size).empty();
    if (!(has_rank && has_size)) {
      if (has_rank != has_size && !is_srun) {
        const auto [given, missing] =
            has_rank ? std::pair(launcher.rank, launcher.size) : std::pair(launcher.size, launcher.rank);
        refuse(missing, fmt::format("a number, because {} is set", given), "");
      }
      continue;
    }
    ranks.size = number_of(environment, launcher.size, 1, kMaxRanks, 0);
    ranks.rank = number_of(environment, launcher.rank, 0, ranks.size - 1, 0);
    ranks.local_size = number_of(environment, launcher.local_size, 1, ranks.size, 1);
    ranks.local_rank = number_of(environment, launcher.local_rank, 0, ranks.local_size - 1, 0);
    if (ranks.local_rank > ranks.rank) {
      refuse(launcher.local_rank, fmt::format("at most {} {}", launcher.rank, ranks.rank),
             fmt::format("{}", ranks.local_rank));
    }
    const bool by_torchrun = &launcher == &kLaunchers[0];
    if (ranks.size > 1) {
      read_address(environment, by_torchrun, ranks);
    }
    if (by_torchrun) {
      ranks.has_agent_store = text_of(environment, "TORCHELASTIC_USE_AGENT_STORE") == "True";
      ranks.restarts = number_of(environment, "TORCHELASTIC_RESTART_COUNT", 0, 1'000'000, 0);
      ranks.error_file = text_of(environment, "TORCHELASTIC_ERROR_FILE");
    }
    return ranks;
  }
  return ranks;
}

Ranks read_ranks() {
  return read_ranks([](const char* name) { return std::getenv(name); });
}

}  // namespace twingrad
