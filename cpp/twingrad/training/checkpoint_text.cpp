#include "twingrad/training/checkpoint_text.h"

#include <fmt/format.h>

#include <charconv>
#include <new>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/sha256.h"
#include "twingrad/training/progress_json.h"

namespace twingrad {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kVersion = 1;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kDigestSize = 64;
constexpr const char* kUsePrevious = "resume from the previous checkpoint";

/// The text before the checksum. In a JSON string its quotes would be escaped, so it occurs only once.
constexpr std::string_view kBeforeDigest = R"("twingrad.sha256":")";

std::string dump(const auto& json) {
  try {
    return json.dump();
  } catch (const Json::type_error&) {
    throw UserError("the checkpoint", "expected names in UTF-8, found other bytes",
                    "rename the files that the options name");
  }
}

/// Checks JSON before it becomes a tree: deep nesting would overflow the stack of recursive functions, and of
/// two equal keys the tree would hold only one.
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
    return keys_.size() <= kMaxDepth;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  ///< of each open object; empty for an array
};

Json parse_json(std::string_view text) {
  Inspector inspector;
  // The parser would stop at a zero byte and ignore the rest.
  if (text.find('\0') != std::string_view::npos || !Json::sax_parse(text.begin(), text.end(), &inspector)) {
    throw std::invalid_argument("JSON");
  }
  return Json::parse(text.begin(), text.end());
}

std::int64_t count_of(const std::string& text) {
  std::uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || rest != end || count > kMaxCount) {
    throw std::invalid_argument("count");
  }
  return static_cast<std::int64_t>(count);
}

// ---- The checksum --------------------------------------------------------------------------------------

/// The offset of the checksum in a file written by write_safetensors_header; npos if it has none.
std::size_t find_digest(std::string_view content) {
  const std::size_t before = content.find(kBeforeDigest);
  return before == std::string_view::npos || content.size() - before < kBeforeDigest.size() + kDigestSize
             ? std::string_view::npos
             : before + kBeforeDigest.size();
}

/// The checksum of the content with zeros at this place.
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
  if (place == std::string::npos)
    throw std::invalid_argument("with_checksum: the content has no place for a checksum");
  content.replace(place, kDigestSize, digest_of(content, place));
  return content;
}

CheckpointText parse_checkpoint_text(const std::map<std::string, std::string>& metadata,
                                     std::string_view content, const std::string& where) {
  const auto text = [&](const char* name) -> const std::string& {
    const auto found = metadata.find(std::string("twingrad.") + name);
    if (found == metadata.end()) {
      throw UserError(where, fmt::format("expected a checkpoint of twingrad, found no '{}' in it", name),
                      "pass the directory of a run");
    }
    return found->second;
  };
  if (text("checkpoint") != std::to_string(kVersion)) {
    throw UserError(where, fmt::format("expected a checkpoint of version {}, found another", kVersion),
                    "resume with the release of twingrad that started the run");
  }
  if (!is_digest_of(content, text("sha256"))) {
    throw UserError(where, "expected an undamaged checkpoint, found one with a wrong checksum", kUsePrevious);
  }
  const std::string& progress = text("progress");
  const std::string& metrics_size = text("metrics_size");
  const std::string& run = text("run");
  try {
    return {.progress = progress_from_json(parse_json(progress)),
            .metrics_size = count_of(metrics_size),
            .run = parse_json(run)};
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    throw UserError(where, "expected the progress of a run, found something else", kUsePrevious);
  }
}

}  // namespace twingrad
