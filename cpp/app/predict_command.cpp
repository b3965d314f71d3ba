#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/model_file.h"
#include "app/option_values.h"
#include "twingrad/data/dataset.h"
#include "twingrad/data/drawing.h"
#include "twingrad/io/grey_image.h"
#include "twingrad/io/png.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/predictor.h"
#include "twingrad/report/characters.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/threads.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

/// Images that are run through the network at once.
constexpr std::size_t kAtOnce = 500;
/// So many are drawn; of more only the classes are told.
constexpr std::size_t kDrawn = 8;
/// Classes that are told of a drawn image.
constexpr std::int64_t kLikeliest = 3;

struct PredictRequest {
  std::string model;
  std::vector<std::string> images;
  std::string activation = "relu";
  std::string like;  ///< the data set that images are prepared like; empty: as the model says
  bool raw = false;
  bool json = false;
};

/// The files that are meant: those of a folder in the order of their names.
std::vector<fs::path> files_of(const std::vector<std::string>& images) {
  std::vector<fs::path> files;
  for (const std::string& image : images) {
    std::error_code error;
    if (!fs::is_directory(image, error)) {
      files.emplace_back(image);
      continue;
    }
    std::vector<fs::path> inside;
    for (const auto& entry : fs::directory_iterator(image, error)) {
      std::string ending = entry.path().extension().string();
      std::transform(ending.begin(), ending.end(), ending.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      if (ending == ".png") {
        inside.push_back(entry.path());
      }
    }
    if (inside.empty()) {
      throw UserError(image, "expected a folder with .png files, found none in it",
                      "name files or another folder");
    }
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

/// What one image is taken for.
struct Answer {
  fs::path file;
  GreyImage input;
  Predictor::Answer autograd, manual;  ///< of this image: [C]
};

std::int64_t class_of(const Predictor::Answer& answer) { return answer.logits.argmax().item<std::int64_t>(); }

double percent(const Predictor::Answer& answer, std::int64_t of) {
  return 100 * answer.probabilities[of].item<double>();
}

std::string name_of_class(const std::vector<std::string>& names, std::int64_t of) {
  return of < std::ssize(names) ? names[static_cast<std::size_t>(of)] : std::to_string(of);
}

void print_drawn(const Answer& answer, const std::vector<std::string>& names) {
  fmt::print("{}\n", answer.file.string());
  for (const std::string& line : draw_in_characters(answer.input, characters_of_locale())) {
    fmt::print("{}\n", line);
  }
  fmt::print("{:<14} {:>9} {:>9}\n", "class", "autograd", "manual");
  const at::Tensor order = answer.manual.logits.argsort(0, /*descending=*/true);
  for (std::int64_t i = 0; i < std::min(kLikeliest, order.size(0)); ++i) {
    const auto of = order[i].item<std::int64_t>();
    fmt::print("{:<14} {:>8.2f}% {:>8.2f}%\n", name_of_class(names, of), percent(answer.autograd, of),
               percent(answer.manual, of));
  }
  fmt::print("\n");
}

void print_line(const Answer& answer, const std::vector<std::string>& names) {
  const std::int64_t autograd = class_of(answer.autograd);
  const std::int64_t manual = class_of(answer.manual);
  fmt::print("{}  autograd {} {:.2f}%  manual {} {:.2f}%\n", answer.file.string(),
             name_of_class(names, autograd), percent(answer.autograd, autograd), name_of_class(names, manual),
             percent(answer.manual, manual));
}

std::vector<double> to_vector(const at::Tensor& tensor) {
  const at::Tensor contiguous = tensor.contiguous();
  return {contiguous.data_ptr<double>(), contiguous.data_ptr<double>() + contiguous.numel()};
}

nlohmann::ordered_json to_json(const Predictor::Answer& answer, const std::vector<std::string>& names) {
  const std::int64_t of = class_of(answer);
  return {{"class", of},
          {"name", name_of_class(names, of)},
          {"probabilities", to_vector(answer.probabilities)},
          {"logits", to_vector(answer.logits)}};
}

/// Runs the images of `answers` through both twins.
void predict(Predictor& predictor, std::vector<Answer>& answers) {
  const std::int64_t inputs = predictor.spec().inputs;
  at::Tensor batch = at::empty({std::ssize(answers), inputs}, at::kDouble);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    auto* row = batch.data_ptr<double>() + static_cast<std::int64_t>(i) * inputs;
    std::transform(answers[i].input.pixels.begin(), answers[i].input.pixels.end(), row,
                   [](std::uint8_t pixel) { return pixel / 255.0; });
  }
  const Predictor::Answers all = predictor.predict(batch);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    answers[i].autograd = {all.autograd.logits[row], all.autograd.probabilities[row]};
    answers[i].manual = {all.manual.logits[row], all.manual.probabilities[row]};
  }
}

/// Parses the arguments. Returns false after --help.
bool parse_request(const std::vector<std::string>& arguments, PredictRequest& request) {
  CLI::App command("Tells what is on images: the class and its probability by both twins.",
                   "twingrad predict");
  const std::string group = "Options";
  command.add_option("images", request.images, "PNG files, or folders of them")->type_name("IMAGE");
  add_option(command, group,
             {"--model", "FILE|DIR", "", "weights as .safetensors or .pt, or the folder of a run"},
             [&](const std::string& text) { request.model = text; });
  add_option(command, group,
             {"--like", "NAME", "",
              "prepare images like those of mnist or fashion-mnist; default: as the model says"},
             [&](const std::string& text) {
               request.like = choose<std::string>("--like", text,
                                                  {{"mnist", "mnist"}, {"fashion-mnist", "fashion-mnist"}});
             });
  add_flag(command, group, "--raw", request.raw,
           "scale images to the network's size and do nothing else to them");
  add_option(command, group,
             {"--activation", "NAME", "relu", "of weights that do not tell: those that Python has written"},
             [&](const std::string& text) {
               Names<std::string> names;
               for (const nn::ActivationEntry& entry : nn::activations()) {
                 names.emplace_back(entry.name, entry.name);
               }
               request.activation = choose("--activation", text, names);
             });
  add_flag(command, group, "--json", request.json, "print JSON");
  if (!parse(command, arguments)) {
    return false;
  }
  if (request.model.empty()) {
    throw UserError("--model", "expected a file or the folder of a run, found none",
                    "see 'twingrad predict --help'");
  }
  if (request.images.empty()) {
    throw UserError("twingrad predict", "expected PNG files, found none", "name some, or a folder of them");
  }
  return true;
}

}  // namespace

