#include "twingrad/io/tensor_file.h"

#include <fmt/format.h>
#include <torch/serialize.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/input_file.h"
#include "twingrad/io/remedies.h"
#include "twingrad/io/safetensors_header.h"
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

// ---- Writing -------------------------------------------------------------------------------------------

at::Tensor contiguous_on_cpu(const at::Tensor& tensor) { return tensor.detach().to(at::kCPU).contiguous(); }

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
  for (const NamedTensor& named : file.tensors) {
    header.tensors.push_back({named.name, element_type_of(named), named.tensor.sizes().vec(), {}, 0, 0});
  }
  std::string content = write_safetensors_header(header);
  for (const NamedTensor& named : file.tensors) {
    const at::Tensor tensor = contiguous_on_cpu(named.tensor);
    content.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
  }
  return content;
}

std::string torch_archive_of(const TensorFile& file) {
  check_names(file.tensors);
  std::vector<c10::IValue> pairs;
  for (const NamedTensor& named : file.tensors) {
    element_type_of(named);
    // Cloned because LibTorch writes the complete storage of a view.
    const at::Tensor tensor = contiguous_on_cpu(named.tensor).clone();
    pairs.emplace_back(c10::ivalue::Tuple::create({c10::IValue(named.name), c10::IValue(tensor)}));
  }
  const std::vector<char> content = torch::pickle_save(c10::ivalue::Tuple::create(std::move(pairs)));
  return {content.begin(), content.end()};
}

TensorFile read_tensor_file(const fs::path& path) {
  const std::string content = read_whole_file(path);
  const std::string_view start(content);
  if (start.starts_with("PK\x03\x04")) return parse_torch_archive(content, path.string());
  if (start.substr(0, 9).ends_with('{')) return parse_safetensors(content, path.string());
  const bool is_pickle = start.starts_with("\x80\x02");
  throw UserError(path.string(),
                  fmt::format("expected a safetensors file or a ZIP archive of torch.save, found {}",
                              is_pickle ? "a bare pickle, perhaps of PyTorch before 1.6" : "neither"),
                  is_pickle ? "load it in Python and save it again with torch.save" : "check the path");
}

void write_tensor_file(const fs::path& path, const TensorFile& file) {
  const std::string extension = path.extension().string();
  const bool is_archive = extension == ".pt" || extension == ".pth";
  if (!is_archive && extension != ".safetensors") {
    throw UserError(
        path.string(),
        fmt::format("expected the file extension .safetensors, .pt or .pth, found \"{}\"", extension),
        "choose one of these");
  }
  write_atomically(path, content_for(path, file, is_archive));
}

}  // namespace twingrad
