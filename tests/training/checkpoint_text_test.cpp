#include "twingrad/training/checkpoint_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>

#include "../support/refusal.h"
#include "twingrad/io/safetensors_header.h"

namespace twingrad {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;
using Metadata = std::map<std::string, std::string>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const std::string kZeros(64, '0');

/// A run in the middle of its third epoch, with a value for every member.
CheckpointText some_text() {
  TrainingProgress progress;
  progress.epoch = 3;
  progress.samples_done = 64;
  progress.tallies = {{12.5, 40, 64, 0.25}};
  const Agreement agreement = {3,     8, 1e-9, kInfinity, kNaN,      1e-8, "0.weight",
                               -kNaN, 9, 64,   2,         "differs", 0.1,  -0.0};
  progress.result = {.last = {{2, "autograd", 0.5, 0.75, 0.625, 0.875, 1.5, -kInfinity}},
                     .seconds = {{"autograd", 3}, {"manual", kInfinity}},
                     .agreements = {{}, agreement},
                     .steps = 9};
  return {progress, 640, {{"options", {"--hidden=16"}}}};
}

std::string file_of(const Metadata& metadata) {
  return with_checksum(write_safetensors_header({{}, metadata}));
}

CheckpointText parse(const std::string& file) {
  return parse_checkpoint_text(parse_safetensors_header(file, "file").metadata, file, "file");
}

std::string refusal(const std::string& file) {
  return testing::refusal_of([&] { parse(file); });
}

/// A file with a valid checksum in which one text was replaced.
std::string file_with(const std::string& name, const std::string& text) {
  Metadata metadata = metadata_of(some_text());
  metadata.at("twingrad." + name) = text;
  return file_of(metadata);
}

/// A file with a valid checksum whose progress was changed.
std::string file_with_progress(const std::function<void(Json&)>& change) {
  Json progress = Json::parse(metadata_of(some_text()).at("twingrad.progress"));
  change(progress);
  return file_with("progress", progress.dump());
}

void expect_invalid(const std::string& file) {
  EXPECT_EQ(
      refusal(file),
      "file: expected the progress of a run, found something else; resume from the previous checkpoint");
}

// ---- Reading -------------------------------------------------------------------------------------------

TEST(CheckpointText, RoundTrips) {
  const CheckpointText read = parse(file_of(metadata_of(some_text())));
  EXPECT_EQ(metadata_of(read), metadata_of(some_text()));
  EXPECT_EQ(read.metrics_size, 640);
  EXPECT_EQ(read.run, some_text().run);
  EXPECT_EQ(read.progress.epoch, 3);
  EXPECT_EQ(read.progress.samples_done, 64);
  EXPECT_EQ(read.progress.result.steps, 9);
  EXPECT_EQ(read.progress.tallies.at(0).correct, 40);
  EXPECT_EQ(read.progress.result.last.at(0).twin, "autograd");
  EXPECT_EQ(read.progress.result.agreements.at(1).rows_set_aside, 2);
  EXPECT_EQ(read.progress.result.agreements.at(1).verdict, "differs");
}

TEST(CheckpointText, KeepsNonFiniteNumbers) {
  const TrainingProgress read = parse(file_of(metadata_of(some_text()))).progress;
  const Agreement& agreement = read.result.agreements.at(1);
  EXPECT_EQ(agreement.max_rel_gradient_difference, kInfinity);
  EXPECT_EQ(read.result.last.at(0).samples_per_second, -kInfinity);
  EXPECT_EQ(read.result.seconds.at("manual"), kInfinity);
  EXPECT_TRUE(std::isnan(agreement.max_abs_weight_difference));
  EXPECT_FALSE(std::signbit(agreement.max_abs_weight_difference));
  EXPECT_TRUE(std::isnan(agreement.bound));
  EXPECT_TRUE(std::signbit(agreement.bound));
  EXPECT_TRUE(std::signbit(agreement.manual_loss)) << "-0";
}

TEST(CheckpointText, RefusesOtherVersions) {
  EXPECT_THAT(refusal(file_with("checkpoint", "2")), HasSubstr("expected a checkpoint of version 1"));
}

TEST(CheckpointText, RequiresEveryPart) {
  for (const auto& [name, text] : metadata_of(some_text())) {
    Metadata metadata = metadata_of(some_text());
    metadata.erase(name);
    const std::string file = write_safetensors_header({{}, metadata});
    EXPECT_THAT(refusal(name == "twingrad.sha256" ? file : with_checksum(file)),
                HasSubstr("found no '" + name.substr(9) + "' in it"));
  }
}

// ---- The checksum --------------------------------------------------------------------------------------

TEST(CheckpointText, ChecksumDetectsAnyChangedBit) {
  const std::string file = file_of(metadata_of(some_text()));
  for (std::size_t i = 0; i < file.size(); ++i) {
    for (const int bit : {0x01, 0x04, 0x20}) {
      std::string damaged = file;
      damaged[i] = static_cast<char>(damaged[i] ^ bit);
      EXPECT_THAT(refusal(damaged), StartsWith("file")) << "byte " << i << " ^ " << bit;
    }
  }
}

TEST(CheckpointText, MayContainTextLikeAChecksum) {
  CheckpointText text = some_text();
  text.run = {{"images", kZeros}, {"\"twingrad.sha256\":\"" + kZeros + "\"", kZeros}};
  const std::string file = file_of(metadata_of(text));
  EXPECT_EQ(parse(file).run, text.run);
}

TEST(CheckpointText, RequiresAChecksumOf64Digits) {
  const std::string wrong = "expected an undamaged checkpoint, found one with a wrong checksum";
  for (const std::string& digits : {std::string(), std::string("0"), kZeros.substr(1), kZeros + "0"}) {
    Metadata metadata = metadata_of(some_text());
    metadata.at("twingrad.sha256") = digits;
    EXPECT_THAT(refusal(write_safetensors_header({{}, metadata})), HasSubstr(wrong)) << digits;
  }
  EXPECT_THAT(refusal(write_safetensors_header({{}, metadata_of(some_text())})), HasSubstr(wrong));
}

TEST(CheckpointText, RequiresAPlaceForTheChecksum) {
  EXPECT_THROW(with_checksum(""), std::invalid_argument);
  EXPECT_THROW(with_checksum(R"("twingrad.sha256":")"), std::invalid_argument);
}

// ---- Invalid progress ----------------------------------------------------------------------------------

TEST(CheckpointText, RefusesCountsOutOfRangeAndOtherNumbers) {
  const std::vector<Json> wrong = {-1,
                                   10'000'000'000'001,
                                   std::numeric_limits<std::uint64_t>::max(),
                                   1e300,
                                   -1e300,
                                   1.0,
                                   "1",
                                   true,
                                   nullptr,
                                   kZeros,
                                   Json::array({1}),
                                   Json::object()};
  for (const char* place : {"/epoch", "/samples_done", "/steps", "/tallies/0/correct", "/tallies/0/samples",
                            "/agreements/1/epoch", "/agreements/1/tensors", "/agreements/1/rows_set_aside",
                            "/last/0/epoch", "/agreements/0/step"}) {
    for (const Json& value : wrong) {
      SCOPED_TRACE(place + value.dump());
      expect_invalid(file_with_progress([&](Json& json) { json.at(Json::json_pointer(place)) = value; }));
    }
  }
  const std::string largest =
      file_with_progress([](Json& json) { json.at("steps") = std::int64_t{10'000'000'000'000}; });
  EXPECT_EQ(parse(largest).progress.result.steps, 10'000'000'000'000);
}

TEST(CheckpointText, RefusesInvalidSizesOfMetrics) {
  for (const char* text : {"", "12abc", "abc", " 12", "12 ", "+12", "-1", "1e3", "1.5", "0x10",
                           "10000000000001", "99999999999999999999999999"}) {
    SCOPED_TRACE(text);
    expect_invalid(file_with("metrics_size", text));
  }
  EXPECT_EQ(parse(file_with("metrics_size", "0")).metrics_size, 0);
}

TEST(CheckpointText, RefusesOtherTextsForNumbers) {
  for (const Json& value : {Json("infinity"), Json("+inf"), Json("NaN"), Json("banana"), Json(""), Json("1"),
                            Json(true), Json(nullptr), Json::array(), Json::object()}) {
    for (const char* place : {"/tallies/0/loss_sum", "/tallies/0/seconds", "/seconds/autograd",
                              "/agreements/1/manual_loss", "/last/0/test_loss"}) {
      SCOPED_TRACE(place + value.dump());
      expect_invalid(file_with_progress([&](Json& json) { json.at(Json::json_pointer(place)) = value; }));
    }
  }
}

TEST(CheckpointText, RefusesOtherTypes) {
  for (const char* place : {"/tallies", "/agreements/1/worst", "/agreements/1/verdict", "/last",
                            "/last/0/twin", "/seconds", "/agreements", "/agreements/0", ""}) {
    for (const Json& value :
         {Json(nullptr), Json(1), Json(true), Json({{"a", {{"b", 1}}}}), Json({{1, 2}})}) {
      SCOPED_TRACE(place + value.dump());
      expect_invalid(file_with_progress([&](Json& json) { json.at(Json::json_pointer(place)) = value; }));
    }
  }
}

TEST(CheckpointText, RequiresTheSecondsOfEachTwin) {
  expect_invalid(file_with_progress([](Json& json) { json.at("/last/0/twin"_json_pointer) = "third"; }));
  expect_invalid(file_with_progress([](Json& json) { json.at("seconds").erase("manual"); }));
}

// ---- Invalid JSON --------------------------------------------------------------------------------------

TEST(CheckpointText, RefusesDeepNesting) {
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair("{\"a\":", "}")}) {
    const auto nested = [&, open = open, close = close](std::size_t depth) {
      std::string text = "1";
      std::string begin, end;
      for (std::size_t i = 0; i < depth; ++i) {
        begin += open;
        end += close;
      }
      return begin + text + end;
    };
    EXPECT_EQ(parse(file_with("run", nested(64))).run.dump(), nested(64));
    for (const std::size_t depth : {65, 100'000}) {
      expect_invalid(file_with("run", nested(depth)));
      expect_invalid(file_with("progress", nested(depth)));
    }
  }
  expect_invalid(file_with("run", std::string(100'000, '[')));
}

TEST(CheckpointText, RefusesDuplicateKeys) {
  expect_invalid(file_with("run", R"({"a":1,"a":1})"));
  expect_invalid(file_with("run", R"([{"b":{"a":1,"\u0061":2}}])"));
  EXPECT_EQ(parse(file_with("run", R"([{"a":{"a":1}},{"a":1}])")).run.size(), 2U);
  const std::string progress = metadata_of(some_text()).at("twingrad.progress");
  expect_invalid(file_with("progress", R"({"epoch":1,)" + progress.substr(1)));
}

TEST(CheckpointText, RefusesInvalidJson) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("{}x"), std::string("1e400"),
                                  std::string("{}\0x", 4), std::string("\"\\ud800\"")}) {
    SCOPED_TRACE(::testing::PrintToString(text));
    expect_invalid(file_with("run", text));
  }
}

TEST(CheckpointText, RefusesToWriteInvalidUtf8) {
  CheckpointText text = some_text();
  text.run = {{"options", {"--dataset=caf\xe9"}}};
  EXPECT_THAT(testing::refusal_of([&] { metadata_of(text); }),
              AllOf(HasSubstr("expected names in UTF-8"), Not(HasSubstr("\n"))));
}

}  // namespace
}  // namespace twingrad
