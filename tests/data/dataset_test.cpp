#include "twingrad/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../support/temporary_folder.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad::data::dataset_test {

using namespace ::testing;
using namespace twingrad::testing;
namespace fs = std::filesystem;

using Bytes = std::vector<std::uint8_t>;

// ---- Small data sets on disk -----------------------------------------------------------------------------

Bytes idx_bytes(const std::vector<std::uint32_t>& sizes, const Bytes& content) {
  Bytes bytes{0, 0, 8, static_cast<std::uint8_t>(sizes.size())};
  for (const std::uint32_t size : sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(size >> shift));
  }
  bytes.insert(bytes.end(), content.begin(), content.end());
  return bytes;
}

Bytes images(std::uint32_t count, std::uint32_t height, std::uint32_t width, std::uint8_t brightness) {
  return idx_bytes({count, height, width}, Bytes(std::size_t{count} * height * width, brightness));
}

Bytes labels(const Bytes& content) {
  return idx_bytes({static_cast<std::uint32_t>(content.size())}, content);
}

/// Writes three training and two test images of 2 × 4 pixels.
void write_small_dataset(const TemporaryFolder& folder) {
  folder.write("train-images-idx3-ubyte", images(3, 2, 4, 10));
  folder.write("train-labels-idx1-ubyte", labels({0, 9, 5}));
  folder.write("t10k-images-idx3-ubyte", images(2, 2, 4, 20));
  folder.write("t10k-labels-idx1-ubyte", labels({1, 2}));
}

