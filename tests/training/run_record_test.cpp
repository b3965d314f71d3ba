#include "twingrad/training/run_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "../support/refusal.h"

namespace twingrad {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

RunRecord some_record() {
  return {.options = {"--hidden=16", "--quiet"},
          .settings = {{"recipe", "mine"}, {"seed", 1}},
          .initial_weights = "w.pt",
          .threads = {.autograd = {.aten = 1, .blas = 2}, .manual = {.aten = 3, .blas = 4}, .workers = 1024}};
}

/// The error for a record with another value at this place.
std::string refusal_with(const std::string& place, const Json& value) {
  Json json = to_json(some_record());
  json.at(Json::json_pointer(place)) = value;
  return testing::refusal_of([&] { run_record_of(json, "step-1"); });
}

TEST(RunRecord, RoundTrips) {
  const RunRecord read = run_record_of(to_json(some_record()), "step-1");
  EXPECT_EQ(read.options, some_record().options);
  EXPECT_EQ(read.settings, some_record().settings);
  EXPECT_EQ(read.initial_weights, "w.pt");
  EXPECT_EQ(read.threads.autograd, some_record().threads.autograd);
  EXPECT_EQ(read.threads.manual, some_record().threads.manual);
  EXPECT_EQ(read.threads.workers, 1024);
}

TEST(RunRecord, RequiresEveryPart) {
  for (const char* part : {"lasting", "settings", "initial_weights", "threads"}) {
    Json json = to_json(some_record());
    json.erase(part);
    EXPECT_THAT(testing::refusal_of([&] { run_record_of(json, "step-1"); }),
                AllOf(StartsWith("step-1: expected "), HasSubstr(std::string("\"") + part + "\""),
                      Not(HasSubstr("json.exception"))));
  }
  for (const Json& json : {Json(), Json(1), Json("text"), Json::array(), Json::object()}) {
    EXPECT_THAT(testing::refusal_of([&] { run_record_of(json, "step-1"); }), StartsWith("step-1: expected "));
  }
}

TEST(RunRecord, RefusesOtherTypes) {
  for (const Json& value : {Json(), Json(true), Json(1), Json("text"), Json({1, 2}), Json({{"aten", 1}})}) {
    for (const char* place : {"/lasting", "/settings", "/threads", "/threads/autograd", "/threads/manual"}) {
      EXPECT_THAT(refusal_with(place, value), StartsWith("step-1: expected ")) << place << value;
    }
  }
  EXPECT_THAT(refusal_with("/lasting/1", 1), StartsWith("step-1: expected "));
  EXPECT_THAT(refusal_with("/settings/recipe", 1), StartsWith("step-1: expected "));
  EXPECT_THAT(refusal_with("/initial_weights", 1), StartsWith("step-1: expected "));
}

TEST(RunRecord, Allows1To1024Threads) {
  for (const char* place : {"/threads/autograd/aten", "/threads/autograd/blas", "/threads/manual/aten",
                            "/threads/manual/blas", "/threads/manual/workers"}) {
    for (const Json& value :
         {Json(0), Json(-1), Json(1025), Json(std::uint64_t{1} << 32 | 1U), Json(1.0), Json(1e300), Json("1"),
          Json(true), Json(), Json(std::numeric_limits<std::uint64_t>::max())}) {
      EXPECT_EQ(refusal_with(place, value),
                "step-1: expected from 1 to 1024 threads of the run under \"threads\", found something else; "
                "start a new run")
          << place << value;
    }
    EXPECT_EQ(refusal_with(place, 1024), "(it was accepted)");
  }
}

TEST(RunRecord, RefusesToWriteInvalidUtf8) {
  RunRecord record = some_record();
  record.options.push_back("--dataset=caf\xe9");
  EXPECT_THAT(testing::refusal_of([&] { to_json(record); }), StartsWith("\"--dataset=caf\\xe9\": expected "));
  record = some_record();
  record.settings = {{"recipe", "caf\xe9"}};
  EXPECT_THAT(testing::refusal_of([&] { to_json(record); }), StartsWith("\"caf\\xe9\": expected "));
}

}  // namespace
}  // namespace twingrad
