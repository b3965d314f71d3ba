#include "twingrad/io/tensor_pickle.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "twingrad/io/little_endian.h"
#include "twingrad/io/remedies.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

constexpr std::size_t kLargestPickle = 4U << 20;
constexpr int kMostNestedDicts = 8;
constexpr std::size_t kMostNestedModules = 64;
constexpr std::size_t kMostAttributes = 100'000;
constexpr std::size_t kLongestNameInModule = 256;
/// Where training programs store the state dict in a checkpoint.
constexpr std::array<std::string_view, 3> kStateDictKeys{"model_state_dict", "state_dict", "model"};

/// Finds the named tensors in the result of a pickle.
class NamedTensorFinder {
 public:
  /// end: offset of the end of the pickle, for messages.
  NamedTensorFinder(const Pickle& pickle, const std::string& where, std::uint64_t end)
      : pickle_(pickle), where_(at_byte(where, end)) {}

  std::vector<PickledTensor> find() && {
    const Pickle::Value& result = pickle_.values[pickle_.result];
    switch (result.kind) {
      case Kind::kDict:
        add_dict(state_dict_in(pickle_.result));
        break;
      case Kind::kModule:
        add_module(pickle_.result, "", 0);
        break;
      case Kind::kTuple:
      case Kind::kList:
        add_pairs(result.items);
        break;
      default:
        refuse("a dict of tensors, or a tuple of (name, tensor)", std::string(describe(result.kind)));
    }
    return std::move(tensors_);
  }

 private:
  using Handle = Pickle::Handle;
  using Kind = Pickle::Kind;

  [[noreturn]] void refuse(const std::string& expected, const std::string& found,
                           const std::string& remedy = kSaveStateDict) const {
    throw UserError(where_, fmt::format("expected {}, found {}", expected, found), remedy);
  }

  const Pickle::Value& value_of(Handle handle) const { return pickle_.values[handle]; }
  bool is(Handle handle, Kind kind) const { return value_of(handle).kind == kind; }

  const Pickle::Value& require(Handle handle, Kind kind, const char* role) const {
    if (!is(handle, kind)) {
      refuse(fmt::format("{} as {}", describe(kind), role), std::string(describe(value_of(handle).kind)));
    }
    return value_of(handle);
  }

  /// Whether each value of a dict satisfies the condition.
  template <typename Condition>
  bool all_values(const Pickle::Value& dict, const Condition& condition) const {
    for (std::size_t i = 0; i < dict.items.size(); i += 2) {
      if (!condition(dict.items[i + 1])) return false;
    }
    return true;
  }

  bool is_tensor(Handle handle) const { return is(handle, Kind::kTensor); }
  /// Whether the value is a dict of tensors, at least one of which has dimensions.
  bool is_state_dict(Handle handle) const {
    return is(handle, Kind::kDict) &&
           all_values(value_of(handle), [this](Handle item) { return is_tensor(item); }) &&
           !all_values(value_of(handle), [this](Handle item) { return !is_array(item); });
  }
  /// A tensor with dimensions. A loss in a checkpoint has none.
  bool is_array(Handle handle) const {
    return is_tensor(handle) &&
           !pickle_.tensors[static_cast<std::size_t>(value_of(handle).number)].shape.empty();
  }

  /// The state dict in a checkpoint, or the dict itself.
  Handle state_dict_in(Handle dict) const {
    for (int depth = 0; depth < kMostNestedDicts; ++depth) {
      const Handle inner = is_state_dict(dict) ? dict : entry_with_state_dict(dict);
      if (inner == dict) return dict;
      dict = inner;
    }
    refuse("a state dict", fmt::format("dicts nested more than {} deep", kMostNestedDicts));
  }