void write_gzip(const fs::path& file, const Bytes& bytes) {
  gzFile packed = gzopen(file.c_str(), "wb");
  ASSERT_NE(packed, nullptr);
  EXPECT_EQ(gzwrite(packed, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  EXPECT_EQ(gzclose(packed), Z_OK);
}

std::string refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

std::string refusal_of_load(const std::string& name_or_folder, std::int64_t classes = 10) {
  return refusal_of([&] { load(name_or_folder, classes); });
}

// ---- The surroundings ------------------------------------------------------------------------------------

/// Sets an environment variable, or removes it, until the end of the scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;
  ~ScopedVariable() { set(before_); }

 private:
  void set(const std::optional<std::string>& value) const {
    if (value) {
      setenv(name_, value->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

  const char* name_;
  std::optional<std::string> before_;
};

/// Makes a folder the current one until the end of the scope.
class ScopedCurrentFolder {
 public:
  explicit ScopedCurrentFolder(const fs::path& folder) : before_(fs::current_path()) {
    fs::current_path(folder);
  }
  ScopedCurrentFolder(const ScopedCurrentFolder&) = delete;
  ScopedCurrentFolder& operator=(const ScopedCurrentFolder&) = delete;
  ~ScopedCurrentFolder() {
    std::error_code ignored;
    fs::current_path(before_, ignored);
  }

 private:
  fs::path before_;
};

/// An empty current folder and home, so that no data of the machine is found but what lies in
/// /usr/share/datasets.
class LoadDataset : public ::testing::Test {
 protected:
  std::string folder() const { return folder_.path().string(); }
  std::string path_of(const std::string& name) const { return (folder_.path() / name).string(); }

  TemporaryFolder folder_;

 private:
  TemporaryFolder empty_;
  ScopedCurrentFolder current_{empty_.path()};
  ScopedVariable twingrad_data_{"TWINGRAD_DATA", std::nullopt};
  ScopedVariable data_home_{"XDG_DATA_HOME", std::nullopt};
  ScopedVariable home_{"HOME", empty_.path().string()};
};

// ---- Search folders --------------------------------------------------------------------------------------

TEST_F(LoadDataset, SearchesTheFolderOfTwingradThenThisOneThenTheUsersThenTheSystems) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", "/first");
  const ScopedVariable data_home("XDG_DATA_HOME", "/third");
  EXPECT_THAT(search_folders("mnist"), ElementsAre("/first/mnist", "data/mnist", "/third/twingrad/mnist",
                                                   "/usr/share/datasets/mnist"));
}

TEST_F(LoadDataset, SearchesTheHomeFolderWithoutADataHome) {
  const ScopedVariable data_home("XDG_DATA_HOME", "");  // empty counts as not set
  const ScopedVariable home("HOME", "/home/ada");
  EXPECT_THAT(search_folders("mnist"), ElementsAre("data/mnist", "/home/ada/.local/share/twingrad/mnist",
                                                   "/usr/share/datasets/mnist"));
}

TEST_F(LoadDataset, SearchesOnWithoutAHome) {
  const ScopedVariable home("HOME", std::nullopt);
  EXPECT_THAT(search_folders("mnist"), ElementsAre("data/mnist", "/usr/share/datasets/mnist"));
}

// ---- What is loaded --------------------------------------------------------------------------------------

TEST_F(LoadDataset, ReadsTheFourFilesOfAFolder) {
  write_small_dataset(folder_);
  const Dataset dataset = load(folder(), 10);
  EXPECT_EQ(dataset.name, folder());
  EXPECT_EQ(dataset.title, folder());
  EXPECT_EQ(dataset.location, folder());
  EXPECT_EQ(dataset.classes, 10);
  EXPECT_THAT(dataset.class_names, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));

  EXPECT_EQ(dataset.train.count, 3);
  EXPECT_EQ(dataset.train.height, 2);
  EXPECT_EQ(dataset.train.width, 4);
  EXPECT_EQ(dataset.train.pixels, Bytes(24, 10));
  EXPECT_THAT(dataset.train.labels, ElementsAre(0, 9, 5));

  EXPECT_EQ(dataset.test.count, 2);
  EXPECT_EQ(dataset.test.pixels, Bytes(16, 20));
  EXPECT_THAT(dataset.test.labels, ElementsAre(1, 2));
}

TEST_F(LoadDataset, TakesAFolderWithoutASlashWhenItIsNoKnownName) {
  const ScopedCurrentFolder current(folder_.path().parent_path());
  write_small_dataset(folder_);
  EXPECT_EQ(load(folder_.path().filename().string(), 10).train.count, 3);
}

TEST_F(LoadDataset, TakesTheSha256OverThoseOfTheFourFiles) {
  write_small_dataset(folder_);
  std::string lines;
  for (const FileVerdict& file : verify(folder(), 10)) lines += file.sha256 + "\n";
  Sha256 expected;
  expected.update(Bytes(lines.begin(), lines.end()));
  const std::string before = load(folder(), 10).sha256;
  EXPECT_EQ(before, expected.hex_digest());

  folder_.write("t10k-labels-idx1-ubyte", labels({1, 3}));
  EXPECT_NE(load(folder(), 10).sha256, before);
}

TEST_F(LoadDataset, ReadsPackedFilesToo) {
  write_small_dataset(folder_);
  const Dataset plain = load(folder(), 10);
  fs::remove(path_of("train-images-idx3-ubyte"));
  write_gzip(path_of("train-images-idx3-ubyte.gz"), images(3, 2, 4, 10));
  const Dataset packed = load(folder(), 10);
  EXPECT_EQ(packed.train.pixels, plain.train.pixels);
  EXPECT_EQ(packed.sha256, plain.sha256);
}

TEST_F(LoadDataset, PrefersThePlainFileToThePackedOne) {
  write_small_dataset(folder_);
  folder_.write("train-images-idx3-ubyte.gz", Bytes{0x1f, 0x8b});  // broken, so reading it would throw
  EXPECT_EQ(load(folder(), 10).train.count, 3);
}

TEST_F(LoadDataset, FindsANamedDatasetAndCallsItByItsNames) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", folder());
  fs::create_directory(path_of("fashion-mnist"));
  write_small_dataset(folder_);
  for (const std::string& file : kFileNames) fs::rename(path_of(file), path_of("fashion-mnist/" + file));

  const Dataset dataset = load("fashion-mnist", 10);
  EXPECT_EQ(dataset.name, "fashion-mnist");
  EXPECT_EQ(dataset.title, "Fashion-MNIST");
  EXPECT_EQ(dataset.location, path_of("fashion-mnist"));
  EXPECT_THAT(dataset.class_names, ElementsAre("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                               "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"));
  EXPECT_EQ(load("fashion-mnist", 11).class_names[0], "0") << "there are only ten names";
}

TEST_F(LoadDataset, PassesOverAnIncompleteFolderWhenAnotherIsComplete) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", path_of("incomplete"));
  const ScopedVariable data_home("XDG_DATA_HOME", folder());
  write_small_dataset(folder_);
  fs::create_directories(path_of("incomplete/mnist"));
  fs::create_directories(path_of("twingrad/mnist"));
  fs::copy(path_of(kFileNames[0]), path_of("incomplete/mnist"));
  for (const std::string& file : kFileNames) fs::rename(path_of(file), path_of("twingrad/mnist/" + file));
  EXPECT_EQ(load("mnist", 10).location, path_of("twingrad/mnist"));
}

TEST_F(LoadDataset, TakesAsManyClassesAsAByteHolds) {
  write_small_dataset(folder_);
  folder_.write("train-labels-idx1-ubyte", labels({0, 255, 5}));
  const Dataset dataset = load(folder(), 256);
  EXPECT_EQ(dataset.classes, 256);
  EXPECT_EQ(dataset.class_names.size(), 256U);
  EXPECT_EQ(dataset.class_names.back(), "255");
}

TEST_F(LoadDataset, DrawsSyntheticDataFromSeedOne) {
  EXPECT_EQ(load("synthetic", 7).sha256, synthetic(1, 2000, 500, 7).sha256);
}

// ---- What is refused -------------------------------------------------------------------------------------

TEST_F(LoadDataset, TellsHowToGetAMissingDataset) {
  const std::string refusal = refusal_of_load("mnist");
  EXPECT_THAT(refusal, StartsWith("mnist: expected the data set in data/mnist or "));
  EXPECT_THAT(refusal, HasSubstr(" or /usr/share/datasets/mnist, found it in none;"));
  EXPECT_THAT(refusal, EndsWith("; get it with: ./script/fetch-data mnist"));
  EXPECT_THAT(refusal, Not(HasSubstr("\n")));
}

TEST_F(LoadDataset, NamesWhatAnInterruptedDownloadLacks) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", folder());
  fs::create_directory(path_of("mnist"));
  folder_.write("mnist/train-images-idx3-ubyte", images(1, 1, 1, 0));
  EXPECT_EQ(
      refusal_of_load("mnist"),
      path_of("mnist") +
          ": expected the four files of a data set, each plain or with .gz, found no "
          "train-labels-idx1-ubyte, "
          "no t10k-images-idx3-ubyte, no t10k-labels-idx1-ubyte; get it with: ./script/fetch-data mnist");
}

TEST_F(LoadDataset, NamesTheFileThatAFolderLacks) {
  write_small_dataset(folder_);
  fs::remove(path_of("t10k-labels-idx1-ubyte"));
  EXPECT_THAT(refusal_of_load(folder()),
              AllOf(StartsWith(folder() + ": "), HasSubstr("found no t10k-labels-idx1-ubyte;")));
}

TEST_F(LoadDataset, SuggestsTheNameThatWasMeant) {
  EXPECT_EQ(refusal_of_load("fashon-mnist"),
            "data set \"fashon-mnist\": expected a folder or one of fashion-mnist, mnist, synthetic, found "
            "neither; "
            "did you mean fashion-mnist?");
  EXPECT_THAT(refusal_of_load("minst"), EndsWith("did you mean mnist?"));
  EXPECT_THAT(refusal_of_load("sythetic"), EndsWith("did you mean synthetic?"));
}

TEST_F(LoadDataset, SuggestsNothingForANameThatIsLikeNone) {
  for (const std::string name : {"", "imagenet-21k"}) {
    EXPECT_THAT(refusal_of_load(name),
                AllOf(HasSubstr("one of fashion-mnist, mnist, synthetic"), Not(HasSubstr("did you mean"))));
  }
}

TEST_F(LoadDataset, RefusesAFolderThatIsNotThere) {
  EXPECT_EQ(refusal_of_load("no/such/folder"),
            "no/such/folder: expected a folder, found nothing there; check the path");
}

TEST_F(LoadDataset, RefusesAFileInThePlaceOfAFolder) {
  write_small_dataset(folder_);
  EXPECT_THAT(refusal_of_load(path_of("train-images-idx3-ubyte")),
              HasSubstr("expected a folder, found a file; give the folder that holds the four files"));
}

TEST_F(LoadDataset, PassesOnWhatReadIdxRefusesInEachOfTheFiles) {
  for (const std::string& file : kFileNames) {
    write_small_dataset(folder_);
    folder_.write(file, "");
    EXPECT_THAT(refusal_of_load(folder()), StartsWith(path_of(file) + ": byte 0: expected a header")) << file;
  }
}

TEST_F(LoadDataset, RefusesADifferentNumberOfLabelsAndImages) {
  write_small_dataset(folder_);
  folder_.write("train-labels-idx1-ubyte", labels({0, 1}));
  EXPECT_THAT(refusal_of_load(folder()),
              StartsWith(path_of("train-labels-idx1-ubyte") +
                         ": byte 4: expected 3 labels, as many as there are images, found 2;"));
}

TEST_F(LoadDataset, RefusesTestImagesOfAnotherSize) {
  write_small_dataset(folder_);
  folder_.write("t10k-images-idx3-ubyte", images(2, 4, 2, 20));  // as many pixels, but turned by 90 degrees
  EXPECT_THAT(refusal_of_load(folder()),
              StartsWith(path_of("t10k-images-idx3-ubyte") +
                         ": byte 8: expected images of 2 × 4, as in train-images-idx3-ubyte, found 4 × 2;"));
}

TEST_F(LoadDataset, RefusesALabelThatIsNotBelowTheNumberOfClasses) {
  write_small_dataset(folder_);
  EXPECT_THAT(refusal_of_load(folder(), 9), StartsWith(path_of("train-labels-idx1-ubyte") +
                                                       ": byte 9: expected a label from 0 to 8, found 9;"));
  folder_.write("t10k-labels-idx1-ubyte", labels({10, 2}));
  EXPECT_THAT(refusal_of_load(folder(), 10), StartsWith(path_of("t10k-labels-idx1-ubyte") +
                                                        ": byte 8: expected a label from 0 to 9, found 10;"));
}

TEST_F(LoadDataset, RefusesANumberOfClassesThatNoByteCanTell) {
  write_small_dataset(folder_);
  for (const std::int64_t classes : {-1, 0, 257}) {
    EXPECT_EQ(refusal_of_load(folder(), classes), "number of classes: expected 1 to 256, found " +
                                                      std::to_string(classes) +
                                                      "; give as many as the data set has");
  }
}

// ---- The real Fashion-MNIST ------------------------------------------------------------------------------

TEST_F(LoadDataset, LoadsFashionMnistOrTellsHowToGetIt) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist")) {
    EXPECT_THAT(refusal_of_load("fashion-mnist"),
                EndsWith("; get it with: sudo apt-get install dataset-fashion-mnist"));
    return;
  }
  const Dataset dataset = load("fashion-mnist", 10);
  EXPECT_EQ(dataset.location, "/usr/share/datasets/fashion-mnist");
  EXPECT_EQ(dataset.train.count, 60000);
  EXPECT_EQ(dataset.test.count, 10000);
  for (const LabelledImages* part : {&dataset.train, &dataset.test}) {
    EXPECT_EQ(part->height, 28);
    EXPECT_EQ(part->width, 28);
    EXPECT_EQ(part->pixels.size(), static_cast<std::size_t>(part->count) * 28 * 28);
    for (std::uint8_t label = 0; label < 10; ++label) {
      EXPECT_EQ(std::count(part->labels.begin(), part->labels.end(), label), part->count / 10);
    }
  }
  EXPECT_EQ(dataset.train.labels[0], 9) << "the first image is an ankle boot";

  for (const FileVerdict& verdict : verify("fashion-mnist", 10)) EXPECT_TRUE(verdict.matches) << verdict.file;
}

