#include "twingrad/io/pickle_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "twingrad/io/little_endian.h"
#include "twingrad/io/remedies.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

enum class Function { kOrderedDict, kOther, kRebuildTensor, kRebuildParameter, kFirstArgument };

struct Signature {
  std::string_view module, name;
  std::size_t least_arguments, most_arguments;
  Function function;
};

/// The functions that a pickle may call. PickleMachine implements them.
constexpr std::array<Signature, 8> kFunctions{
    {{"collections", "OrderedDict", 0, 0, Function::kOrderedDict},
     {"collections", "Counter", 0, 1, Function::kOther},
     {"_codecs", "encode", 2, 2, Function::kOther},
     {"torch", "device", 1, 2, Function::kOther},
     {"torch", "Size", 1, 1, Function::kFirstArgument},
     {"torch.jit._pickle", "restore_type_tag", 2, 2, Function::kFirstArgument},
     {"torch._utils", "_rebuild_parameter", 3, 3, Function::kRebuildParameter},
     {"torch._utils", "_rebuild_tensor_v2", 6, 7, Function::kRebuildTensor}}};

constexpr std::array<std::string_view, 10> kDtypeNames{"float64", "float32", "float16", "bfloat16", "int64",
                                                       "int32",   "int16",   "int8",    "uint8",    "bool"};

/// Whether a module of Python contains the classes of TorchScript modules: "__torch__",
/// "__torch__.torch.nn.modules.linear". LibTorch's torch::save writes modules in this format.
bool is_torch_script(std::string_view module) {
  return module == "__torch__" || module.starts_with("__torch__.");
}

constexpr const char* kOtherProtocol = "save it again with torch.save, without pickle_protocol";

class PickleMachine {
 public:
  PickleMachine(std::string_view pickle, const std::string& where) : pickle_(pickle), where_(where) {}

  Pickle run() {
    if (!pickle_.empty() && pickle_.front() != '\x80') {
      refuse("a pickle of protocol 2 to 5", "one of protocol 0 or 1, or another file", kOtherProtocol);
    }
    while (true) {
      instruction_ = position_;
      const char code = take(1).front();
      if (code == '.') break;
      execute(code);
    }
    all_.result = pop();
    if (!stack_.empty() || !marks_.empty() || position_ != pickle_.size()) {
      refuse("the end of the pickle after its one result", "more", kCopyAgain);
    }
    return std::move(all_);
  }

 private:
  using Handle = Pickle::Handle;
  using Kind = Pickle::Kind;

  [[noreturn]] void refuse(const std::string& expected, const std::string& found,
                           const char* remedy = kSaveStateDict) const {
    throw UserError(at_byte(where_, instruction_), fmt::format("expected {}, found {}", expected, found),
                    remedy);
  }

  const Pickle::Value& require(Handle handle, Kind kind, const char* role) const {
    const Pickle::Value& value = all_.values[handle];
    if (value.kind != kind) {
      refuse(fmt::format("{} as {}", describe(kind), role), std::string(describe(value.kind)));
    }
    return value;
  }

  std::string_view take(std::size_t count) {
    if (count > pickle_.size() - position_) refuse("more instructions", "the end of the pickle", kCopyAgain);
    const std::string_view bytes = pickle_.substr(position_, count);
    position_ += count;
    return bytes;
  }

  /// An unsigned integer of at most 8 bytes.
  std::uint64_t take_number(std::size_t size) {
    std::string bytes(take(size));
    bytes.resize(8, '\0');
    return read_little_endian<std::uint64_t>(bytes);
  }

  /// The text to the end of the line.
  std::string_view take_line() {
    const std::size_t end = pickle_.find('\n', position_);
    if (end == std::string_view::npos) refuse("the end of a line", "the end of the pickle", kCopyAgain);
    const std::string_view line = pickle_.substr(position_, end - position_);
    position_ = end + 1;
    return line;
  }

  /// A signed integer, preceded by its size in bytes. No tensor needs a larger one, but a seed may be one.
  void push_long() {
    const std::uint64_t size = take_number(1);
    if (size > 8) return push_bytes(size);
    const std::uint64_t unused_bits = size == 0 ? 0 : 64 - 8 * size;
    push_number(Kind::kInteger, static_cast<std::int64_t>(take_number(size) << unused_bits) >> unused_bits);
  }

  void push_bytes(std::uint64_t size) {
    take(size);
    push_number(Kind::kOther, 0);
  }

