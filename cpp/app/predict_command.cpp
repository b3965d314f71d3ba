#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/model_file.h"
#include "twingrad/data/dataset.h"
#include "twingrad/data/drawing.h"
#include "twingrad/io/png.h"
#include "twingrad/mlp/predictor.h"
#include "twingrad/report/characters.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kImagesPerBatch = 500;
/// If there are more images, they are not drawn; each takes one line of output.
constexpr std::size_t kMaxDrawnImages = 8;
/// Classes shown for a drawn image.
constexpr std::size_t kClassesShown = 3;

struct PredictOptions {
  std::string model;
  std::vector<std::string> images;
  std::string activation = "relu";
  std::string like;  ///< the data set whose preparation is used; empty: that of the model
  bool raw = false;
  bool json = false;
};

// clang-format off
const FieldTable<PredictOptions> kPredictFields = {"Options", "", {
  model_field(&PredictOptions::model),
  parsed("--like", "NAME", &PredictOptions::like, one_of({"mnist", "fashion-mnist"}), {}, "",
         "prepare the images like those of mnist or fashion-mnist; default: the data set of the model")
      .without_default(),
  flag("--raw", &PredictOptions::raw, {}, "", "only scale the images to the input size of the network"),
  parsed("--activation", "NAME", &PredictOptions::activation,
         one_of(network_fields().at("--activation").names), {}, "",
         "activation of a network whose file does not name one, such as weights saved by Python"),
  flag("--json", &PredictOptions::json, {}, "", kJsonHelp),
}};
// clang-format on

bool is_png(const fs::path& file) {
  std::string extension = file.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension == ".png";
}

/// Reports the most common kind of file in a directory without PNG files.
[[noreturn]] void refuse_without_png(const std::string& directory, const std::map<std::string, int>& others) {
  const auto most = std::max_element(others.begin(), others.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const std::string found = most == others.end()  ? "none in it"
                            : most->first.empty() ? fmt::format("{} files without extension", most->second)
                                                  : fmt::format("{} {}", most->second, most->first);
  throw UserError(directory, "expected a directory with .png files, found " + found,
                  most == others.end() ? "name files or another directory" : "convert them to PNG");
}

/// The files, with each directory replaced by its PNG files, sorted by name.
std::vector<fs::path> image_files(const std::vector<std::string>& images) {
  std::vector<fs::path> files;
  for (const std::string& image : images) {
    std::error_code error;
    if (!fs::is_directory(image, error)) {
      files.emplace_back(image);
      continue;
    }
    const auto first = static_cast<std::ptrdiff_t>(files.size());
    std::map<std::string, int> others;  // the number of other files by extension
    for (const fs::directory_entry& entry : fs::directory_iterator(image, error)) {
      const fs::path& file = entry.path();
      const bool is_hidden = file.filename().string().front() == '.';  // such as ._a.png by macOS
      if (is_hidden || entry.is_directory(error)) continue;
      if (is_png(file)) {
        files.push_back(file);
      } else {
        ++others[file.extension().string()];
      }
    }
    if (first == std::ssize(files)) refuse_without_png(image, others);
    std::sort(files.begin() + first, files.end());
  }
  return files;
}

/// An image and its classification by both twins.
struct ClassifiedImage {
  fs::path file;
  GreyImage input;
  Predictor::Predictions predictions;
};

double percent(const Predictor::Prediction& prediction, std::size_t index) {
  return 100 * prediction.probabilities[index];
}

std::string class_name(const std::vector<std::string>& names, std::size_t index) {
  return index < names.size() ? names[index] : std::to_string(index);
}

void print_with_image(const ClassifiedImage& image, const std::vector<std::string>& names) {
  const auto& [autograd, manual] = image.predictions;
  fmt::print("{}\n", image.file.string());
  for (const std::string& line : draw_in_characters(image.input, characters_of_locale())) {
    fmt::print("{}\n", line);
  }
  fmt::print("{:<14} {:>9} {:>9}\n", "class", "autograd", "manual");
  std::vector<std::size_t> order(manual.logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return manual.logits[a] > manual.logits[b]; });
  order.resize(std::min(kClassesShown, order.size()));
  for (const std::size_t index : order) {
    fmt::print("{:<14} {:>8.2f}% {:>8.2f}%\n", class_name(names, index), percent(autograd, index),
               percent(manual, index));
  }
  fmt::print("\n");
}