// ---- Verdicts on files -----------------------------------------------------------------------------------

TEST_F(LoadDataset, VerifiesThatAFileOfANamedDatasetIsNotThePublishedOne) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", folder());
  fs::create_directory(path_of("mnist"));
  write_small_dataset(folder_);
  for (const std::string& file : kFileNames) fs::rename(path_of(file), path_of("mnist/" + file));

  const std::vector<FileVerdict> verdicts = verify("mnist", 10);
  ASSERT_EQ(verdicts.size(), kFileNames.size());
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    EXPECT_EQ(verdicts[i].file, path_of("mnist/" + kFileNames[i]));
    EXPECT_EQ(verdicts[i].sha256.size(), 64U);
    EXPECT_TRUE(verdicts[i].known);
    EXPECT_FALSE(verdicts[i].matches);
  }
}

TEST_F(LoadDataset, VerifiesNothingOfAFolderWithUnpublishedFiles) {
  write_small_dataset(folder_);
  for (const FileVerdict& verdict : verify(folder(), 10)) {
    EXPECT_FALSE(verdict.known);
    EXPECT_FALSE(verdict.matches);
  }
}

TEST_F(LoadDataset, VerifiesWithEveryErrorOfLoad) {
  write_small_dataset(folder_);
  EXPECT_THAT(refusal_of([&] { verify(folder(), 9); }), HasSubstr("expected a label from 0 to 8, found 9;"));
  EXPECT_THAT(refusal_of([] { verify("synthetic", 10); }),
              StartsWith("synthetic: expected a data set that lies in files, found one that is drawn;"));
}