  /// The codes are those of Python's pickletools.
  void execute(char code) {
    switch (code) {
      case '\x80':
        return check_protocol(take_number(1));
      case '(':
        return marks_.push_back(stack_.size());
      case '\x95':  // a frame, which has no effect
        return static_cast<void>(take_number(8));
      case 'c':
        return push_global({take_line(), take_line()});  // in this order
      case '\x93':
        return push_global_of_stack();
      case 'Q':
        return push_storage(pop());
      case 'R':
        return call();
      case '\x81':
        return make_module();
      case 'b':
        return set_state();
      case 'q':
        return remember(take_number(1));
      case 'r':
        return remember(take_number(4));
      case '\x94':
        return remember(memo_.size());
      case 'h':
        return recall(take_number(1));
      case 'j':
        return recall(take_number(4));
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
      case '\x89':
        return push_number(Kind::kBoolean, code == '\x88' ? 1 : 0);
      case 'K':
        return push_number(Kind::kInteger, static_cast<std::int64_t>(take_number(1)));
      case 'M':
        return push_number(Kind::kInteger, static_cast<std::int64_t>(take_number(2)));
      case 'J':
        return push_number(Kind::kInteger, static_cast<std::int32_t>(take_number(4)));
      case '\x8a':
        return push_long();
      case 'C':
      case 'B':
        return push_bytes(take_number(code == 'C' ? 1 : 4));
      case 'G':
        take(8);
        return push_number(Kind::kFloat, 0);
      case '\x8c':
      case 'X':
      case '\x8d':
        return push({Kind::kString, 0, take(take_number(code == 'X' ? 4 : code == '\x8c' ? 1 : 8)), {}});
      case ')':
        return push_items(Kind::kTuple, {});
      case '\x85':
      case '\x86':
      case '\x87':
        return push_items(Kind::kTuple, pop(static_cast<std::size_t>(code - '\x84')));
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

  void check_protocol(std::uint64_t protocol) const {
    if (protocol < 2 || protocol > 5) {
      refuse("a pickle of protocol 2 to 5", fmt::format("protocol {}", protocol), kOtherProtocol);
    }
  }

  // ---- The stack ---------------------------------------------------------------------------------------

  void push(Pickle::Value value) {
    stack_.push_back(static_cast<Handle>(all_.values.size()));
    all_.values.push_back(std::move(value));
  }
  void push_number(Kind kind, std::int64_t number) { push({kind, number, {}, {}}); }
  void push_items(Kind kind, std::vector<Handle> items) { push({kind, 0, {}, std::move(items)}); }

  void push_tensor(Kind kind, PickledTensor tensor) {
    push_number(kind, static_cast<std::int64_t>(all_.tensors.size()));
    all_.tensors.push_back(std::move(tensor));
  }

  /// The number of values above the last mark.
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
    require(top(), kind, "the container of new items");
    if (kind == Kind::kDict && items.size() % 2 != 0)
      refuse("a value for every key", "a key without one", kCopyAgain);
    std::vector<Handle>& all = all_.values[top()].items;
    all.insert(all.end(), items.begin(), items.end());
  }

  void remember(std::uint64_t number) { memo_[number] = top(); }

  void recall(std::uint64_t number) {
    const auto found = memo_.find(number);
    if (found == memo_.end()) refuse("a value in the memo", "none", kCopyAgain);
    stack_.push_back(found->second);
  }

  // ---- Functions ---------------------------------------------------------------------------------------

  /// Takes the names from the stack.
  void push_global_of_stack() {
    const std::vector<Handle> names = pop(2);
    push_global({require(names[0], Kind::kString, "the module of a function").text,
                 require(names[1], Kind::kString, "the name of a function").text});
  }

  void push_global(const std::array<std::string_view, 2>& module_and_name) {
    const auto& [module, name] = module_and_name;
    if (is_torch_script(module)) return push_number(Kind::kModuleClass, 0);
    for (std::size_t i = 0; i < kFunctions.size(); ++i) {
      if (module == kFunctions[i].module && name == kFunctions[i].name) {
        return push_number(Kind::kFunction, static_cast<std::int64_t>(i));
      }
    }
    for (const ElementFormat& format : kElementFormats) {
      if (module == "torch" && name == format.torch_storage) {
        return push_number(Kind::kType, static_cast<std::int64_t>(format.type));
      }
    }
    if (module == "torch" && std::ranges::find(kDtypeNames, name) != kDtypeNames.end())
      return push_number(Kind::kOther, 0);
    refuse("tensors and no code", fmt::format("a call of {}.{}", printable(module), printable(name)));
  }

  /// ("storage", class, name, device, number of elements). The device is ignored.
  void push_storage(Handle persistent_id) {
    const Pickle::Value& id = require(persistent_id, Kind::kTuple, "the id of a storage");
    if (id.items.size() != 5)
      refuse("a tuple of 5 as the id of a storage", fmt::format("one of {}", id.items.size()));
    if (require(id.items[0], Kind::kString, "the kind of an id").text != "storage")
      refuse("the id of a storage", "another");
    const Pickle::Value& type = require(id.items[1], Kind::kType, "the type of a storage");
    const Pickle::Value& name = require(id.items[2], Kind::kString, "the name of a storage");
    const Pickle::Value& size = require(id.items[4], Kind::kInteger, "the size of a storage");
    push_tensor(Kind::kStorage,
                {{}, static_cast<ElementType>(type.number), name.text, size.number, 0, {}, {}});
  }

  void call() {
    const std::vector<Handle> items = pop(2);
    const auto function = static_cast<std::size_t>(require(items[0], Kind::kFunction, "the callee").number);
    const std::vector<Handle> arguments = require(items[1], Kind::kTuple, "the arguments of a call").items;
    const Signature& signature = kFunctions[function];
    if (arguments.size() < signature.least_arguments || arguments.size() > signature.most_arguments) {
      refuse(fmt::format("{} arguments of {}", signature.most_arguments, signature.name),
             std::to_string(arguments.size()));
    }
    switch (signature.function) {
      case Function::kOrderedDict:
        return push_items(Kind::kDict, {});
      case Function::kOther:
        return push_number(Kind::kOther, 0);
      case Function::kRebuildTensor:
        return rebuild_tensor(arguments);
      case Function::kRebuildParameter:
        require(arguments[0], Kind::kTensor, "the data of a parameter");
        return stack_.push_back(arguments[0]);
      case Function::kFirstArgument:
        return stack_.push_back(arguments[0]);
    }
  }

  /// (storage, offset, shape, strides, requires_grad, hooks), and in newer files a dict of further settings.
  void rebuild_tensor(const std::vector<Handle>& arguments) {
    const Pickle::Value& storage = require(arguments[0], Kind::kStorage, "the data of a tensor");
    PickledTensor tensor = all_.tensors[static_cast<std::size_t>(storage.number)];
    tensor.offset = require(arguments[1], Kind::kInteger, "the offset of a tensor").number;
    tensor.shape = integers(arguments[2], "the shape of a tensor");
    tensor.strides = integers(arguments[3], "the strides of a tensor");
    if (tensor.strides.size() != tensor.shape.size()) refuse("one stride per dimension", "another number");
    if (arguments.size() == 7 &&
        !require(arguments[6], Kind::kDict, "the settings of a tensor").items.empty()) {
      refuse("a tensor of plain numbers", "a conjugated or negated one");
    }
    push_tensor(Kind::kTensor, std::move(tensor));
  }

  std::vector<std::int64_t> integers(Handle handle, const char* role) const {
    const std::vector<Handle>& items = require(handle, Kind::kTuple, role).items;
    if (items.size() > kMostDimensions) refuse("at most 64 dimensions", std::to_string(items.size()));
    std::vector<std::int64_t> numbers;
    for (const Handle item : items) numbers.push_back(require(item, Kind::kInteger, role).number);
    return numbers;
  }

  void make_module() {
    require(pop(2).front(), Kind::kModuleClass, "the class of an object");
    push_items(Kind::kModule, {});
  }

  /// The state of a module is its attributes. That of an OrderedDict is ignored: torch.nn.Module attaches
  /// "_metadata", the versions of its modules, to its state dict.
  void set_state() {
    std::vector<Handle> attributes = require(pop(), Kind::kDict, "the state of an object").items;
    if (all_.values[top()].kind == Kind::kModule) {
      all_.values[top()].items = std::move(attributes);
    } else {
      require(top(), Kind::kDict, "the object of a state");
    }
  }

  std::string_view pickle_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::size_t instruction_ = 0;  ///< offset of the current instruction
  Pickle all_;
  std::vector<Handle> stack_;
  std::vector<std::size_t> marks_;  ///< heights of the stack
  std::unordered_map<std::uint64_t, Handle> memo_;
};

}  // namespace

std::string_view describe(Pickle::Kind kind) {
  // clang-format off
  constexpr std::array<std::string_view, 15> descriptions{
      "None", "a bool", "an int", "a float", "a str", "a tuple", "a list", "a dict", "a module", "a function",
      "a class of modules", "a storage class", "a storage", "a tensor", "another value"};
  // clang-format on
  return descriptions[static_cast<std::size_t>(kind)];
}

Pickle run_pickle(std::string_view pickle, const std::string& where) {
  return PickleMachine(pickle, where).run();
}

}  // namespace twingrad