  Handle entry_with_state_dict(Handle handle) const {
    const std::vector<Handle>& items = value_of(handle).items;
    for (const std::string_view key : kStateDictKeys) {
      for (std::size_t i = 0; i < items.size(); i += 2) {
        const bool has_key = is(items[i], Kind::kString) && value_of(items[i]).text == key;
        if (has_key && is(items[i + 1], Kind::kDict)) return items[i + 1];
      }
    }
    Handle found = handle;
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      if (is_array(items[i + 1])) return handle;  // a state dict with another value
      if (!is_state_dict(items[i + 1])) continue;
      found = items[i + 1];
      keys.push_back(fmt::format("\"{}\"", printable(value_of(items[i]).text)));
    }
    if (keys.size() > 1) {
      refuse("one state dict, or one under the key model_state_dict, state_dict or model",
             fmt::format("{} state dicts under the keys {}", keys.size(), fmt::join(keys, ", ")),
             fmt::format("save one of them: torch.save(torch.load(file)[{}], other_file)", keys.front()));
    }
    return found;
  }

  void add_dict(Handle dict) {
    const std::vector<Handle>& items = value_of(dict).items;
    for (std::size_t i = 0; i < items.size(); i += 2) add(items[i], items[i + 1]);
  }

  void add_pairs(const std::vector<Handle>& items) {
    for (const Handle item : items) {
      const std::vector<Handle>& pair = require(item, Kind::kTuple, "a (name, tensor) pair").items;
      if (pair.size() != 2) refuse("a name and a tensor", fmt::format("a tuple of {}", pair.size()));
      add(pair[0], pair[1]);
    }
  }

  /// Adds the tensors of a module and of the modules in it. Its other attributes, such as `training`, do not
  /// belong to a state dict.
  void add_module(Handle handle, const std::string& prefix, std::size_t depth) {
    // Without limits, a small file with one module in many places could name any number of tensors.
    if (depth > kMostNestedModules) {
      refuse(fmt::format("modules nested at most {} deep", kMostNestedModules), "more");
    }
    const std::vector<Handle>& items = value_of(handle).items;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      if (++attributes_ > kMostAttributes) {
        refuse(fmt::format("at most {} attributes of modules", kMostAttributes), "more");
      }
      const std::string name =
          prefix + std::string(require(items[i], Kind::kString, "the name of an attribute").text);
      if (name.size() > kLongestNameInModule) {
        refuse(fmt::format("names of at most {} bytes", kLongestNameInModule), "a longer one");
      }
      if (is(items[i + 1], Kind::kModule)) {
        add_module(items[i + 1], name + ".", depth + 1);
      } else if (is_tensor(items[i + 1])) {
        add(name, items[i + 1]);
      }
    }
  }

  void add(Handle name, Handle tensor) {
    add(std::string(require(name, Kind::kString, "the name of a tensor").text), tensor);
  }

  void add(const std::string& name, Handle handle) {
    if (!is_utf8(name)) refuse("a name in UTF-8", fmt::format("\"{}\"", printable(name)));
    if (!names_.insert(name).second) refuse("each name once", fmt::format("\"{}\" twice", printable(name)));
    if (!is_tensor(handle)) {
      refuse(fmt::format("a tensor under the name \"{}\"", printable(name)),
             std::string(describe(value_of(handle).kind)));
    }
    tensors_.push_back(pickle_.tensors[static_cast<std::size_t>(value_of(handle).number)]);
    tensors_.back().name = name;
  }

  const Pickle& pickle_;
  std::string where_;
  std::set<std::string> names_;
  std::size_t attributes_ = 0;  ///< of modules, read so far
  std::vector<PickledTensor> tensors_;
};

// ---- Writing, with the instructions of protocol 2 -----------------------------------------------------

std::string pickled_string(std::string_view text) {
  return fmt::format("X{}{}", write_little_endian(static_cast<std::uint32_t>(text.size())), text);
}

std::string pickled_integer(std::int64_t number) {
  return "\x8a\x08" + write_little_endian(static_cast<std::uint64_t>(number));
}

std::string pickled_tuple(const std::vector<std::int64_t>& numbers) {
  std::string items;
  for (const std::int64_t number : numbers) items += pickled_integer(number);
  return fmt::format("({}t", items);
}

/// The id of a storage.
std::string pickled_storage(const StoredTensor& tensor, std::size_t index) {
  const ElementFormat& format = format_of(tensor.type);
  const auto bytes = static_cast<std::int64_t>(byte_size_of(tensor.shape, tensor.type).value());
  return fmt::format("({}ctorch\n{}\n{}{}{}tQ", pickled_string("storage"), format.torch_storage,
                     pickled_string(std::to_string(index)), pickled_string("cpu"),
                     pickled_integer(bytes / static_cast<std::int64_t>(format.size)));
}

}  // namespace

std::string write_tensor_pickle(const std::vector<StoredTensor>& tensors) {
  std::string pickle = "\x80\x02}(";
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    pickle += pickled_string(tensors[i].name);
    pickle += fmt::format(
        "ctorch._utils\n_rebuild_tensor_v2\n({}{}{}{}\x89"
        "ccollections\nOrderedDict\n)RtR",
        pickled_storage(tensors[i], i), pickled_integer(0), pickled_tuple(tensors[i].shape),
        pickled_tuple(contiguous_strides(tensors[i].shape)));
  }
  return pickle + "u.";
}

std::vector<PickledTensor> read_tensor_pickle(std::string_view pickle, const std::string& where) {
  if (pickle.size() > kLargestPickle) {
    throw UserError(
        where, fmt::format("expected a pickle of at most {} bytes, found {}", kLargestPickle, pickle.size()),
        kSaveStateDict);
  }
  const Pickle result = run_pickle(pickle, where);
  return NamedTensorFinder(result, where, pickle.size() - 1).find();
}

}  // namespace twingrad
