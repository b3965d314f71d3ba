#include "twingrad/io/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "twingrad/io/little_endian.h"
#include "twingrad/io/remedies.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kLengthSize = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;
constexpr std::uint64_t kAlignment = 8;
constexpr const char* kMetadataName = "__metadata__";

std::string list_of_types() {
  std::string list;
  for (const ElementFormat& format : kElementFormats) {
    list += list.empty() ? "" : ", ";
    list += format.name;
  }
  return list;
}

/// Builds a SafetensorsHeader from the events of the JSON parser instead of a tree. This detects duplicate
/// keys and makes deep nesting harmless: the first misplaced value ends the parsing.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  /// data_begin: offset of the elements in the file. data_size: number of bytes from there to the end.
  HeaderReader(const std::string& where, std::uint64_t data_begin, std::uint64_t data_size)
      : where_(where), data_begin_(data_begin), data_size_(data_size) {}

  SafetensorsHeader take() && { return std::move(header_); }

  bool null() override { refuse("null"); }
  bool boolean(bool value) override { refuse(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) override { refuse(std::to_string(value)); }
  bool number_float(double /*value*/, const std::string& text) override { refuse(printable(text)); }
  bool binary(Json::binary_t& /*bytes*/) override { refuse("bytes"); }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ == Place::kSize && value <= std::numeric_limits<std::int64_t>::max() &&
        tensor_.shape.size() < kMostDimensions) {
      tensor_.shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::kOffset && offsets_.size() < 2) {
      offsets_.push_back(value);
    } else {
      refuse(std::to_string(value));
    }
    return true;
  }

  bool string(std::string& text) override {
    if (place_ == Place::kMetadataText) {
      header_.metadata[metadata_key_] = text;
      place_ = Place::kMetadataKey;
    } else if (place_ == Place::kType) {
      read_type(text);
      place_ = Place::kTensorKey;
    } else {
      refuse(quoted(text));
    }
    return true;
  }

  bool start_object(std::size_t /*size*/) override {
    if (place_ == Place::kHeader) {
      place_ = Place::kName;
    } else if (place_ == Place::kMetadata) {
      place_ = Place::kMetadataKey;
    } else if (place_ == Place::kTensor) {
      place_ = Place::kTensorKey;
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(std::string& text) override {
    if (place_ == Place::kName) {
      begin_tensor(text);
    } else if (place_ == Place::kMetadataKey) {
      if (header_.metadata.contains(text)) refuse_twice(text);
      metadata_key_ = text;
      place_ = Place::kMetadataText;
    } else {
      read_tensor_key(text);
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensorKey) end_tensor();
    place_ = Place::kName;
    location_ = where_ + ": header";
    return true;
  }

  bool start_array(std::size_t /*size*/) override {
    if (place_ == Place::kShape) {
      place_ = Place::kSize;
    } else if (place_ == Place::kOffsets) {
      place_ = Place::kOffset;
    } else {
      refuse("an array");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensorKey;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const Json::exception& /*error*/) override {
    throw UserError(at_byte(where_, kLengthSize + position),
                    fmt::format("expected a header of well-formed JSON, found an error after '{}'",
                                printable(last_token)),
                    kCopyAgain);
  }

 private:
  /// What the next value or key is.
  enum class Place {
    kHeader,
    kName,
    kMetadata,
    kMetadataKey,
    kMetadataText,
    kTensor,
    kTensorKey,
    kType,
    kShape,
    kSize,
    kOffsets,
    kOffset
  };

  /// What is expected in each place.
  static constexpr std::array<std::string_view, 12> kExpected{"an object of tensors",
                                                              "a key",
                                                              "an object of strings",
                                                              "a key",
                                                              "a string",
                                                              "an object of dtype, shape and data_offsets",
                                                              "a key",
                                                              "the name of a dtype",
                                                              "an array of sizes",
                                                              "at most 64 sizes from 0 to 2^63 - 1",
                                                              "an array of two offsets",
                                                              "two offsets from 0 to 2^64 - 1"};

  static std::string quoted(std::string_view text) { return fmt::format("\"{}\"", printable(text)); }

  [[noreturn]] void refuse(std::string_view expected, const std::string& found,
                           const char* remedy = kCopyAgain) const {
    throw UserError(location_, fmt::format("expected {}, found {}", expected, found), remedy);
  }
  [[noreturn]] void refuse(const std::string& found) const {
    refuse(kExpected[static_cast<std::size_t>(place_)], found);
  }
  [[noreturn]] void refuse_twice(std::string_view key) const {
    refuse("each key once", quoted(key) + " twice");
  }

  void begin_tensor(const std::string& name) {
    if (!names_.insert(name).second) refuse_twice(name);
    const bool is_metadata = name == kMetadataName;
    location_ = fmt::format("{}: {} \"{}\"", where_, is_metadata ? "key" : "tensor", printable(name));
    place_ = is_metadata ? Place::kMetadata : Place::kTensor;
    tensor_ = {};
    tensor_.name = name;
    keys_.clear();
    offsets_.clear();
  }

  void read_tensor_key(const std::string& text) {
    if (text == "dtype") {
      place_ = Place::kType;
    } else if (text == "shape") {
      place_ = Place::kShape;
    } else if (text == "data_offsets") {
      place_ = Place::kOffsets;
    } else {
      refuse("only the keys dtype, shape and data_offsets", quoted(text));
    }
    if (!keys_.insert(text).second) refuse_twice(text);
  }

  void read_type(std::string_view name) {
    const auto format = std::find_if(kElementFormats.begin(), kElementFormats.end(),
                                     [&](const ElementFormat& known) { return known.name == name; });
    if (format == kElementFormats.end()) {
      refuse("one of the dtypes " + list_of_types(), quoted(name), "save the file again in one of these");
    }
    tensor_.type = format->type;
  }

  void end_tensor() {
    for (const std::string key : {"dtype", "shape", "data_offsets"}) {
      if (!keys_.contains(key)) refuse("the key " + quoted(key), "none");
    }
    if (offsets_.size() != 2) refuse("two data_offsets", std::to_string(offsets_.size()));
    check_size(offsets_[0], offsets_[1]);
    tensor_.strides = contiguous_strides(tensor_.shape);
    tensor_.begin = data_begin_ + offsets_[0];
    tensor_.end = data_begin_ + offsets_[1];
    header_.tensors.push_back(std::move(tensor_));
  }

  void check_size(std::uint64_t begin, std::uint64_t end) const {
    if (begin > end || end > data_size_) {
      refuse(fmt::format("ascending data_offsets within the {} bytes of data", data_size_),
             fmt::format("{} and {}", begin, end));
    }
    const std::optional<std::uint64_t> size = byte_size_of(tensor_.shape, tensor_.type);
    if (!size || *size != end - begin) {
      refuse(fmt::format("{} bytes", end - begin),
             fmt::format("the dtype {} with the shape [{}], which {}", format_of(tensor_.type).name,
                         fmt::join(tensor_.shape, ", "),
                         size ? fmt::format("takes {}", *size) : "is too large"));
    }
  }

  const std::string& where_;
  std::uint64_t data_begin_;
  std::uint64_t data_size_;
  std::string location_ = where_ + ": header";
  Place place_ = Place::kHeader;
  std::set<std::string> names_;
  std::string metadata_key_;
  StoredTensor tensor_;
  std::set<std::string> keys_;
  std::vector<std::uint64_t> offsets_;
  SafetensorsHeader header_;
};

/// The JSON of a file, after a check of its length and first byte.
std::string_view find_json(std::string_view file, const std::string& where) {
  if (file.size() < kLengthSize) {
    throw UserError(where,
                    fmt::format("expected a safetensors file, which begins with the length of its header in "
                                "8 bytes, found {} bytes",
                                file.size()),
                    kCopyAgain);
  }
  const auto length = read_little_endian<std::uint64_t>(file);
  if (length > kLongestHeader || length > file.size() - kLengthSize) {
    throw UserError(where,
                    fmt::format("expected a header of at most {} bytes, found the length {}",
                                std::min(kLongestHeader, file.size() - kLengthSize), length),
                    kCopyAgain);
  }
  const std::string_view json = file.substr(kLengthSize, length);
  if (!json.starts_with('{')) {
    throw UserError(
        at_byte(where, kLengthSize),
        fmt::format("expected a header that begins with '{{', found '{}'", printable(json.substr(0, 1))),
        kCopyAgain);
  }
  // The parser would treat a zero byte as the end and ignore the rest.
  if (const std::size_t zero = json.find('\0'); zero != std::string_view::npos) {
    throw UserError(at_byte(where, kLengthSize + zero),
                    "expected a header of well-formed JSON, found a zero byte", kCopyAgain);
  }
  return json;
}

/// Throws UserError unless the tensors follow each other from `position` to the end of the file.
void check_coverage(const std::vector<StoredTensor>& tensors, std::uint64_t position, std::uint64_t file_size,
                    const std::string& where) {
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin != position) {
      throw UserError(
          fmt::format("{}: tensor \"{}\"", where, printable(tensor.name)),
          fmt::format("expected its elements to begin at byte {}, where the previous ones end, found {}",
                      position, tensor.begin),
          kCopyAgain);
    }
    position = tensor.end;
  }
  if (position != file_size) {
    throw UserError(
        where,
        fmt::format("expected the end of the file after the last tensor, at byte {}, found {} more bytes",
                    position, file_size - position),
        kCopyAgain);
  }
}

