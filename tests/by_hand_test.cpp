#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

// By hand means by hand: no source of a layer, a loss, an optimizer or the manual twin may ask LibTorch for a
// gradient.

namespace twingrad {
namespace {

namespace fs = std::filesystem;

/// What would let LibTorch do the work. `backward(` alone is our own word; `_backward` names an ATen kernel.
const std::regex& forbidden() {
  static const std::regex pattern(
      R"(_backward|autograd|requires_grad_|set_requires_grad|\.grad\(\)|torch::nn|)"
      R"(torch::optim|#include <torch/torch\.h>)");
  return pattern;
}

std::string without_comments(const std::string& source) {
  return std::regex_replace(source, std::regex(R"(//[^\n]*)"), "");
}

/// The first forbidden word in a source, or "".
std::string offence(const std::string& source) {
  std::smatch match;
  const std::string code = without_comments(source);
  return std::regex_search(code, match, forbidden()) ? match.str() : "";
}

std::vector<fs::path> sources_by_hand() {
  const fs::path library = fs::path(TWINGRAD_SOURCE_FOLDER) / "cpp" / "twingrad";
  std::vector<fs::path> sources = {library / "mlp" / "manual_twin.h", library / "mlp" / "manual_twin.cpp",
                                   library / "mlp" / "manual_shard.h", library / "mlp" / "manual_shard.cpp",
                                   library / "mlp" / "flat_parameters.h"};
  for (const char* folder : {"layers", "losses", "optim"}) {
    for (const auto& entry : fs::directory_iterator(library / folder)) {
      sources.push_back(entry.path());
    }
  }
  return sources;
}

TEST(ByHand, NoSourceOfTheManualTwinAsksLibTorchForAGradient) {
  const std::vector<fs::path> sources = sources_by_hand();
  EXPECT_GT(sources.size(), 25U);
  for (const fs::path& path : sources) {
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(offence(text.str()), "") << path;
  }
}

TEST(ByHand, TheSearchFindsWhatItLooksFor) {
  EXPECT_EQ(offence("return at::threshold_backward(grad_y, x, 0);"), "_backward");
  EXPECT_EQ(offence("torch::autograd::grad({y}, {x});"), "autograd");
  EXPECT_EQ(offence("return x.grad();"), ".grad()");
  EXPECT_EQ(offence("// unlike at::threshold_backward\nconst Tensor& backward(const Tensor& grad_y);"), "");
}

}  // namespace
}  // namespace twingrad
