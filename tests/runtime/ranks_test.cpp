#include "twingrad/runtime/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "../support/refusal.h"

namespace twingrad::ranks_test {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Variables = std::map<std::string, std::string>;

Ranks read(const Variables& variables) {
  return read_ranks([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

/// "rank/size local_rank/local_size address:port"
std::string text(const Ranks& ranks) {
  return std::to_string(ranks.rank) + "/" + std::to_string(ranks.size) + " " +
         std::to_string(ranks.local_rank) + "/" + std::to_string(ranks.local_size) + " " + ranks.address +
         ":" + std::to_string(ranks.port);
}

TEST(Ranks, AreReadFromTheVariablesOfEachLauncher) {
  const std::map<std::string, Variables> cases = {
      {"0/1 0/1 127.0.0.1:29500", {}},
      {"1/4 1/2 10.0.0.1:1234",
       {{"RANK", "1"},
        {"WORLD_SIZE", "4"},
        {"LOCAL_RANK", "1"},
        {"LOCAL_WORLD_SIZE", "2"},
        {"MASTER_ADDR", "10.0.0.1"},
        {"MASTER_PORT", "1234"}}},
      {"1/2 0/1 a:2", {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "2"}}},
      {"2/3 2/3 127.0.0.1:7",
       {{"OMPI_COMM_WORLD_RANK", "2"},
        {"OMPI_COMM_WORLD_SIZE", "3"},
        {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE", "3"},
        {"MASTER_PORT", "7"}}},
      {"1/2 1/2 127.0.0.1:8",
       {{"PMI_RANK", "1"},
        {"PMI_SIZE", "2"},
        {"MPI_LOCALRANKID", "1"},
        {"MPI_LOCALNRANKS", "2"},
        {"MASTER_PORT", "8"}}},
      {"3/6 1/2 node01:9",
       {{"SLURM_PROCID", "3"},
        {"SLURM_STEP_NUM_TASKS", "6"},
        {"SLURM_LOCALID", "1"},
        {"SLURM_STEP_TASKS_PER_NODE", "2(x3)"},
        {"SLURM_STEP_NODELIST", "node[01-03]"},
        {"MASTER_PORT", "9"}}},
      {"0/2 0/1 a1:9",
       {{"SLURM_PROCID", "0"},
        {"SLURM_STEP_NUM_TASKS", "2"},
        {"SLURM_STEP_NODELIST", "a1,b[2-3]"},
        {"MASTER_PORT", "9"}}},
      // torchrun inside a step of srun
      {"1/2 1/2 h:5",
       {{"SLURM_PROCID", "0"},
        {"SLURM_STEP_NUM_TASKS", "1"},
        {"RANK", "1"},
        {"WORLD_SIZE", "2"},
        {"LOCAL_RANK", "1"},
        {"LOCAL_WORLD_SIZE", "2"},
        {"MASTER_ADDR", "h"},
        {"MASTER_PORT", "5"}}},
  };
  for (const auto& [expected, variables] : cases) {
    EXPECT_EQ(text(read(variables)), expected);
  }
  EXPECT_EQ(read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).size, 1) << "a batch script, outside srun";
}

TEST(Ranks, OfAJobHaveItsOwnPort) {
  Variables job = {{"OMPI_COMM_WORLD_RANK", "0"},
                   {"OMPI_COMM_WORLD_SIZE", "2"},
                   {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                   {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                   {"PMIX_NAMESPACE", "1"}};
  const int first = read(job).port;
  job["PMIX_NAMESPACE"] = "2";
  EXPECT_NE(read(job).port, first);
  for (const int port : {first, read(job).port}) {
    EXPECT_GE(port, 20000);
    EXPECT_LT(port, 30000);
  }
}

TEST(Ranks, ReadWhatTorchrunAdds) {
  Variables variables = {{"RANK", "0"},
                         {"WORLD_SIZE", "2"},
                         {"MASTER_ADDR", "h"},
                         {"MASTER_PORT", "5"},
                         {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                         {"TORCHELASTIC_RESTART_COUNT", "3"},
                         {"TORCHELASTIC_ERROR_FILE", "/tmp/error.json"}};
  const Ranks ranks = read(variables);
  EXPECT_TRUE(ranks.has_agent_store);
  EXPECT_EQ(ranks.restarts, 3);
  EXPECT_EQ(ranks.error_file, "/tmp/error.json");
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  EXPECT_FALSE(read(variables).has_agent_store);
}

TEST(Ranks, RefuseContradictions) {
  const Variables valid = {{"RANK", "1"},        {"WORLD_SIZE", "4"},  {"LOCAL_RANK", "1"},
                           {"MASTER_PORT", "5"}, {"MASTER_ADDR", "h"}, {"LOCAL_WORLD_SIZE", "2"}};
  ASSERT_EQ(text(read(valid)), "1/4 1/2 h:5");
  struct Case {
    const char* variable;
    const char* value;  ///< null: unset
    const char* where;
    const char* message;
  };
  for (const Case& wrong : std::initializer_list<Case>{
           {"RANK", "4", "RANK", "expected a number from 0 to 3, found 4"},
           {"RANK", "-1", "RANK", "expected a number from 0 to 3, found -1"},
           {"RANK", "one", "RANK", "found one"},
           {"RANK", nullptr, "RANK", "expected a number, because WORLD_SIZE is set, found none"},
           {"WORLD_SIZE", nullptr, "WORLD_SIZE", "expected a number, because RANK is set, found none"},
           {"WORLD_SIZE", "0", "WORLD_SIZE", "expected a number from 1 to 65536, found 0"},
           {"WORLD_SIZE", "4x", "WORLD_SIZE", "found 4x"},
           {"LOCAL_WORLD_SIZE", "5", "LOCAL_WORLD_SIZE", "expected a number from 1 to 4, found 5"},
           {"LOCAL_RANK", "2", "LOCAL_RANK", "expected a number from 0 to 1, found 2"},
           {"RANK", "0", "LOCAL_RANK", "expected at most RANK 0, found 1"},
           {"MASTER_PORT", "65536", "MASTER_PORT", "expected a number from 1 to 65535, found 65536"},
           {"MASTER_PORT", nullptr, "MASTER_PORT", "expected the port of rank 0, found none"},
           {"MASTER_ADDR", nullptr, "MASTER_ADDR", "expected the address of the host of rank 0, found none"},
       }) {
    Variables variables = valid;
    variables.erase(wrong.variable);
    if (wrong.value != nullptr) {
      variables[wrong.variable] = wrong.value;
    }
    EXPECT_THAT(testing::refusal_of([&] { read(variables); }),
                AllOf(StartsWith(std::string(wrong.where) + ": "), HasSubstr(wrong.message)));
  }
}

}  // namespace twingrad::ranks_test
