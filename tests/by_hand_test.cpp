#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

// No source of a layer, a loss, an optimizer or the manual twin may use a gradient that LibTorch computes.

namespace twingrad {
namespace {

namespace fs = std::filesystem;

/// Names of LibTorch's automatic gradients. `backward(` is this library's own method; `_backward` is part of
/// the names of ATen kernels.
const std::regex& forbidden() {
  static const std::regex pattern(
      R"(_backward|autograd|requires_grad_|set_requires_grad|\.grad\(\)|torch::nn|)"
      R"(torch::optim|#include <torch/torch\.h>)");
  return pattern;
}

std::string without_comments(const std::string& source) {
  return std::regex_replace(source, std::regex(R"(//[^\n]*)"), "");
}

/// The first forbidden name in a source, or "".
std::string forbidden_name_in(const std::string& source) {
  std::smatch match;
  const std::string code = without_comments(source);
  return std::regex_search(code, match, forbidden()) ? match.str() : "";
}

std::vector<fs::path> hand_written_sources() {
  const fs::path library = fs::path(TWINGRAD_SOURCE_FOLDER) / "cpp" / "twingrad";
  std::vector<fs::path> sources = {library / "mlp" / "manual_twin.h", library / "mlp" / "manual_twin.cpp",
                                   library / "mlp" / "manual_shard.h", library / "mlp" / "manual_shard.cpp",
                                   library / "mlp" / "flat_parameters.h"};
  for (const char* folder : {"layers", "losses", "ops", "optim"}) {
    for (const auto& entry : fs::directory_iterator(library / folder)) {
      sources.push_back(entry.path());
    }
  }
  return sources;
}

TEST(ByHand, TheManualTwinUsesNoGradientOfLibTorch) {
  const std::vector<fs::path> sources = hand_written_sources();
  EXPECT_GT(sources.size(), 25U);
  for (const fs::path& path : sources) {
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(forbidden_name_in(text.str()), "") << path;
  }
}

TEST(ByHand, TheSearchFindsForbiddenNames) {
  EXPECT_EQ(forbidden_name_in("return at::threshold_backward(grad_y, x, 0);"), "_backward");
  EXPECT_EQ(forbidden_name_in("torch::autograd::grad({y}, {x});"), "autograd");
  EXPECT_EQ(forbidden_name_in("return x.grad();"), ".grad()");
  EXPECT_EQ(
      forbidden_name_in("// unlike at::threshold_backward\nconst Tensor& backward(const Tensor& grad_y);"),
      "");
}

}  // namespace
}  // namespace twingrad
