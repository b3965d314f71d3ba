// A peer in the benchmark: the same training as an experienced LibTorch user would write it, with autograd,
// torch::nn, torch::optim and the best settings. It uses twingrad only to read the data files.

#include <dlfcn.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "twingrad/data/dataset.h"
#include "twingrad/runtime/error.h"

namespace {

struct Options {
  std::string dataset = "fashion-mnist";
  std::vector<std::int64_t> hidden{98};
  std::int64_t batch_size = 128;  ///< 0: all samples
  std::int64_t epochs = 5;
  std::uint64_t seed = 1;
  int aten_threads = 1;
  int blas_threads = 1;
};

struct Samples {
  torch::Tensor images;  ///< [N, D], float32, x/255
  torch::Tensor labels;  ///< [N], int64
};

Samples to_tensors(const twingrad::data::LabelledImages& part) {
  auto* pixels = const_cast<std::uint8_t*>(part.pixels.data());  // read only
  auto* labels = const_cast<std::uint8_t*>(part.labels.data());
  return {torch::from_blob(pixels, {part.count, part.height * part.width}, torch::kByte)
              .to(torch::kFloat32)
              .div_(255),
          torch::from_blob(labels, {part.count}, torch::kByte).to(torch::kInt64)};
}

torch::nn::Sequential make_network(std::int64_t inputs, const Options& options, std::int64_t classes) {
  torch::nn::Sequential network;
  for (const std::int64_t width : options.hidden) {
    network->push_back(torch::nn::Linear(inputs, width));
    network->push_back(torch::nn::ReLU());
    inputs = width;
  }
  network->push_back(torch::nn::Linear(inputs, classes));
  return network;
}

void train_epoch(torch::nn::Sequential& network, torch::optim::Adam& optimizer, const Samples& train,
                 std::int64_t batch_size) {
  const std::int64_t count = train.images.size(0);
  const auto step = [&](const torch::Tensor& images, const torch::Tensor& labels) {
    optimizer.zero_grad();
    torch::nn::functional::cross_entropy(network->forward(images), labels).backward();
    optimizer.step();
  };
  if (batch_size == count) {  // the order does not matter
    step(train.images, train.labels);
    return;
  }
  const torch::Tensor order = torch::randperm(count, torch::kInt64);
  for (std::int64_t start = 0; start < count; start += batch_size) {
    const torch::Tensor rows = order.slice(0, start, std::min(start + batch_size, count));
    step(train.images.index_select(0, rows), train.labels.index_select(0, rows));
  }
}

double accuracy(torch::nn::Sequential& network, const Samples& test) {
  const torch::NoGradGuard no_gradients;
  return network->forward(test.images).argmax(1).eq(test.labels).to(torch::kFloat64).mean().item<double>();
}

/// Sets the size of both thread pools. Two pools that spin on the same cores slow each other down.
void set_threads(const Options& options) {
  at::set_num_threads(options.aten_threads);
  for (const char* name : {"openblas_set_num_threads", "MKL_Set_Num_Threads", "bli_thread_set_num_threads"}) {
    if (void* set = dlsym(RTLD_DEFAULT, name)) reinterpret_cast<void (*)(int)>(set)(options.blas_threads);
  }
}

/// Keeps freed memory in the process. Otherwise, each full-batch step requests its 23 MB of activations from
/// the system again and waits for every page.
void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}

nlohmann::ordered_json run(const Options& options) {
  set_threads(options);
  keep_freed_memory();
  at::globalContext().setFlushDenormal(true);  // Adam's running means become denormal where a gradient is 0
  torch::manual_seed(options.seed);
  const twingrad::data::Dataset dataset = twingrad::data::load(options.dataset, 10);
  const Samples train = to_tensors(dataset.train);
  const Samples test = to_tensors(dataset.test);
  const std::int64_t count = train.images.size(0);
  const std::int64_t batch_size = options.batch_size == 0 ? count : std::min(options.batch_size, count);

  torch::nn::Sequential network = make_network(train.images.size(1), options, dataset.classes);
  torch::optim::Adam optimizer(network->parameters());
  std::vector<double> seconds;
  for (std::int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    train_epoch(network, optimizer, train, batch_size);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  std::vector<double> sorted = seconds;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2),
                   sorted.end());
  return {{"name", "torch::nn (C++)"},
          {"version", TORCH_VERSION},
          {"threads", {{"aten", options.aten_threads}, {"blas", options.blas_threads}}},
          {"seconds_per_epoch", seconds},
          {"samples_per_second", static_cast<double>(count) / sorted[sorted.size() / 2]},
          {"test_accuracy", accuracy(network, test)}};
}

/// A validator for CLI11: an error message unless the text is a positive integer.
std::string require_count(const std::string& text) {
  const bool is_number = text.find_first_not_of("0123456789") == std::string::npos;
  return is_number && text.find_first_not_of('0') != std::string::npos
             ? ""
             : fmt::format("expected a positive integer, found {}", text);
}

std::string require_count_or_full(const std::string& text) {
  return text == "full" || require_count(text).empty()
             ? ""
             : fmt::format("expected a positive integer or full, found {}", text);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::string batch_size = "128";
  CLI::App app{"Trains an MLP with torch::nn and prints the seconds per epoch as one line of JSON."};
  app.add_option("--dataset", options.dataset, "Name or directory of the data set")->capture_default_str();
  app.add_option("--hidden", options.hidden, "Hidden layer widths, comma-separated")
      ->delimiter(',')
      ->check(require_count)
      ->capture_default_str();
  app.add_option("--batch-size", batch_size, "Samples per step, or full")
      ->check(require_count_or_full)
      ->capture_default_str();
  app.add_option("--epochs", options.epochs)->check(require_count)->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--aten-threads", options.aten_threads, "Threads of LibTorch's pool")
      ->check(require_count)
      ->capture_default_str();
  app.add_option("--blas-threads", options.blas_threads, "Threads of the BLAS library")
      ->check(require_count)
      ->capture_default_str();
  try {
    app.parse(argc, argv);
    options.batch_size = batch_size == "full" ? 0 : std::stoll(batch_size);
    fmt::print("{}\n", run(options).dump());
    return 0;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::Error& error) {
    fmt::print(stderr, "plain-torch: error: {}; see --help\n", error.what());
  } catch (const twingrad::UserError& error) {
    fmt::print(stderr, "plain-torch: error: {}\n", error.what());
  }
  return 2;
}