TEST(NamedDatasets, HaveAPublishedChecksumForEachFile) {
  std::set<std::string> checksums;
  for (const NamedDataset& dataset : named_datasets()) {
    EXPECT_EQ(dataset.sha256.size(), kFileNames.size()) << dataset.name;
    EXPECT_EQ(dataset.class_names.size(), 10U) << dataset.name;
    for (const std::string& checksum : dataset.sha256) {
      EXPECT_EQ(checksum.size(), 64U) << dataset.name;
      EXPECT_TRUE(checksums.insert(checksum).second) << "twice: " << checksum;
    }
  }
}

// ---- Drawn data ------------------------------------------------------------------------------------------

TEST(Synthetic, IsTheSameOnEveryMachine) {
  EXPECT_EQ(synthetic(1).sha256, "1c302a92d7ea20d175c8fd3828500816c06d2bf6d1be44abffa72f7ca02df3fd");
}

TEST(Synthetic, DependsOnTheSeed) { EXPECT_NE(synthetic(1).sha256, synthetic(2).sha256); }

TEST(Synthetic, SaysWhatItIs) {
  const Dataset dataset = synthetic(42, 30, 20, 3);
  EXPECT_EQ(dataset.name, "synthetic");
  EXPECT_EQ(dataset.title, "synthetic (drawn from seed 42)");
  EXPECT_EQ(dataset.location, "");
  EXPECT_EQ(dataset.classes, 3);
  EXPECT_THAT(dataset.class_names, ElementsAre("0", "1", "2"));
  EXPECT_EQ(dataset.train.count, 30);
  EXPECT_EQ(dataset.test.count, 20);
  for (const LabelledImages* part : {&dataset.train, &dataset.test}) {
    EXPECT_EQ(part->height, 28);
    EXPECT_EQ(part->width, 28);
    EXPECT_EQ(part->pixels.size(), static_cast<std::size_t>(part->count) * 28 * 28);
    EXPECT_EQ(part->labels.size(), static_cast<std::size_t>(part->count));
  }
}