void print_line(const ClassifiedImage& image, const std::vector<std::string>& names) {
  const auto& [autograd, manual] = image.predictions;
  fmt::print("{}  autograd {} {:.2f}%  manual {} {:.2f}%\n", image.file.string(),
             class_name(names, autograd.most_likely()), percent(autograd, autograd.most_likely()),
             class_name(names, manual.most_likely()), percent(manual, manual.most_likely()));
}

nlohmann::ordered_json prediction_to_json(const Predictor::Prediction& prediction,
                                          const std::vector<std::string>& names) {
  return {{"class", prediction.most_likely()},
          {"name", class_name(names, prediction.most_likely())},
          {"probabilities", prediction.probabilities},
          {"logits", prediction.logits}};
}

data::Preparation preparation_of(const PredictOptions& options, const std::string& dataset) {
  if (options.raw) {
    return data::Preparation::none;
  }
  const std::string& like = options.like.empty() ? dataset : options.like;
  if (like.empty() || like == "mnist") {
    return data::Preparation::mnist;
  }
  return like == "fashion-mnist" ? data::Preparation::fashion_mnist : data::Preparation::other;
}

/// Reads, prepares and classifies the images. Reports and skips files that cannot be read.
std::vector<ClassifiedImage> classify_batch(Predictor& predictor, data::Preparation preparation,
                                            const std::vector<fs::path>& files, bool& failed) {
  std::vector<ClassifiedImage> batch;
  std::vector<GreyImage> inputs;
  for (const fs::path& file : files) {
    try {
      inputs.push_back(
          data::prepare(read_png(file), preparation, predictor.height(), predictor.width(), file.string()));
      batch.push_back({file, inputs.back(), {}});
    } catch (const UserError& error) {
      fmt::print(stderr, "twingrad: error: {}\n", error.what());
      failed = true;
    }
  }
  std::vector<Predictor::Predictions> predictions = predictor.predict(inputs);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    batch[i].predictions = std::move(predictions[i]);
  }
  return batch;
}

int classify_images(const PredictOptions& options) {
  require_value("--model", options.model, "a file or a run directory", "twingrad predict");
  require_value("twingrad predict", options.images.empty() ? "" : options.images.front(), "PNG files",
                "twingrad predict");
  use_threads({.aten = 1, .blas = 1});
  Predictor predictor(model_file(options.model, "autograd"), model_file(options.model, "manual"),
                      options.activation);
  print_notes(predictor.notes());
  const data::Preparation preparation = preparation_of(options, predictor.dataset());
  const std::vector<std::string> names = data::class_names(predictor.dataset());
  const std::vector<fs::path> files = image_files(options.images);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  bool failed = false;
  for (auto first = files.begin(); first != files.end();) {
    const auto last = first + std::min<std::ptrdiff_t>(kImagesPerBatch, files.end() - first);
    for (const ClassifiedImage& image : classify_batch(predictor, preparation, {first, last}, failed)) {
      if (options.json) {
        rows.push_back({{"image", image.file.string()},
                        {"autograd", prediction_to_json(image.predictions.autograd, names)},
                        {"manual", prediction_to_json(image.predictions.manual, names)}});
      } else if (files.size() <= kMaxDrawnImages) {
        print_with_image(image, names);
      } else {
        print_line(image, names);
      }
    }
    first = last;
  }
  if (options.json) {
    print_json(rows);
  }
  return failed ? kWrongUsage : kDone;
}

}  // namespace

std::function<int()> add_predict_command(CLI::App& program) {
  const auto options = std::make_shared<PredictOptions>();
  CLI::App& command = add_command(program, "predict", "Classify images with both twins.",
                                  {{"twingrad predict --model runs/first digit.png", "both twins of a run"},
                                   {"twingrad predict --model weights.pt --like mnist --json images",
                                    "the images of a directory, with weights from Python"}});
  command.add_option("images", options->images, "PNG files, or directories with PNG files")
      ->type_name("IMAGE");
  return command_with(command, kPredictFields, classify_images, options);
}

}  // namespace twingrad::app