int predict_command(const std::vector<std::string>& arguments) {
  PredictRequest request;
  if (!parse_request(arguments, request)) {
    return kDone;
  }
  use_threads({.aten = 1, .blas = 1});
  Predictor predictor(model_file(request.model, "autograd"), model_file(request.model, "manual"),
                      request.activation);
  const std::string like = request.like.empty() ? predictor.dataset() : request.like;
  const data::Preparation preparation = request.raw               ? data::Preparation::none
                                        : like == "fashion-mnist" ? data::Preparation::fashion_mnist
                                                                  : data::Preparation::mnist;
  const std::vector<std::string> names = data::class_names(predictor.dataset());
  const std::vector<fs::path> files = files_of(request.images);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  bool failed = false;
  for (std::size_t first = 0; first < files.size(); first += kAtOnce) {
    std::vector<Answer> answers;
    for (std::size_t i = first; i < std::min(files.size(), first + kAtOnce); ++i) {
      try {
        answers.push_back({files[i],
                           data::prepare(read_png(files[i]), preparation, predictor.height(),
                                         predictor.width(), files[i].string()),
                           {},
                           {}});
      } catch (const UserError& error) {  // the other images can be told all the same
        fmt::print(stderr, "twingrad: error: {}\n", error.what());
        failed = true;
      }
    }
    predict(predictor, answers);
    for (const Answer& answer : answers) {
      if (request.json) {
        rows.push_back({{"image", answer.file.string()},
                        {"autograd", to_json(answer.autograd, names)},
                        {"manual", to_json(answer.manual, names)}});
      } else if (files.size() <= kDrawn) {
        print_drawn(answer, names);
      } else {
        print_line(answer, names);
      }
    }
  }
  if (request.json) {
    fmt::print("{}\n", rows.dump(2));
  }
  return failed ? kWrongUsage : kDone;
}

}  // namespace twingrad::app
