#include "twingrad/training/checkpoint_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <new>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kVersion = 1;
constexpr std::uint64_t kLargestCount = 10'000'000'000'000;
constexpr std::size_t kDeepest = 64;
constexpr std::size_t kDigestSize = 64;
constexpr const char* kContinueFromBefore = "continue from the one before it";

/// What stands before the checksum. In a text its quotes would be escaped.
constexpr std::string_view kBeforeDigest = R"("twingrad.sha256":")";

// ---- Writing -------------------------------------------------------------------------------------------

/// JSON has no number that is not finite.
Json to_json(double number) { return std::isfinite(number) ? Json(number) : Json(fmt::format("{}", number)); }

Json to_json(const std::map<std::string, double>& numbers) {
  Json json = Json::object();
  for (const auto& [name, number] : numbers) json[name] = to_json(number);
  return json;
}

Json to_json(const Tally& tally) {
  return {{"loss_sum", to_json(tally.loss_sum)},
          {"correct", tally.correct},
          {"samples", tally.samples},
          {"seconds", to_json(tally.seconds)}};
}

Json to_json(const EpochMetrics& metrics) {
  return {{"epoch", metrics.epoch},
          {"twin", metrics.twin},
          {"train_loss", to_json(metrics.train_loss)},
          {"train_accuracy", to_json(metrics.train_accuracy)},
          {"test_loss", to_json(metrics.test_loss)},
          {"test_accuracy", to_json(metrics.test_accuracy)},
          {"seconds", to_json(metrics.seconds)},
          {"samples_per_second", to_json(metrics.samples_per_second)}};
}

Json to_json(const Agreement& agreement) {
  return {{"epoch", agreement.epoch},
          {"step", agreement.step},
          {"max_abs_gradient_difference", to_json(agreement.max_abs_gradient_difference)},
          {"max_rel_gradient_difference", to_json(agreement.max_rel_gradient_difference)},
          {"max_abs_weight_difference", to_json(agreement.max_abs_weight_difference)},
          {"worst", agreement.worst},
          {"autograd_loss", to_json(agreement.autograd_loss)},
          {"manual_loss", to_json(agreement.manual_loss)},
          {"loss_difference", to_json(agreement.loss_difference)},
          {"flips", agreement.flips}};
}

template <typename Part>
Json to_json(const std::vector<Part>& parts) {
  Json json = Json::array();
  for (const Part& part : parts) json.push_back(to_json(part));
  return json;
}

Json to_json(const TrainingProgress& progress) {
  return {{"epoch", progress.epoch},
          {"samples_done", progress.samples_done},
          {"steps", progress.result.steps},
          {"tallies", to_json(progress.tallies)},
          {"agreement", to_json(progress.agreement)},
          {"last", to_json(progress.result.last)},
          {"seconds", to_json(progress.result.seconds)},
          {"agreements", to_json(progress.result.agreements)}};
}

std::string dump(const Json& json) {
  try {
    return json.dump();
  } catch (const Json::type_error&) {
    throw UserError("the checkpoint", "expected names of UTF-8, found other bytes",
                    "rename the files that the options name");
  }
}

// ---- Reading -------------------------------------------------------------------------------------------

/// What the text of a checkpoint cannot be. It ends as one message for all.
[[noreturn]] void refuse(const char* what) { throw std::invalid_argument(what); }

/// Looks through JSON before a tree is made of it: deep nesting would be recursion in whatever walks through
/// the tree, and of two equal keys only one would be in it.
class Inspector final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(std::int64_t /*value*/) override { return true; }
  bool number_unsigned(std::uint64_t /*value*/) override { return true; }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return true; }
  bool string(std::string& /*text*/) override { return true; }
  bool binary(Json::binary_t& /*bytes*/) override { return true; }
  bool start_object(std::size_t /*size*/) override { return enter(); }
  bool start_array(std::size_t /*size*/) override { return enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(std::string& text) override { return keys_.back().insert(text).second; }
  bool parse_error(std::size_t /*position*/, const std::string& /*last_token*/,
                   const Json::exception& /*error*/) override {
    return false;
  }

 private:
  bool enter() {
    keys_.emplace_back();
    return keys_.size() <= kDeepest;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  ///< of what is open; none of an array
};

Json parse_json(std::string_view text) {
  Inspector inspector;
  // The parser takes a zero byte for the end, and would not see what follows.
  if (text.find('\0') != std::string_view::npos || !Json::sax_parse(text.begin(), text.end(), &inspector)) {
    refuse("JSON");
  }
  return Json::parse(text.begin(), text.end());
}

std::int64_t count_of(const Json& json) {
  if (!json.is_number_unsigned() || json.get<std::uint64_t>() > kLargestCount) refuse("count");
  return json.get<std::int64_t>();
}

std::int64_t count_of(const std::string& text) {
  std::uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || rest != end || count > kLargestCount) refuse("count");
  return static_cast<std::int64_t>(count);
}

double number_of(const Json& json) {
  if (json.is_number()) return json.get<double>();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const double number : {kInfinity, -kInfinity, kNaN, std::copysign(kNaN, -1.0)}) {
    if (json == to_json(number)) return number;
  }
  refuse("number");
}

std::string text_of(const Json& json) { return json.get<std::string>(); }

/// by: what makes a value of each member.
template <typename Value>
std::map<std::string, Value> members_of(const Json& json, Value (*by)(const Json&)) {
  if (!json.is_object()) refuse("object");
  std::map<std::string, Value> members;
  for (const auto& [name, value] : json.items()) members[name] = by(value);
  return members;
}

