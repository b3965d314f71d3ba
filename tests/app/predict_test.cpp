#include <ATen/ATen.h>

#include "app_fixture.h"
#include "twingrad/data/dataset.h"
#include "twingrad/io/png.h"
#include "twingrad/io/tensor_file.h"

// The commands predict and export, and `train --init FILE`.

namespace twingrad {
namespace {

class PredictTest : public AppTest {
 protected:
  /// Trains on Fashion-MNIST for one epoch, and writes held-out images as PNG files to the directory
  /// "images".
  void train_and_write_images(int count) {
    const Outcome outcome =
        run("train --dataset fashion-mnist --hidden 24 --epochs 1 --quiet --out run --hold-out " +
            std::to_string(count));
    ASSERT_EQ(outcome.status, 0) << outcome.errors;
    data::Dataset dataset = data::load("fashion-mnist", 10);
    data::hold_out(dataset, count);
    fs::create_directories(folder.path() / "images");
    labels = dataset.test.labels;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const auto first = dataset.test.pixels.begin() + static_cast<std::ptrdiff_t>(i * 784);
      const GreyImage image{28, 28, {first, first + 784}};
      const std::string number = std::to_string(i);
      write_png(folder.path() / "images" / (std::string(5 - number.size(), '0') + number + ".png"), image);
    }
  }

  /// Writes random weights of a network 784-16-10 without metadata.
  TensorFile write_weights(const std::string& name, const std::string& first = "0",
                           const std::string& second = "2") const {
    TensorFile file{{{first + ".weight", at::rand({16, 784}) / 100},
                     {first + ".bias", at::rand({16})},
                     {second + ".weight", at::rand({10, 16})},
                     {second + ".bias", at::rand({10})}},
                    {}};
    write_tensor_file(folder.path() / name, file);
    return file;
  }

  /// An image with ink.
  void write_image(const std::string& name) const {
    GreyImage image{28, 28, std::vector<std::uint8_t>(784, 0)};
    std::fill(image.pixels.begin() + 300, image.pixels.begin() + 500, 255);
    write_png(folder.path() / name, image);
  }

  Json predict(const std::string& arguments) const { return run_json("predict " + arguments); }

  std::vector<std::uint8_t> labels;
};

TEST_F(PredictTest, AccuracyOnHeldOutImagesIsThatOfTheEvaluation) {
  train_and_write_images(700);
  const Json evaluation = summary("run");
  for (const char* raw : {" --raw", ""}) {  // preparation leaves prepared images unchanged
    const Json answers = predict(std::string("--model run images") + raw);
    ASSERT_EQ(answers.size(), labels.size());
    for (const std::string twin : {"autograd", "manual"}) {
      double right = 0;
      for (std::size_t i = 0; i < labels.size(); ++i) {
        right += answers[i][twin]["class"] == labels[i] ? 1 : 0;
      }
      EXPECT_EQ(right / static_cast<double>(labels.size()), evaluation["twins"][twin]["test_accuracy"])
          << twin;
    }
  }
}

TEST_F(PredictTest, ShowsTheImageAndThePredictionsOfBothTwins) {
  train_and_write_images(12);
  const Outcome one = run("predict --model run images/00003.png");
  EXPECT_EQ(one.status, 0) << one.errors;
  EXPECT_THAT(one.output,
              AllOf(StartsWith("images/00003.png\n"), HasSubstr("autograd"), HasSubstr("manual")));
  EXPECT_EQ(std::count(one.output.begin(), one.output.end(), '\n'), 1 + 14 + 1 + 3 + 1)
      << "the image has 14 lines";
  const Outcome many = run("predict --model run images");
  EXPECT_EQ(std::count(many.output.begin(), many.output.end(), '\n'), 12) << "one line per image";

  const Json answer = predict("--model run images/00003.png")[0];
  EXPECT_EQ(answer["image"], "images/00003.png");
  for (const char* twin : {"autograd", "manual"}) {
    double sum = 0;
    for (const Json& probability : answer[twin]["probabilities"]) {
      sum += probability.get<double>();
    }
    EXPECT_NEAR(sum, 1, 1e-12);
    EXPECT_TRUE(answer[twin]["name"].is_string());
  }
}

TEST_F(PredictTest, DamagedImageIsReportedAndTheOthersAreClassified) {
  train_and_write_images(3);
  write("images/00001.png", "no image");
  const Outcome outcome = run("predict --model run --json images");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.errors, AllOf(StartsWith("twingrad: error: images/00001.png"), HasSubstr("; ")));
  EXPECT_EQ(Json::parse(outcome.output).size(), 2U);
}