[[noreturn]] void refuse_name(std::string_view text, const std::string& expected, const std::string& found) {
  throw UserError(fmt::format("\"{}\"", printable(text)),
                  fmt::format("expected {}, found {}", expected, found), "rename it");
}

std::string json_string(const std::string& text) {
  if (!is_utf8(text)) refuse_name(text, "UTF-8 text", "other bytes");
  return Json(text).dump();
}

std::string json_of(const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  for (const auto& [key, text] : metadata) {
    members.push_back(fmt::format("{}:{}", json_string(key), json_string(text)));
  }
  return fmt::format("\"{}\":{{{}}}", kMetadataName, fmt::join(members, ","));
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& where) {
  const std::string_view json = find_json(file, where);
  const std::uint64_t data_begin = kLengthSize + json.size();
  HeaderReader reader(where, data_begin, file.size() - data_begin);
  Json::sax_parse(json.begin(), json.end(), &reader);

  SafetensorsHeader header = std::move(reader).take();
  std::stable_sort(header.tensors.begin(), header.tensors.end(),
                   [](const StoredTensor& a, const StoredTensor& b) {
                     return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
                   });
  check_coverage(header.tensors, data_begin, file.size(), where);
  return header;
}

std::string write_safetensors_header(const SafetensorsHeader& header) {
  std::vector<std::string> members;
  if (!header.metadata.empty()) members.push_back(json_of(header.metadata));
  std::set<std::string_view> names{kMetadataName};
  std::uint64_t begin = 0;
  for (const StoredTensor& tensor : header.tensors) {
    if (!names.insert(tensor.name).second) {
      refuse_name(tensor.name, "a unique name", "another entry with this name");
    }
    const std::uint64_t end = begin + byte_size_of(tensor.shape, tensor.type).value();
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  json_string(tensor.name), format_of(tensor.type).name,
                                  fmt::join(tensor.shape, ","), begin, end));
    begin = end;
  }
  std::string json = fmt::format("{{{}}}", fmt::join(members, ","));
  json.append((kAlignment - json.size() % kAlignment) % kAlignment, ' ');
  if (json.size() > kLongestHeader) {
    throw UserError(
        "safetensors",
        fmt::format("expected a header of at most {} bytes, found {}", kLongestHeader, json.size()),
        "keep fewer tensors or less metadata in one file");
  }
  return write_little_endian<std::uint64_t>(json.size()) + json;
}

}  // namespace twingrad
