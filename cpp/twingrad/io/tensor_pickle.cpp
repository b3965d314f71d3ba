#include "twingrad/io/tensor_pickle.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <unordered_map>
#include <utility>

#include "twingrad/io/little_endian.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

constexpr std::size_t kLargestPickle = 4U << 20;
constexpr const char* kCopyAgain = "copy the file again, or save it anew";
constexpr const char* kSaveStateDict = "save the tensors alone: torch.save(model.state_dict(), file)";

/// The functions that a pickle may name, all done by the machine itself.
enum class Function { kOrderedDict, kRebuildTensor, kRebuildParameter, kRestoreTypeTag };

constexpr std::array<std::pair<std::string_view, Function>, 4> kFunctions{{
    {"collections\nOrderedDict", Function::kOrderedDict},
    {"torch._utils\n_rebuild_tensor_v2", Function::kRebuildTensor},
    {"torch._utils\n_rebuild_parameter", Function::kRebuildParameter},
    {"torch.jit._pickle\nrestore_type_tag", Function::kRestoreTypeTag},
}};

enum class Kind {
  kNone,
  kBoolean,
  kInteger,
  kString,
  kTuple,
  kList,
  kDict,
  kFunction,
  kType,
  kStorage,
  kTensor
};

std::string_view describe(Kind kind) {
  switch (kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBoolean:
      return "a bool";
    case Kind::kInteger:
      return "an int";
    case Kind::kString:
      return "a str";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kList:
      return "a list";
    case Kind::kDict:
      return "a dict";
    case Kind::kFunction:
      return "a function";
    case Kind::kType:
      return "a storage class";
    case Kind::kStorage:
      return "a storage";
    default:
      return "a tensor";
  }
}

/// Which of the machine's values is meant. Values lie in one array and refer to others by handle, so that
/// they may be nested as deeply as they like and even contain themselves.
using Handle = std::uint32_t;

struct Value {
  Kind kind = Kind::kNone;
  std::int64_t number = 0;    ///< an integer; which Function, ElementType, storage or tensor
  std::string_view text;      ///< of a string
  std::vector<Handle> items;  ///< of a tuple or list; of a dict: key, value, key, value, …
};

struct Storage {
  ElementType type;
  std::string_view name;
  std::int64_t size;
};

class Machine {
 public:
  Machine(std::string_view pickle, const std::string& where) : pickle_(pickle), where_(where) {}

  /// Runs the pickle and returns the tensors of its result.
  std::vector<PickledTensor> run() {
    while (true) {
      instruction_ = position_;
      const char code = take(1).front();
      if (code == '.') break;
      execute(code);
    }
    const Handle result = pop();
    if (!stack_.empty() || !marks_.empty() || position_ != pickle_.size()) {
      refuse("the end of the pickle behind its one result", "more", kCopyAgain);
    }
    return named_tensors(result);
  }

 private:
  // ---- Refusals ----------------------------------------------------------------------------------------

  [[noreturn]] void refuse(const std::string& expected, const std::string& found,
                           const char* remedy = kSaveStateDict) const {
    throw UserError(fmt::format("{}: byte {}", where_, instruction_),
                    fmt::format("expected {}, found {}", expected, found), remedy);
  }

  const Value& require(Handle handle, Kind kind, const char* expected) const {
    const Value& value = values_[handle];
    if (value.kind != kind) {
      refuse(fmt::format("{}, {}", describe(kind), expected), std::string(describe(value.kind)));
    }
    return value;
  }

  // ---- The program -------------------------------------------------------------------------------------

  std::string_view take(std::size_t count) {
    if (count > pickle_.size() - position_) refuse("more instructions", "the end of the pickle", kCopyAgain);
    const std::string_view bytes = pickle_.substr(position_, count);
    position_ += count;
    return bytes;
  }

  std::uint8_t take_byte() { return read_little_endian<std::uint8_t>(take(1)); }
  std::uint16_t take_word() { return read_little_endian<std::uint16_t>(take(2)); }
  std::uint32_t take_double_word() { return read_little_endian<std::uint32_t>(take(4)); }