TEST_F(PredictTest, ExportedWeightsGiveTheSameLogits) {
  train_and_write_images(20);
  const Json expected = predict("--model run/manual.safetensors images");
  for (const std::string file : {"w.pt", "w.pth", "w.safetensors"}) {
    EXPECT_EQ(run("export --model run --to " + file).status, 0);
    // A .pt file does not name the data set. The network follows from the shapes.
    const Json answers = predict("--model " + file + " images --like fashion-mnist");
    EXPECT_EQ(answers[7]["manual"]["logits"], expected[7]["manual"]["logits"]) << file;
  }
  EXPECT_EQ(run("export --model run --twin autograd --to a.safetensors").status, 0);
  EXPECT_TRUE(content(folder.path() / "a.safetensors") ==
              content(folder.path() / "run" / "autograd.safetensors"));
}

TEST_F(PredictTest, InitialWeightsAreReadFromAFile) {
  train_and_write_images(10);
  EXPECT_EQ(run("export --model run --to w.pt").status, 0);
  const std::string start = "train --dataset fashion-mnist --epochs 1 --quiet --lr 0 --init w.pt";
  const Outcome outcome = run(start + " --hidden 24 --out next");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  for (const char* twin : {"manual", "autograd"}) {  // unchanged with a learning rate of 0
    EXPECT_TRUE(content(folder.path() / "next" / (std::string(twin) + ".safetensors")) ==
                content(folder.path() / "run" / "manual.safetensors"));
  }
  const Outcome other = run(start + " --hidden 25 --out other");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.errors, AllOf(StartsWith("twingrad: error: --init w.pt"), HasSubstr("0.weight")));
  EXPECT_FALSE(fs::exists(folder.path() / "other"));
}

TEST_F(PredictTest, WeightsThatDoNotFitAreRefused) {
  TensorFile deeper = write_weights("fits.pt");
  EXPECT_EQ(run("train --dataset synthetic --hidden 16 --epochs 1 --quiet --init fits.pt --out fits").status,
            0);
  deeper.tensors.push_back({"4.weight", at::ones({10, 10})});
  deeper.tensors.push_back({"4.bias", at::ones({10})});
  write_tensor_file(folder.path() / "deeper.pt", deeper);
  const std::string train = "train --dataset synthetic --hidden 16 --init ";
  expect_refused(train + "deeper.pt", "--init deeper.pt", "the unknown \"4.weight\" [10, 10]");
  expect_refused("compare --dataset synthetic --hidden 16 --weights deeper.pt", "--weights deeper.pt",
                 "the unknown \"4.weight\"");
  TensorFile slope = write_weights("fits.pt");
  slope.tensors.push_back({"1.weight", at::ones({1})});
  write_tensor_file(folder.path() / "prelu.pt", slope);
  write_image("a.png");
  expect_refused(train + "prelu.pt", "--init prelu.pt", "the unknown \"1.weight\" [1]");
  expect_refused("predict --model prelu.pt a.png", "prelu.pt", "the unknown \"1.weight\" [1]");
}

TEST_F(PredictTest, WeightsAndLogitsThatAreNotFiniteAreRefused) {
  write_image("a.png");
  const std::string train = "train --dataset synthetic --hidden 16 --init ";
  for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    TensorFile file = write_weights("w.safetensors");
    file.tensors[0].tensor[3][5] = value;
    write_tensor_file(folder.path() / "w.safetensors", file);
    expect_refused("predict --model w.safetensors a.png", "w.safetensors", "1 of 12544 in \"0.weight\"");
    expect_refused("predict --model w.safetensors --json a.png", "w.safetensors",
                   "1 of 12544 in \"0.weight\"");
    expect_refused(train + "w.safetensors", "--init w.safetensors", "1 of 12544 in \"0.weight\"");
  }
  TensorFile large = write_weights("large.pt");
  large.tensors[0].tensor.fill_(1e30);
  large.tensors[2].tensor.fill_(1e30);
  write_tensor_file(folder.path() / "large.pt", large);
  expect_refused("predict --model large.pt a.png", "large.pt", "logits that are not");
  expect_refused(train + "large.pt", "--init large.pt", "logits that are not");
  EXPECT_EQ(
      run("train --dataset synthetic --hidden 16 --epochs 1 --quiet --dtype float64 --optimizer sgd --lr 0 "
          "--loss mse --init large.pt --out wide")
          .status,
      0)
      << "in float64 the logits are finite";
}

