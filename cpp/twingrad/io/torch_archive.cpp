#include "twingrad/io/torch_archive.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <optional>
#include <system_error>

#include "twingrad/io/remedies.h"
#include "twingrad/io/stored_zip.h"
#include "twingrad/io/tensor_pickle.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// Views of one storage, as in tied weights, repeat bytes of the file. Strides of 0 could repeat them without
/// limit.
constexpr std::uint64_t kMostRepeats = 16;
constexpr int kNewestVersion = 10;

/// The files of an archive by name, without its single top-level directory. Those that are read must not be
/// compressed.
class ArchiveFiles {
 public:
  ArchiveFiles(std::string_view archive, const std::string& where) : archive_(archive), where_(where) {
    for (const ZipEntry& entry : read_stored_zip(archive, where)) {
      const std::size_t slash = entry.name.find('/');
      const std::string_view directory = entry.name.substr(0, slash);
      if (slash == std::string_view::npos || (!entries_.empty() && directory != directory_)) {
        throw UserError(fmt::format("{}: entry \"{}\"", where, printable(entry.name)),
                        "expected a name in one top-level directory, as torch.save writes it, found another",
                        kSaveAgain);
      }
      directory_ = directory;
      entries_.emplace(entry.name.substr(slash + 1), entry);
    }
  }

  const ZipEntry* find(std::string_view name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return nullptr;
    if (found->second.method != 0) {
      throw UserError(fmt::format("{}: entry \"{}\"", where_, printable(found->second.name)),
                      fmt::format("expected a stored entry, as torch.save writes it, found one compressed by "
                                  "method {}",
                                  found->second.method),
                      kSaveAgain);
    }
    return &found->second;
  }

  const ZipEntry& get(const std::string& name) const {
    const ZipEntry* entry = find(name);
    if (entry == nullptr) {
      throw UserError(where_,
                      fmt::format("expected an archive with \"{}\", as torch.save writes it, found none",
                                  printable(name)),
                      kSaveAgain);
    }
    return *entry;
  }

  std::string_view content(const ZipEntry& entry) const {
    return archive_.substr(entry.begin, entry.end - entry.begin);
  }

 private:
  std::string_view archive_;
  const std::string& where_;
  std::string_view directory_;
  std::map<std::string_view, ZipEntry> entries_;
};

/// The version is a number, optionally followed by a newline.
void check_version(const ArchiveFiles& files, const std::string& where) {
  const std::string_view text = files.content(files.get("version"));
  const std::string_view digits = text.substr(0, text.find('\n'));
  int version = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), version);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (!whole || version < 1 || version > kNewestVersion) {
    throw UserError(
        where,
        fmt::format("expected version 1 to {} of the format, found \"{}\"", kNewestVersion, printable(text)),
        kSaveAgain);
  }
}

void check_byte_order(const ArchiveFiles& files, const std::string& where) {
  const ZipEntry* entry = files.find("byteorder");
  if (entry == nullptr || files.content(*entry) == "little") return;
  throw UserError(
      where, fmt::format("expected little-endian numbers, found \"{}\"", printable(files.content(*entry))),
      "save it again on a little-endian machine");
}

class TensorLocator {
 public:
  TensorLocator(const ArchiveFiles& files, const std::string& where, std::uint64_t file_size)
      : files_(files), where_(where), limit_(kMostRepeats * file_size) {}

  /// Finds the tensor's elements in the archive and subtracts their bytes from the limit.
  StoredTensor locate(const PickledTensor& tensor) {
    const ZipEntry& storage = files_.get(fmt::format("data/{}", tensor.storage));
    check_storage(tensor, storage);
    const std::uint64_t size = check_size(tensor);
    StoredTensor stored{std::string(tensor.name), tensor.type,   tensor.shape,
                        tensor.strides,           storage.begin, storage.begin};
    if (size > 0) {
      const std::uint64_t element_size = format_of(tensor.type).size;
      stored.begin = storage.begin + static_cast<std::uint64_t>(tensor.offset) * element_size;
      stored.end = storage.begin + (check_last_element(tensor) + 1) * element_size;
    }
    return stored;
  }

 private:
  [[noreturn]] void refuse(const PickledTensor& tensor, const std::string& expected, const std::string& found,
                           const char* remedy = kCopyAgain) const {
    throw UserError(fmt::format("{}: tensor \"{}\"", where_, printable(tensor.name)),
                    fmt::format("expected {}, found {}", expected, found), remedy);
  }

  void check_storage(const PickledTensor& tensor, const ZipEntry& storage) const {
    const std::uint64_t bytes = storage.end - storage.begin;
    const std::uint64_t element_size = format_of(tensor.type).size;
    const auto expected = static_cast<std::uint64_t>(tensor.storage_size);
    if (bytes % element_size != 0 || bytes / element_size != expected) {
      refuse(tensor, fmt::format("a storage of {} {}", tensor.storage_size, format_of(tensor.type).name),
             fmt::format("one of {} bytes", bytes));
    }
  }

  /// Subtracts the tensor's size in bytes from the limit and returns it.
  std::uint64_t check_size(const PickledTensor& tensor) {
    const std::optional<std::uint64_t> size = byte_size_of(tensor.shape, tensor.type);
    if (!size) refuse(tensor, "a shape of at most 64 sizes ≥ 0", "an invalid or too large one");
    if (*size > limit_) {
      refuse(tensor, fmt::format("tensors that repeat the file's bytes at most {} times", kMostRepeats),
             "more", "save contiguous tensors instead of expanded views: tensor.contiguous()");
    }
    limit_ -= *size;
    return *size;
  }

  /// The largest offset of an element in the storage. The tensor must not be empty.
  std::uint64_t check_last_element(const PickledTensor& tensor) const {
    std::int64_t last = tensor.offset;
    bool is_outside = tensor.offset < 0;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      const std::int64_t stride = tensor.strides[i];
      if (stride < 0) refuse(tensor, "strides ≥ 0", std::to_string(stride));
      std::int64_t reach = 0;
      is_outside = is_outside || __builtin_mul_overflow(tensor.shape[i] - 1, stride, &reach) ||
                   __builtin_add_overflow(last, reach, &last);
    }
    if (is_outside || last >= tensor.storage_size) {
      refuse(tensor, fmt::format("elements within its storage of {}", tensor.storage_size), "one outside");
    }
    return static_cast<std::uint64_t>(last);
  }

  const ArchiveFiles& files_;
  const std::string& where_;
  std::uint64_t limit_;
};

}  // namespace

std::vector<StoredTensor> find_tensors_of_torch_archive(std::string_view file, const std::string& where) {
  const ArchiveFiles files(file, where);
  check_version(files, where);
  check_byte_order(files, where);
  const std::string_view pickle = files.content(files.get("data.pkl"));
  TensorLocator locator(files, where, file.size());
  std::vector<StoredTensor> tensors;
  for (const PickledTensor& tensor : read_tensor_pickle(pickle, where + ": data.pkl")) {
    tensors.push_back(locator.locate(tensor));
  }
  return tensors;
}

}  // namespace twingrad