  /// The text up to the end of the line.
  std::string_view take_line() {
    const std::size_t end = pickle_.find('\n', position_);
    if (end == std::string_view::npos) refuse("the end of a line", "the end of the pickle", kCopyAgain);
    const std::string_view line = pickle_.substr(position_, end - position_);
    position_ = end + 1;
    return line;
  }

  /// A signed integer of so many bytes.
  std::int64_t take_long() {
    const std::uint8_t size = take_byte();
    if (size > 8) refuse("an int of at most 8 bytes", fmt::format("one of {}", size));
    const std::string_view bytes = take(size);
    const bool negative = size > 0 && (bytes.back() & 0x80) != 0;
    std::string padded(bytes);
    padded.resize(8, negative ? '\xff' : '\0');
    return static_cast<std::int64_t>(read_little_endian<std::uint64_t>(padded));
  }

  /// The letters are those of Python's pickletools.
  void execute(char code) {
    switch (code) {
      case '\x80':
        return check_protocol(take_byte());
      case '(':
        return marks_.push_back(stack_.size());
      case 'c':
        return push_global();
      case 'Q':
        return push_storage(pop());
      case 'R':
        return call();
      case 'b':
        return ignore_state();
      case 'q':
        return remember(take_byte());
      case 'r':
        return remember(take_double_word());
      case 'h':
        return recall(take_byte());
      case 'j':
        return recall(take_double_word());
      case 'a':
        return extend(Kind::kList, pop(1));
      case 'e':
        return extend(Kind::kList, pop_to_mark());
      case 's':
        return extend(Kind::kDict, pop(2));
      case 'u':
        return extend(Kind::kDict, pop_to_mark());
      default:
        return push_value(code);
    }
  }

  void push_value(char code) {
    switch (code) {
      case 'N':
        return push_number(Kind::kNone, 0);
      case '\x88':
        return push_number(Kind::kBoolean, 1);
      case '\x89':
        return push_number(Kind::kBoolean, 0);
      case 'K':
        return push_number(Kind::kInteger, take_byte());
      case 'M':
        return push_number(Kind::kInteger, take_word());
      case 'J':
        return push_number(Kind::kInteger, static_cast<std::int32_t>(take_double_word()));
      case '\x8a':
        return push_number(Kind::kInteger, take_long());
      case 'X':
        return push_string(take(take_double_word()));
      case ')':
        return push_items(Kind::kTuple, {});
      case '\x85':
        return push_items(Kind::kTuple, pop(1));
      case '\x86':
        return push_items(Kind::kTuple, pop(2));
      case '\x87':
        return push_items(Kind::kTuple, pop(3));
      case 't':
        return push_items(Kind::kTuple, pop_to_mark());
      case ']':
        return push_items(Kind::kList, {});
      case '}':
        return push_items(Kind::kDict, {});
      default:
        refuse("an instruction that builds tensors",
               fmt::format("instruction 0x{:02x}", static_cast<unsigned char>(code)));
    }
  }

  void check_protocol(int protocol) const {
    if (protocol != 2) refuse("a pickle of protocol 2", fmt::format("protocol {}", protocol));
  }

  // ---- The stack ---------------------------------------------------------------------------------------

  void push(Value value) {
    stack_.push_back(static_cast<Handle>(values_.size()));
    values_.push_back(std::move(value));
  }
  void push_number(Kind kind, std::int64_t number) { push({kind, number, {}, {}}); }
  void push_string(std::string_view text) { push({Kind::kString, 0, text, {}}); }
  void push_items(Kind kind, std::vector<Handle> items) { push({kind, 0, {}, std::move(items)}); }

  /// How many values lie above the last mark.
  std::size_t height() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  std::vector<Handle> pop(std::size_t count) {
    if (count > height()) refuse("a value on the stack", "none", kCopyAgain);
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    const std::vector<Handle> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    return items;
  }
  Handle pop() { return pop(1).front(); }

  std::vector<Handle> pop_to_mark() {
    if (marks_.empty()) refuse("a mark on the stack", "none", kCopyAgain);
    std::vector<Handle> items = pop(height());
    marks_.pop_back();
    return items;
  }