TEST(Synthetic, HasEachClassEquallyOftenUpToOneImage) {
  const Dataset dataset = synthetic(5, 103, 7, 10);
  for (std::uint8_t label = 0; label < 10; ++label) {
    const auto count = std::count(dataset.train.labels.begin(), dataset.train.labels.end(), label);
    EXPECT_EQ(count, label < 3 ? 11 : 10) << "class " << int{label};
  }
  EXPECT_FALSE(std::is_sorted(dataset.train.labels.begin(), dataset.train.labels.end()));
}

TEST(Synthetic, TakesCountsThatTheNumberOfClassesDoesNotDivide) {
  for (const std::int64_t classes : {1, 2, 3, 256}) {
    for (const std::int64_t count : {1, 2, 7, 300}) {
      const Dataset dataset = synthetic(3, count, count, classes);
      EXPECT_EQ(dataset.train.labels.size(), static_cast<std::size_t>(count));
      EXPECT_THAT(dataset.train.labels, Each(Lt(classes)));
      EXPECT_THAT(dataset.test.labels, Each(Lt(classes)));
    }
  }
}

TEST(Synthetic, RefusesCountsOutOfRange) {
  EXPECT_EQ(refusal_of([] { synthetic(1, 0, 10); }),
            "synthetic training images: expected 1 to 1000000, found 0; give a number in this range");
  EXPECT_THAT(refusal_of([] { synthetic(1, 10, -1); }),
              HasSubstr("test images: expected 1 to 1000000, found -1"));
  EXPECT_THAT(refusal_of([] { synthetic(1, 10, 10, 257); }), HasSubstr("expected 1 to 256, found 257"));
}

