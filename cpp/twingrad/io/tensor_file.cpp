#include "twingrad/io/tensor_file.h"

#include <ATen/ops/empty.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <utility>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/input_file.h"
#include "twingrad/io/remedies.h"
#include "twingrad/io/safetensors_header.h"
#include "twingrad/io/tensor_pickle.h"
#include "twingrad/io/torch_archive.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

/// In the order of ElementType.
constexpr std::array<at::ScalarType, kElementFormats.size()> kDtypes{
    at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
    at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};

at::ScalarType dtype_of(ElementType type) { return kDtypes[static_cast<std::size_t>(type)]; }

ElementType element_type_of(const NamedTensor& named) {
  const auto dtype = std::find(kDtypes.begin(), kDtypes.end(), named.tensor.scalar_type());
  if (dtype == kDtypes.end()) {
    throw UserError(
        fmt::format("tensor \"{}\"", printable(named.name)),
        fmt::format("expected real numbers or bool, found {}", at::toString(named.tensor.scalar_type())),
        "convert it first");
  }
  return static_cast<ElementType>(dtype - kDtypes.begin());
}

// ---- Reading -------------------------------------------------------------------------------------------

/// Reading a bool that is neither 0 nor 1 would be undefined behaviour.
void check_bools(const StoredTensor& stored, std::string_view bytes, const std::string& where) {
  const auto odd = std::find_if(bytes.begin(), bytes.end(), [](char byte) { return byte != 0 && byte != 1; });
  if (odd == bytes.end()) return;
  throw UserError(fmt::format("{}: tensor \"{}\"", where, printable(stored.name)),
                  fmt::format("expected 0 or 1 for each bool, found {}", static_cast<unsigned char>(*odd)),
                  kCopyAgain);
}

NamedTensor load(const StoredTensor& stored, std::string_view content, const std::string& where) {
  at::Tensor tensor = at::empty(stored.shape, dtype_of(stored.type));
  char* elements = static_cast<char*>(tensor.data_ptr());
  copy_elements(stored, content, elements);
  if (stored.type == ElementType::kBool) check_bools(stored, {elements, tensor.nbytes()}, where);
  return {stored.name, tensor};
}

std::vector<NamedTensor> load_all(const std::vector<StoredTensor>& all, std::string_view content,
                                  const std::string& where) {
  std::vector<NamedTensor> tensors;
  for (const StoredTensor& stored : all) tensors.push_back(load(stored, content, where));
  return tensors;
}

/// What a file of another format is, and what to do about it.
std::pair<std::string_view, std::string_view> describe_other_file(std::string_view content) {
  using namespace std::string_view_literals;
  struct Format {
    std::string_view start, name, remedy;
  };
  constexpr const char* kCheckPath = "check the path";
  constexpr const char* kSaveFromPython = "save the network's state_dict() with torch.save in Python";
  static constexpr std::array kFormats{
      // The number with which torch.save began its files before 1.6.
      Format{"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv,
             "a file in the format of PyTorch before 1.6",
             "load it in Python and save it again: torch.save(torch.load(file), other_file)"},
      Format{"\x80"sv, "a bare pickle, as pickle.dump writes it",
             "load it in Python and save the tensors with torch.save"},
      Format{"\x89HDF"sv, "an HDF5 file, perhaps of Keras", kSaveFromPython},
      Format{"\x93NUMPY"sv, "a NumPy array", kSaveFromPython},
      Format{"\x1f\x8b"sv, "a file compressed with gzip", "unpack it: gunzip FILE"},
      Format{"\x89PNG"sv, "a PNG image", kCheckPath}};
  if (content.empty()) return {"an empty file", kCopyAgain};
  const auto format = std::find_if(kFormats.begin(), kFormats.end(),
                                   [&](const Format& known) { return content.starts_with(known.start); });
  if (format != kFormats.end()) return {format->name, format->remedy};
  const std::string_view text = describe_text(content);
  if (text.empty()) return {"neither", kCheckPath};
  return {text, text == "a Git LFS pointer" ? kFetchFromLfs
                : text == "an HTML page"    ? kDownloadFile
                                            : kCheckPath};
}