template <typename Element>
std::vector<Element> elements_of(const Json& json, Element (*by)(const Json&)) {
  if (!json.is_array()) refuse("array");
  std::vector<Element> elements;
  for (const Json& element : json) elements.push_back(by(element));
  return elements;
}

Tally tally_of(const Json& json) {
  return {.loss_sum = number_of(json.at("loss_sum")),
          .correct = count_of(json.at("correct")),
          .samples = count_of(json.at("samples")),
          .seconds = number_of(json.at("seconds"))};
}

EpochMetrics metrics_of(const Json& json) {
  return {.epoch = count_of(json.at("epoch")),
          .twin = text_of(json.at("twin")),
          .train_loss = number_of(json.at("train_loss")),
          .train_accuracy = number_of(json.at("train_accuracy")),
          .test_loss = number_of(json.at("test_loss")),
          .test_accuracy = number_of(json.at("test_accuracy")),
          .seconds = number_of(json.at("seconds")),
          .samples_per_second = number_of(json.at("samples_per_second"))};
}

Agreement agreement_of(const Json& json) {
  return {.epoch = count_of(json.at("epoch")),
          .step = count_of(json.at("step")),
          .max_abs_gradient_difference = number_of(json.at("max_abs_gradient_difference")),
          .max_rel_gradient_difference = number_of(json.at("max_rel_gradient_difference")),
          .max_abs_weight_difference = number_of(json.at("max_abs_weight_difference")),
          .worst = text_of(json.at("worst")),
          .autograd_loss = number_of(json.at("autograd_loss")),
          .manual_loss = number_of(json.at("manual_loss")),
          .loss_difference = number_of(json.at("loss_difference")),
          .flips = members_of<std::int64_t>(json.at("flips"), count_of)};
}

TrainingProgress progress_of(const Json& json) {
  TrainingProgress progress;
  progress.epoch = count_of(json.at("epoch"));
  progress.samples_done = count_of(json.at("samples_done"));
  progress.tallies = elements_of(json.at("tallies"), tally_of);
  progress.agreement = agreement_of(json.at("agreement"));
  TrainingResult& result = progress.result;
  result.steps = count_of(json.at("steps"));
  result.last = elements_of(json.at("last"), metrics_of);
  result.seconds = members_of(json.at("seconds"), number_of);
  result.agreements = elements_of(json.at("agreements"), agreement_of);
  for (const EpochMetrics& metrics : result.last) {
    if (!result.seconds.contains(metrics.twin)) refuse("seconds");
  }
  const bool has_both = result.seconds.contains("autograd") && result.seconds.contains("manual");
  if (result.agreements.size() > 1 && !has_both) refuse("seconds");
  return progress;
}

// ---- The checksum --------------------------------------------------------------------------------------

/// Where the checksum stands in a file that write_safetensors_header wrote.
std::size_t find_digest(std::string_view content) {
  const std::size_t before = content.find(kBeforeDigest);
  return before == std::string_view::npos || content.size() - before < kBeforeDigest.size() + kDigestSize
             ? std::string_view::npos
             : before + kBeforeDigest.size();
}

/// Of the content with zeros in this place.
std::string digest_of(std::string_view content, std::size_t place) {
  Sha256 sha256;
  const std::string zeros(kDigestSize, '0');
  for (const std::string_view part :
       {content.substr(0, place), std::string_view(zeros), content.substr(place + kDigestSize)}) {
    sha256.update(part);
  }
  return sha256.hex_digest();
}

bool is_digest_of(std::string_view content, const std::string& digest) {
  const std::size_t place = find_digest(content);
  return place != std::string_view::npos && content.substr(place, kDigestSize) == digest &&
         digest_of(content, place) == digest;
}

}  // namespace

std::map<std::string, std::string> metadata_of(const CheckpointText& text) {
  return {{"twingrad.checkpoint", std::to_string(kVersion)},
          {"twingrad.metrics_size", std::to_string(text.metrics_size)},
          {"twingrad.progress", dump(to_json(text.progress))},
          {"twingrad.run", dump(text.run)},
          {"twingrad.sha256", std::string(kDigestSize, '0')}};
}

std::string with_checksum(std::string content) {
  const std::size_t place = find_digest(content);
  if (place == std::string::npos) throw std::invalid_argument("with_checksum: there is no place for one");
  content.replace(place, kDigestSize, digest_of(content, place));
  return content;
}

CheckpointText parse_checkpoint_text(const std::map<std::string, std::string>& metadata,
                                     std::string_view content, const std::string& where) {
  const auto text = [&](const char* name) -> const std::string& {
    const auto found = metadata.find(std::string("twingrad.") + name);
    if (found == metadata.end()) {
      throw UserError(where, fmt::format("expected a checkpoint of twingrad, found no '{}' in it", name),
                      "name the folder of a run");
    }
    return found->second;
  };
  if (text("checkpoint") != std::to_string(kVersion)) {
    throw UserError(where, fmt::format("expected a checkpoint of version {}, found another", kVersion),
                    "continue with the release of twingrad that began the run");
  }
  if (!is_digest_of(content, text("sha256"))) {
    throw UserError(where, "expected a whole checkpoint, found one whose checksum is wrong",
                    kContinueFromBefore);
  }
  const std::string& progress = text("progress");
  const std::string& metrics_size = text("metrics_size");
  const std::string& run = text("run");
  try {
    return {.progress = progress_of(parse_json(progress)),
            .metrics_size = count_of(metrics_size),
            .run = parse_json(run)};
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {  // of JSON, or of what it may not be
    throw UserError(where, "expected the progress of a run, found something else", kContinueFromBefore);
  }
}

}  // namespace twingrad
