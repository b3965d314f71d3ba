#include "twingrad/training/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "twingrad/io/atomic_file.h"
#include "twingrad/io/input_file.h"
#include "twingrad/io/tensor_file.h"
#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExtension = ".safetensors";

}  // namespace

std::vector<NamedTensor> tensors_of(const std::vector<Twin*>& twins) {
  std::vector<NamedTensor> named;
  const auto add = [&](const std::string& prefix, const std::vector<NamedTensor>& tensors) {
    for (const auto& [name, tensor] : tensors) {
      named.push_back({prefix + name, tensor});
    }
  };
  for (const Twin* twin : twins) {
    add(twin->name() + ".", twin->parameters());
    add(twin->name() + ".", twin->buffers());
    add(twin->name() + ".optimizer.", twin->optimizer_state());
  }
  return named;
}

void load(Twin& twin, const Checkpoint& checkpoint) {
  const std::string prefix = twin.name() + ".";
  const std::string optimizer_prefix = prefix + "optimizer.";
  std::vector<NamedTensor> network, optimizer;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.rfind(optimizer_prefix, 0) == 0) {
      optimizer.push_back({name.substr(optimizer_prefix.size()), tensor});
    } else if (name.rfind(prefix, 0) == 0) {
      network.push_back({name.substr(prefix.size()), tensor});
    }
  }
  load_network(twin, network);
  twin.load_optimizer_state(optimizer);
}

std::string content_of(const Checkpoint& checkpoint) {
  return with_checksum(safetensors_of({checkpoint.tensors, metadata_of(checkpoint)}));
}

Checkpoint parse_checkpoint(const std::string& content, const std::string& where) {
  TensorFile file = parse_safetensors(content, where);
  return {parse_checkpoint_text(file.metadata, content, where), std::move(file.tensors)};
}

void CheckpointFolder::write(const Checkpoint& checkpoint) const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) {
    throw UserError(path_.string(),
                    fmt::format("expected a directory that can be created, found \"{}\"", error.message()),
                    "free some space or choose another --out");
  }
  write_atomically(path_ / fmt::format("step-{:012}{}", checkpoint.progress.result.steps, kExtension),
                   content_of(checkpoint));
  const std::vector<fs::path> all = files();
  for (std::size_t i = 0; i + 2 < all.size(); ++i) {
    fs::remove(all[i], error);
  }
}

CheckpointFolder::Newest CheckpointFolder::read_newest() const {
  Newest newest;
  std::vector<fs::path> all = files();
  for (; !all.empty(); all.pop_back()) {
    try {
      newest.checkpoint = parse_checkpoint(read_whole_file(all.back()), all.back().string());
      newest.path = all.back();
      return newest;
    } catch (const UserError& error) {
      newest.damages.emplace_back(error.what());
    }
  }
  if (!newest.damages.empty()) {
    throw UserError(path_.string(),
                    fmt::format("expected an undamaged checkpoint, found {} damaged ({})",
                                newest.damages.size(), newest.damages.front()),
                    "start a new run");
  }
  throw UserError(path_.string(), "expected the checkpoints of a run, found none",
                  "pass the directory of a run to --resume");
}

std::vector<fs::path> CheckpointFolder::files() const {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("step-", 0) == 0 && entry.path().extension() == kExtension) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace twingrad