  Handle top() const {
    if (height() == 0) refuse("a value on the stack", "none", kCopyAgain);
    return stack_.back();
  }

  /// Appends the items to the list or dict at the top.
  void extend(Kind kind, const std::vector<Handle>& items) {
    require(top(), kind, "to put items into");
    if (kind == Kind::kDict && items.size() % 2 != 0)
      refuse("a value for every key", "a key without", kCopyAgain);
    std::vector<Handle>& all = values_[top()].items;
    all.insert(all.end(), items.begin(), items.end());
  }

  void remember(std::uint32_t number) { memo_[number] = top(); }

  void recall(std::uint32_t number) {
    const auto found = memo_.find(number);
    if (found == memo_.end()) refuse("a value in the memo", "none", kCopyAgain);
    stack_.push_back(found->second);
  }

  // ---- What is named and called ------------------------------------------------------------------------

  void push_global() {
    const std::size_t begin = position_;
    const std::string_view module = take_line();
    const std::string_view name = take_line();
    const std::string_view global = pickle_.substr(begin, position_ - 1 - begin);
    for (const auto& [known, function] : kFunctions) {
      if (global == known) return push_number(Kind::kFunction, static_cast<std::int64_t>(function));
    }
    for (const ElementFormat& format : kElementFormats) {
      if (module == "torch" && name == format.torch_storage) {
        return push_number(Kind::kType, static_cast<std::int64_t>(format.type));
      }
    }
    refuse("tensors and nothing that is run",
           fmt::format("a call of {}.{}", printable(module), printable(name)));
  }

  /// ("storage", class, name, device, number of elements). On which device it was does not matter.
  void push_storage(Handle persistent_id) {
    const Value& id = require(persistent_id, Kind::kTuple, "the id of a storage");
    if (id.items.size() != 5)
      refuse("a tuple of 5, the id of a storage", fmt::format("one of {}", id.items.size()));
    if (require(id.items[0], Kind::kString, "the kind of an id").text != "storage")
      refuse("the id of a storage", "another");
    const Value& type = require(id.items[1], Kind::kType, "of a storage");
    const Value& name = require(id.items[2], Kind::kString, "the name of a storage");
    const Value& size = require(id.items[4], Kind::kInteger, "the size of a storage");
    storages_.push_back({static_cast<ElementType>(type.number), name.text, size.number});
    push_number(Kind::kStorage, static_cast<std::int64_t>(storages_.size()) - 1);
  }

  void call() {
    const std::vector<Handle> items = pop(2);
    const Value& function = require(items[0], Kind::kFunction, "to call");
    const std::vector<Handle> arguments = require(items[1], Kind::kTuple, "of arguments").items;
    switch (static_cast<Function>(function.number)) {
      case Function::kOrderedDict:
        check_count(arguments, 0, 0, "OrderedDict");
        return push_items(Kind::kDict, {});
      case Function::kRebuildTensor:
        check_count(arguments, 6, 7, "_rebuild_tensor_v2");
        return push_tensor(arguments);
      case Function::kRebuildParameter:
        check_count(arguments, 3, 3, "_rebuild_parameter");
        require(arguments[0], Kind::kTensor, "of a parameter");
        return stack_.push_back(arguments[0]);
      case Function::kRestoreTypeTag:
        check_count(arguments, 2, 2, "restore_type_tag");
        return stack_.push_back(arguments[0]);
    }
  }

  void check_count(const std::vector<Handle>& arguments, std::size_t least, std::size_t most,
                   const char* function) const {
    if (arguments.size() >= least && arguments.size() <= most) return;
    refuse(fmt::format("{} arguments of {}", most, function), std::to_string(arguments.size()));
  }