// ---- Writing -------------------------------------------------------------------------------------------

at::Tensor contiguous_on_cpu(const at::Tensor& tensor) { return tensor.detach().to(at::kCPU).contiguous(); }

/// The tensor without the location of its elements.
StoredTensor description_of(const NamedTensor& named) {
  return {named.name, element_type_of(named), named.tensor.sizes().vec(), {}, 0, 0};
}

void check_names(const std::vector<NamedTensor>& tensors) {
  std::set<std::string_view> names;
  for (const NamedTensor& named : tensors) {
    if (is_utf8(named.name) && names.insert(named.name).second) continue;
    throw UserError(fmt::format("tensor \"{}\"", printable(named.name)),
                    "expected a unique name in UTF-8, found a duplicate or other bytes", "rename it");
  }
}

/// Adds the name of the file to errors about unsupported names and dtypes.
std::string content_for(const fs::path& path, const TensorFile& file, bool is_archive) {
  try {
    return is_archive ? torch_archive_of(file) : safetensors_of(file);
  } catch (const UserError& error) {
    throw UserError::inside(path.string(), error);
  }
}

}  // namespace

TensorFile parse_safetensors(std::string_view content, const std::string& where) {
  SafetensorsHeader header = parse_safetensors_header(content, where);
  return {load_all(header.tensors, content, where), std::move(header.metadata)};
}

TensorFile parse_torch_archive(std::string_view content, const std::string& where) {
  return {load_all(find_tensors_of_torch_archive(content, where), content, where), {}};
}

std::string safetensors_of(const TensorFile& file) {
  SafetensorsHeader header{{}, file.metadata};
  for (const NamedTensor& named : file.tensors) header.tensors.push_back(description_of(named));
  std::string content = write_safetensors_header(header);
  for (const NamedTensor& named : file.tensors) {
    const at::Tensor tensor = contiguous_on_cpu(named.tensor);
    content.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
  }
  return content;
}

std::string torch_archive_of(const TensorFile& file) {
  check_names(file.tensors);
  std::vector<StoredTensor> stored;
  for (const NamedTensor& named : file.tensors) stored.push_back(description_of(named));
  std::string content;
  caffe2::serialize::PyTorchStreamWriter archive([&](const void* bytes, std::size_t size) {
    content.append(static_cast<const char*>(bytes), size);
    return size;
  });
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const at::Tensor tensor = contiguous_on_cpu(file.tensors[i].tensor);
    archive.writeRecord(fmt::format("data/{}", i), tensor.data_ptr(), tensor.nbytes());
  }
  const std::string pickle = write_tensor_pickle(stored);
  archive.writeRecord("data.pkl", pickle.data(), pickle.size());
  archive.writeEndOfFile();
  return content;
}

TensorFile read_tensor_file(const fs::path& path) {
  const std::string content = read_whole_file(path);
  const std::string_view start(content);
  if (start.starts_with("PK\x03\x04")) return parse_torch_archive(content, path.string());
  if (start.substr(0, 9).ends_with('{')) return parse_safetensors(content, path.string());
  const auto [found, remedy] = describe_other_file(start);
  throw UserError(path.string(),
                  fmt::format("expected a safetensors file or a ZIP archive of torch.save, found {}", found),
                  std::string(remedy));
}

void write_tensor_file(const fs::path& path, const TensorFile& file) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool is_archive = extension == ".pt" || extension == ".pth";
  if (!is_archive && extension != ".safetensors") {
    throw UserError(path.string(),
                    fmt::format("expected the file extension .safetensors, .pt or .pth, found \"{}\"",
                                path.extension().string()),
                    "choose one of these");
  }
  write_atomically(path, content_for(path, file, is_archive));
}

}  // namespace twingrad