TEST_F(PredictTest, OtherNamesAreReadWithALineAboutThem) {
  write_image("a.png");
  write_weights("module.pt", "module._orig_mod.0", "module._orig_mod.2");
  write_weights("fc.safetensors", "fc1", "fc2");
  const std::string train = "train --dataset synthetic --hidden 16 --epochs 1 --quiet --out ";
  for (const auto& [file, line] : {std::pair("module.pt", "stripped the prefix \"module._orig_mod.\""),
                                   {"fc.safetensors", "numbered the layers by their shapes: \"fc1\" as 0"}}) {
    for (const std::string command : {"predict a.png --model ", "train"}) {
      const Outcome outcome = run(command == "train" ? train + file + ".run --init " + file : command + file);
      EXPECT_EQ(outcome.status, 0) << outcome.errors;
      EXPECT_THAT(outcome.errors,
                  AllOf(StartsWith("twingrad: "), HasSubstr(std::string(file) + ": " + line)));
      EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
    }
  }
  const Outcome json = run("predict --json --model module.pt a.png");
  EXPECT_EQ(Json::parse(json.output).size(), 1U) << "the line is not on standard output";
  // The names fit a network with dropout too.
  EXPECT_EQ(run("train --dataset synthetic --hidden 16 --dropout 0.2 --epochs 1 --quiet --out d --init "
                "fc.safetensors")
                .status,
            0);
}

TEST_F(PredictTest, NamesOfWeightFilesMayBeInUpperCase) {
  write_image("a.png");
  write_weights("w.pt");
  ASSERT_EQ(run("export --model w.pt --to W.SAFETENSORS").status, 0);
  ASSERT_EQ(run("export --model W.SAFETENSORS --to X.PT").status, 0);
  EXPECT_TRUE(content(folder.path() / "X.PT") == content(folder.path() / "w.pt"));
  EXPECT_EQ(predict("--model X.PT a.png"), predict("--model w.pt a.png"));
  fs::create_directories(folder.path() / "run");
  fs::copy(folder.path() / "W.SAFETENSORS", folder.path() / "run" / "MANUAL.SAFETENSORS");
  EXPECT_EQ(predict("--model run a.png"), predict("--model w.pt a.png"));
}

TEST_F(PredictTest, InvalidOptionsAndFilesAreRefused) {
  write("text", "no weights");
  write("a.png", "no image");
  expect_refused("predict", "--model", "found none");
  expect_refused("predict --model text", "twingrad predict", "found none");
  expect_refused("predict --model text a.png", "text", "");
  expect_refused("predict --model nothing a.png", "nothing", "");
  expect_refused("predict --model . a.png", "--model .", "without manual.safetensors");
  expect_refused("predict --modle text a.png", "--modle", "did you mean --model?");
  expect_refused("export --model text", "--to", "found none");
  expect_refused("export --model text --to w.pt", "text", "");
  expect_refused("export --model text --to w.xyz", "", "");
  expect_refused("train --init text --dataset synthetic", "text", "");
  expect_refused("train --init nosuch.pt --dataset synthetic", "--init nosuch.pt",
                 "expected uniform, normal or a file of weights, found no such file; check the path");
  expect_refused("train --init nothing --dataset synthetic", "--init nothing", "found no such file");
  expect_refused("train --init unifrom --dataset synthetic", "--init unifrom", "did you mean uniform?");
  expect_refused("train --init . --dataset synthetic", "--init .", "found a directory; name the file");
}

}  // namespace
}  // namespace twingrad