  /// (storage, offset, shape, strides, whether it wants a gradient, hooks), and in newer files what else is
  /// to be set.
  void push_tensor(const std::vector<Handle>& arguments) {
    const Value& index = require(arguments[0], Kind::kStorage, "of a tensor");
    const Storage& storage = storages_[static_cast<std::size_t>(index.number)];
    PickledTensor tensor;
    tensor.type = storage.type;
    tensor.storage = storage.name;
    tensor.storage_size = storage.size;
    tensor.offset = require(arguments[1], Kind::kInteger, "the offset of a tensor").number;
    tensor.shape = integers(arguments[2], "the shape of a tensor");
    tensor.strides = integers(arguments[3], "the strides of a tensor");
    if (tensor.strides.size() != tensor.shape.size()) refuse("as many strides as dimensions", "others");
    if (arguments.size() == 7 &&
        !require(arguments[6], Kind::kDict, "of a tensor's settings").items.empty()) {
      refuse("a tensor of plain numbers", "one with settings (conjugated or negated)");
    }
    tensors_.push_back(std::move(tensor));
    push_number(Kind::kTensor, static_cast<std::int64_t>(tensors_.size()) - 1);
  }

  std::vector<std::int64_t> integers(Handle handle, const char* what) const {
    const std::vector<Handle>& items = require(handle, Kind::kTuple, what).items;
    if (items.size() > kMostDimensions) refuse("at most 64 dimensions", std::to_string(items.size()));
    std::vector<std::int64_t> numbers;
    for (const Handle item : items) numbers.push_back(require(item, Kind::kInteger, what).number);
    return numbers;
  }

  /// torch.nn.Module hangs "_metadata", the versions of its modules, on its state dict.
  void ignore_state() {
    require(pop(), Kind::kDict, "the state of an OrderedDict");
    require(top(), Kind::kDict, "to take a state");
  }

  // ---- The result --------------------------------------------------------------------------------------

  std::vector<PickledTensor> named_tensors(Handle result) {
    const Value& value = values_[result];
    std::vector<PickledTensor> tensors;
    if (value.kind == Kind::kDict) {
      for (std::size_t i = 0; i < value.items.size(); i += 2) {
        tensors.push_back(named_tensor(value.items[i], value.items[i + 1]));
      }
    } else if (value.kind == Kind::kTuple || value.kind == Kind::kList) {
      for (const Handle item : value.items) {
        const Value& pair = require(item, Kind::kTuple, "a name and a tensor");
        if (pair.items.size() != 2) {
          refuse("a name and a tensor", fmt::format("a tuple of {}", pair.items.size()));
        }
        tensors.push_back(named_tensor(pair.items[0], pair.items[1]));
      }
    } else {
      refuse("a dict of tensors, or a tuple of (name, tensor)", std::string(describe(value.kind)));
    }
    return tensors;
  }

  PickledTensor named_tensor(Handle name_handle, Handle tensor_handle) {
    const std::string_view name = require(name_handle, Kind::kString, "the name of a tensor").text;
    if (!is_utf8(name)) refuse("a name of UTF-8", fmt::format("\"{}\"", printable(name)));
    if (!names_.insert(name).second) refuse("each name once", fmt::format("\"{}\" twice", printable(name)));
    const Value& value = values_[tensor_handle];
    if (value.kind != Kind::kTensor) {
      refuse(fmt::format("a tensor under the name \"{}\"", printable(name)),
             std::string(describe(value.kind)));
    }
    PickledTensor tensor = tensors_[static_cast<std::size_t>(value.number)];
    tensor.name = name;
    return tensor;
  }

  std::string_view pickle_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::size_t instruction_ = 0;  ///< where the instruction begins that is being executed
  std::vector<Value> values_;
  std::vector<Storage> storages_;
  std::vector<PickledTensor> tensors_;
  std::vector<Handle> stack_;
  std::vector<std::size_t> marks_;  ///< heights of the stack
  std::unordered_map<std::uint32_t, Handle> memo_;
  std::set<std::string_view> names_;  ///< of the result's tensors
};

}  // namespace

std::vector<PickledTensor> read_tensor_pickle(std::string_view pickle, const std::string& where) {
  if (pickle.size() > kLargestPickle) {
    throw UserError(
        where, fmt::format("expected a pickle of at most {} bytes, found {}", kLargestPickle, pickle.size()),
        kSaveStateDict);
  }
  return Machine(pickle, where).run();
}

}  // namespace twingrad