/// A linear classifier, trained by plain stochastic gradient descent on the softmax cross-entropy.
class LinearClassifier {
 public:
  explicit LinearClassifier(const LabelledImages& images, std::size_t classes)
      : size_(static_cast<std::size_t>(images.height * images.width)),
        weights_(classes, std::vector<float>(size_)),
        biases_(classes) {
    for (std::size_t i = 0; i < images.labels.size(); ++i) learn(&images.pixels[i * size_], images.labels[i]);
  }

  double accuracy_on(const LabelledImages& images) const {
    int right = 0;
    for (std::size_t i = 0; i < images.labels.size(); ++i) {
      const std::vector<float> logits = logits_of(&images.pixels[i * size_]);
      const auto guess = std::max_element(logits.begin(), logits.end()) - logits.begin();
      right += guess == images.labels[i] ? 1 : 0;
    }
    return right / static_cast<double>(images.count);
  }

 private:
  static constexpr float kLearningRate = 0.01F / 255;  // pixels are 0 … 255

  std::vector<float> logits_of(const std::uint8_t* pixels) const {
    std::vector<float> logits = biases_;
    for (std::size_t c = 0; c < logits.size(); ++c) {
      for (std::size_t i = 0; i < size_; ++i)
        logits[c] += weights_[c][i] * static_cast<float>(pixels[i]) / 255;
    }
    return logits;
  }

  void learn(const std::uint8_t* pixels, std::uint8_t label) {
    std::vector<float> gradient = logits_of(pixels);
    const float largest = *std::max_element(gradient.begin(), gradient.end());
    float sum = 0;
    for (float& value : gradient) sum += value = std::exp(value - largest);
    for (float& value : gradient) value /= sum;
    gradient[label] -= 1;
    for (std::size_t c = 0; c < gradient.size(); ++c) {
      biases_[c] -= kLearningRate * 255 * gradient[c];
      for (std::size_t i = 0; i < size_; ++i) {
        weights_[c][i] -= kLearningRate * gradient[c] * static_cast<float>(pixels[i]);
      }
    }
  }

  std::size_t size_;
  std::vector<std::vector<float>> weights_;
  std::vector<float> biases_;
};

TEST(Synthetic, IsLearnedByALinearClassifierButNotWithoutAFault) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const Dataset dataset = synthetic(seed);
    const double accuracy = LinearClassifier(dataset.train, 10).accuracy_on(dataset.test);
    EXPECT_GT(accuracy, 0.95) << "seed " << seed;  // guessing would give 0.1
    EXPECT_LT(accuracy, 1.0) << "seed " << seed;
  }
}

TEST(HoldOut, PutsTheLastTrainingImagesInThePlaceOfTheTestImages) {
  const Dataset before = synthetic(1, 20, 7);
  Dataset after = before;
  hold_out(after, 6);
  EXPECT_EQ(after.train.count, 14);
  EXPECT_EQ(after.test.count, 6);
  EXPECT_EQ(after.test.height, 28);
  EXPECT_NE(after.title, before.title) << "the heading of a run says so";
  std::vector<std::uint8_t> pixels = after.train.pixels;
  pixels.insert(pixels.end(), after.test.pixels.begin(), after.test.pixels.end());
  std::vector<std::uint8_t> labels = after.train.labels;
  labels.insert(labels.end(), after.test.labels.begin(), after.test.labels.end());
  EXPECT_EQ(pixels, before.train.pixels);
  EXPECT_EQ(labels, before.train.labels);
}

TEST(HoldOut, RefusesToLeaveNothing) {
  Dataset dataset = synthetic(1, 20, 7);
  EXPECT_THROW(hold_out(dataset, 20), UserError);
  EXPECT_THROW(hold_out(dataset, 0), UserError);
  EXPECT_EQ(dataset.train.count, 20);
}

}  // namespace twingrad::data::dataset_test
