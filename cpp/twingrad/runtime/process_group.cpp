// All that depends on c10d, whose classes differ between versions of LibTorch: ProcessGroupGloo derives from
// ProcessGroup up to 1.13 and from Backend since 2.0, so only its concrete type is used.
#include "twingrad/runtime/process_group.h"

#include <ATen/ops/empty.h>
#include <c10/util/Logging.h>
#include <fmt/format.h>

#include <cstring>

#if defined(TWINGRAD_HAS_GLOO) && defined(USE_C10D_GLOO)  // the latter by LibTorch
#define TWINGRAD_USE_GLOO
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "twingrad/runtime/signals.h"
#endif

namespace twingrad {

#ifdef TWINGRAD_USE_GLOO
namespace {

constexpr std::chrono::seconds kTimeout(kRankTimeoutSeconds);

/// The first line of an error message, without the place in the source code at its beginning.
std::string cause_of(const std::exception& error) {
  std::string text = error.what();
  text = text.substr(0, text.find('\n'));
  const std::size_t end = text.starts_with('[') ? text.find("] ") : text.npos;
  return end == text.npos ? text : text.substr(end + 2);
}

/// The address of this host that connections to the host of rank 0 begin at; empty if it cannot be reached.
std::string address_towards(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;  // connecting a socket of this type sends nothing
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    throw UserError("MASTER_ADDR", fmt::format("expected the address of a host, found {}", host),
                    "give the name or number of rank 0's host");
  }
  char text[NI_MAXHOST] = "";
  for (const addrinfo* entry = found; entry != nullptr && text[0] == '\0'; entry = entry->ai_next) {
    const int socket = ::socket(entry->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    if (socket != -1 && connect(socket, entry->ai_addr, entry->ai_addrlen) == 0 &&
        getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0) {
      getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
    }
    close(socket);
  }
  freeaddrinfo(found);
  return text;
}

auto make_device(const Ranks& ranks) {
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr && *interface != '\0') {
    try {
      return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
    } catch (const std::exception& error) {
      throw UserError("GLOO_SOCKET_IFNAME",
                      fmt::format("expected a network interface with an address, found {} ({})", interface,
                                  cause_of(error)),
                      "see 'ip address' for the names");
    }
  }
  const std::string address = address_towards(ranks.address, ranks.port);
  return address.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                         : c10d::ProcessGroupGloo::createDeviceForHostname(address);
}

/// Newer LibTorch prefers libuv, without which Debian builds it.
void use_own_server(auto& options) {
  if constexpr (requires { options.useLibUV; }) {
    options.useLibUV = false;
  }
}

/// Nothing is written to std::cerr. Gloo tells there what it does; what goes wrong is an exception.
class SilentErrors {
 public:
  SilentErrors() : buffer_(std::cerr.rdbuf(nullptr)) {}
  SilentErrors(const SilentErrors&) = delete;
  SilentErrors& operator=(const SilentErrors&) = delete;
  ~SilentErrors() { std::cerr.rdbuf(buffer_); }

 private:
  std::streambuf* buffer_;
};

class GlooGroup final : public ProcessGroup {
 public:
  explicit GlooGroup(const Ranks& ranks) : rank_(ranks.rank), size_(ranks.size) {
    constexpr int kOnlyFatal = 3;
    FLAGS_caffe2_log_level = kOnlyFatal;  // the exceptions say what c10d logs
    const SignalBlockGuard no_signals;    // in the threads that start here
    const SilentErrors silent;
    const auto device = make_device(ranks);
    try {
      c10d::TCPStoreOptions options;
      options.port = static_cast<std::uint16_t>(ranks.port);
      options.isServer = rank_ == 0 && !ranks.has_agent_store;
      options.waitWorkers = !ranks.has_agent_store;
      options.timeout = kTimeout;
      use_own_server(options);
      if (options.waitWorkers) {
        options.numWorkers = static_cast<std::size_t>(size_);
      }
      store_ = c10::make_intrusive<c10d::TCPStore>(ranks.address, options);
      const auto keys =
          c10::make_intrusive<c10d::PrefixStore>(fmt::format("twingrad/{}", ranks.restarts), store_);
      const auto gloo = c10d::ProcessGroupGloo::Options::create(kTimeout);
      gloo->devices.push_back(device);
      group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(keys, rank_, size_, gloo);
    } catch (const std::exception& error) {
      throw UserError(name(),
                      fmt::format("expected all processes to meet at {} port {} within {} s, found \"{}\"",
                                  ranks.address, ranks.port, kRankTimeoutSeconds, cause_of(error)),
                      "check that all have started, and that this address and port are reachable");
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    finish([&] { return group_->allreduce(tensors); });
  }

  void broadcast(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    finish([&] { return group_->broadcast(tensors); });
  }

  void barrier() override {
    finish([&] { return group_->barrier(); });
  }

 private:
  std::string name() const { return fmt::format("rank {} of {}", rank_, size_); }

  void finish(const auto& start) {
    try {
      start()->wait();
    } catch (const std::exception& error) {
      throw RankLost(name(),
                     fmt::format("expected all processes to go on, found one that ended or gave no answer "
                                 "for {} s ({})",
                                 kRankTimeoutSeconds, cause_of(error)),
                     "see the messages of the others, and resume the run");
    }
  }

  int rank_, size_;
  c10::intrusive_ptr<c10d::TCPStore> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;  ///< destroyed before the store that it refers to
};

}  // namespace

std::unique_ptr<ProcessGroup> join_process_group(const Ranks& ranks) {
  return std::make_unique<GlooGroup>(ranks);
}
#else
std::unique_ptr<ProcessGroup> join_process_group(const Ranks& ranks) {
  throw UserError(fmt::format("rank {} of {}", ranks.rank, ranks.size),
                  "expected a build with Gloo, found one without",
                  "install libgloo-dev and build again, or train in one process");
}
#endif

std::string broadcast_text(ProcessGroup& group, const std::string& text) {
  at::Tensor size = at::empty({1}, at::kLong);
  *size.data_ptr<std::int64_t>() = static_cast<std::int64_t>(text.size());
  group.broadcast(size);
  at::Tensor bytes = at::empty({*size.data_ptr<std::int64_t>()}, at::kByte);
  if (bytes.numel() == 0) {
    return "";
  }
  if (group.rank() == 0) {
    std::memcpy(bytes.data_ptr<std::uint8_t>(), text.data(), text.size());
  }
  group.broadcast(bytes);
  return {reinterpret_cast<const char*>(bytes.data_ptr<std::uint8_t>()),
          static_cast<std::size_t>(bytes.numel())};
}

}  // namespace twingrad
