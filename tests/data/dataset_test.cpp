#include "twingrad/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../support/bytes.h"
#include "../support/refusal.h"
#include "../support/scoped_variable.h"
#include "../support/temporary_folder.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad::data::dataset_test {

using namespace ::testing;
using namespace twingrad::testing;
namespace fs = std::filesystem;

// ---- Small data sets --------------------------------------------------------------------------------------

Bytes images(std::uint32_t count, std::uint32_t height, std::uint32_t width, std::uint8_t brightness) {
  return idx_file({count, height, width}, Bytes(std::size_t{count} * height * width, brightness));
}

Bytes labels(const Bytes& content) { return idx_file({static_cast<std::uint32_t>(content.size())}, content); }

/// Writes three training and two test images of 2 × 4 pixels to the folder or to its subdirectory `within`.
void write_small_dataset(const TemporaryFolder& folder, const std::string& within = ".") {
  fs::create_directories(folder.path() / within);
  folder.write(within + "/train-images-idx3-ubyte", images(3, 2, 4, 10));
  folder.write(within + "/train-labels-idx1-ubyte", labels({0, 9, 5}));
  folder.write(within + "/t10k-images-idx3-ubyte", images(2, 2, 4, 20));
  folder.write(within + "/t10k-labels-idx1-ubyte", labels({1, 2}));
}

std::string refusal_of_load(const std::string& name_or_folder, std::int64_t classes = 10) {
  return refusal_of([&] { load(name_or_folder, classes); });
}

/// Changes the working directory until the end of the scope.
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

/// Uses an empty working directory and home: no installed data is found outside /usr/share/datasets.
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

// ---- Search order ----------------------------------------------------------------------------------------

TEST_F(LoadDataset, SearchesInTheDocumentedOrder) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", "/first");
  const ScopedVariable data_home("XDG_DATA_HOME", "/third");
  EXPECT_THAT(search_folders("mnist"), ElementsAre("/first/mnist", "data/mnist", "/third/twingrad/mnist",
                                                   "/usr/share/datasets/mnist"));
}

TEST_F(LoadDataset, SearchesTheHomeDirectoryIfXdgDataHomeIsEmpty) {
  const ScopedVariable data_home("XDG_DATA_HOME", "");  // empty counts as unset
  const ScopedVariable home("HOME", "/home/ada");
  EXPECT_THAT(search_folders("mnist"), ElementsAre("data/mnist", "/home/ada/.local/share/twingrad/mnist",
                                                   "/usr/share/datasets/mnist"));
}

TEST_F(LoadDataset, SkipsTheHomeDirectoryIfHomeIsUnset) {
  const ScopedVariable home("HOME", std::nullopt);
  EXPECT_THAT(search_folders("mnist"), ElementsAre("data/mnist", "/usr/share/datasets/mnist"));
}

// ---- Loading ---------------------------------------------------------------------------------------------

TEST_F(LoadDataset, ReadsTheFourFilesOfADirectory) {
  write_small_dataset(folder_);
  const Dataset dataset = load(folder(), 10);
  EXPECT_EQ(dataset.name, folder());
  EXPECT_EQ(dataset.title, folder());
  EXPECT_EQ(dataset.location, folder());
  EXPECT_EQ(dataset.classes, 10);
  EXPECT_EQ(dataset.train.count, 3);
  EXPECT_EQ(dataset.train.height, 2);
  EXPECT_EQ(dataset.train.width, 4);
  EXPECT_EQ(dataset.train.pixels, Bytes(24, 10));
  EXPECT_THAT(dataset.train.labels, ElementsAre(0, 9, 5));

  EXPECT_EQ(dataset.test.count, 2);
  EXPECT_EQ(dataset.test.pixels, Bytes(16, 20));
  EXPECT_THAT(dataset.test.labels, ElementsAre(1, 2));
}

TEST_F(LoadDataset, AcceptsAnUnknownNameWithoutASlashAsADirectory) {
  const ScopedCurrentFolder current(folder_.path().parent_path());
  write_small_dataset(folder_);
  EXPECT_EQ(load(folder_.path().filename().string(), 10).train.count, 3);
}

TEST_F(LoadDataset, ComputesTheSha256OfTheChecksums) {
  write_small_dataset(folder_);
  std::string lines;
  for (const FileVerdict& file : verify(folder(), 10)) lines += file.sha256 + "\n";
  Sha256 expected;
  expected.update(lines);
  const std::string before = load(folder(), 10).sha256;
  EXPECT_EQ(before, expected.hex_digest());

  folder_.write("t10k-labels-idx1-ubyte", labels({1, 3}));
  EXPECT_NE(load(folder(), 10).sha256, before);
}

TEST_F(LoadDataset, ReadsCompressedFiles) {
  write_small_dataset(folder_);
  const Dataset plain = load(folder(), 10);
  fs::remove(path_of("train-images-idx3-ubyte"));
  folder_.write("train-images-idx3-ubyte.gz", gzip(images(3, 2, 4, 10)));
  const Dataset packed = load(folder(), 10);
  EXPECT_EQ(packed.train.pixels, plain.train.pixels);
  EXPECT_EQ(packed.sha256, plain.sha256);
}

TEST_F(LoadDataset, PrefersThePlainFile) {
  write_small_dataset(folder_);
  folder_.write("train-images-idx3-ubyte.gz", Bytes{0x1f, 0x8b});  // broken, so reading it would throw
  EXPECT_EQ(load(folder(), 10).train.count, 3);
}

TEST_F(LoadDataset, FindsOtherSpellings) {
  using Names = std::vector<std::string>;
  for (const Names& names :
       {Names{"train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte",
              "t10k-labels.idx1-ubyte"},
        Names{"emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte",
              "emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"},
        Names{"TRAIN-IMAGES-IDX3-UBYTE", "Train-Labels-idx1-ubyte", "T10K-images.IDX3-ubyte",
              "test_labels_idx1_ubyte"}}) {
    const TemporaryFolder folder;
    folder.write(names[0], images(3, 2, 4, 10));
    folder.write(names[1], labels({0, 9, 5}));
    folder.write(names[2] + ".gz", gzip(images(2, 2, 4, 20)));
    folder.write(names[3] + ".GZ", gzip(labels({1, 2})));
    folder.write("._" + names[0], Bytes{1});
    folder.write("notes-" + names[0] + ".txt", Bytes{1});
    const Dataset dataset = load(folder.path().string(), 10);
    EXPECT_EQ(dataset.train.labels, (Bytes{0, 9, 5})) << names[0];
    EXPECT_EQ(dataset.test.labels, (Bytes{1, 2})) << names[0];
    EXPECT_EQ(dataset.test.pixels[0], 20) << names[0];
  }
}

TEST_F(LoadDataset, DoesNotMixDatasets) {
  write_small_dataset(folder_);
  folder_.write("emnist-digits-train-images-idx3-ubyte", Bytes{1});
  EXPECT_EQ(load(folder(), 10).train.count, 3) << "the names of MNIST itself come first";

  const TemporaryFolder two;
  two.write("emnist-digits-train-images-idx3-ubyte", images(3, 2, 4, 10));
  two.write("emnist-letters-train-labels-idx1-ubyte", labels({0, 9, 5}));
  EXPECT_THAT(
      refusal_of_load(two.path().string()),
      HasSubstr("expected the files of one data set, found those of emnist-digits, emnist-letters; move"));
}

TEST_F(LoadDataset, ADirectoryDoesNotHideAFile) {
  write_small_dataset(folder_);
  const auto replace_by_directory = [&](const std::string& name) {
    fs::rename(folder_.path() / name, folder_.path() / "moved");
    fs::create_directory(folder_.path() / name);
  };
  replace_by_directory("train-images-idx3-ubyte");
  EXPECT_THAT(refusal_of_load(folder()), HasSubstr("found no train-images-idx3-ubyte"));
  fs::rename(folder_.path() / "moved", folder_.path() / "train-images-idx3-ubyte/train-images-idx3-ubyte");
  EXPECT_EQ(load(folder(), 10).train.pixels[0], 10) << "a file in a directory of its name";
  folder_.write("train-images-idx3-ubyte.gz", gzip(images(3, 2, 4, 11)));
  EXPECT_EQ(load(folder(), 10).train.pixels[0], 11) << "a compressed file beside that directory";
}

TEST_F(LoadDataset, FindsANamedDataset) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", folder());
  write_small_dataset(folder_, "fashion-mnist");
  const Dataset dataset = load("fashion-mnist", 10);
  EXPECT_EQ(dataset.name, "fashion-mnist");
  EXPECT_EQ(dataset.title, "Fashion-MNIST");
  EXPECT_EQ(dataset.location, path_of("fashion-mnist"));
}

TEST_F(LoadDataset, SkipsAnIncompleteDirectoryIfAnotherIsComplete) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", path_of("incomplete"));
  const ScopedVariable data_home("XDG_DATA_HOME", folder());
  write_small_dataset(folder_, "incomplete/mnist");
  write_small_dataset(folder_, "twingrad/mnist");
  fs::remove(path_of("incomplete/mnist/" + kFileNames[0]));
  EXPECT_EQ(load("mnist", 10).location, path_of("twingrad/mnist"));
}

TEST_F(LoadDataset, AcceptsUpTo256Classes) {
  write_small_dataset(folder_);
  folder_.write("train-labels-idx1-ubyte", labels({0, 255, 5}));
  EXPECT_EQ(load(folder(), 256).classes, 256);
}

TEST_F(LoadDataset, DrawsSyntheticDataFromSeedOne) {
  EXPECT_EQ(load("synthetic", 7).sha256, synthetic(1, 2000, 500, 7).sha256);
}

// ---- Refusals --------------------------------------------------------------------------------------------

TEST_F(LoadDataset, SaysHowToGetAMissingDataset) {
  const std::string refusal = refusal_of_load("mnist");
  EXPECT_THAT(refusal, StartsWith("mnist: expected the data set in data/mnist or "));
  EXPECT_THAT(refusal, HasSubstr(" or /usr/share/datasets/mnist, found none;"));
  EXPECT_THAT(refusal, EndsWith("; get it with: ./script/fetch-data mnist"));
  EXPECT_THAT(refusal, Not(HasSubstr("\n")));
}

TEST_F(LoadDataset, NamesTheFilesMissingAfterAnInterruptedDownload) {
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

TEST_F(LoadDataset, NamesTheFileMissingInADirectory) {
  write_small_dataset(folder_);
  fs::remove(path_of("t10k-labels-idx1-ubyte"));
  EXPECT_THAT(refusal_of_load(folder()),
              AllOf(StartsWith(folder() + ": "), HasSubstr("found no t10k-labels-idx1-ubyte;")));
}

TEST_F(LoadDataset, SuggestsTheNearestName) {
  EXPECT_EQ(
      refusal_of_load("fashon-mnist"),
      "data set \"fashon-mnist\": expected a directory or one of fashion-mnist, mnist, synthetic, found "
      "neither; give the directory with the four files or one of these names (did you mean fashion-mnist?)");
  EXPECT_THAT(refusal_of_load("minst"), EndsWith("(did you mean mnist?)"));
  EXPECT_THAT(refusal_of_load("sythetic"), EndsWith("(did you mean synthetic?)"));
}

TEST_F(LoadDataset, SuggestsNoNameIfNoneIsSimilar) {
  for (const std::string name : {"", "imagenet-21k"}) {
    EXPECT_THAT(refusal_of_load(name),
                AllOf(HasSubstr("one of fashion-mnist, mnist, synthetic"), Not(HasSubstr("did you mean"))));
  }
}

TEST_F(LoadDataset, RefusesAMissingDirectoryAndAFile) {
  EXPECT_EQ(refusal_of_load("no/such/folder"),
            "no/such/folder: expected a directory, found nothing there; check the path");
  write_small_dataset(folder_);
  EXPECT_THAT(refusal_of_load(path_of("train-images-idx3-ubyte")),
              HasSubstr("expected a directory, found a file; give the directory with the four files"));
}

TEST_F(LoadDataset, ReportsAnErrorInAnyFile) {
  for (const std::string& file : kFileNames) {
    write_small_dataset(folder_);
    folder_.write(file, "");
    EXPECT_THAT(refusal_of_load(folder()), StartsWith(path_of(file) + ": byte 0: expected a header")) << file;
  }
}

TEST_F(LoadDataset, RefusesDifferentNumbersOfLabelsAndImages) {
  write_small_dataset(folder_);
  folder_.write("train-labels-idx1-ubyte", labels({0, 1}));
  EXPECT_THAT(refusal_of_load(folder()),
              StartsWith(path_of("train-labels-idx1-ubyte") +
                         ": byte 4: expected 3 labels, as many as there are images, found 2;"));
}

TEST_F(LoadDataset, RefusesTestImagesOfAnotherSize) {
  write_small_dataset(folder_);
  folder_.write("t10k-images-idx3-ubyte", images(2, 4, 2, 20));  // as many pixels, but transposed
  EXPECT_THAT(refusal_of_load(folder()),
              StartsWith(path_of("t10k-images-idx3-ubyte") +
                         ": byte 8: expected images of 2 × 4, as in train-images-idx3-ubyte, found 4 × 2;"));
}

TEST_F(LoadDataset, RefusesLabelsOutOfRange) {
  write_small_dataset(folder_);
  EXPECT_THAT(refusal_of_load(folder(), 9), StartsWith(path_of("train-labels-idx1-ubyte") +
                                                       ": byte 9: expected a label from 0 to 8, found 9;"));
  folder_.write("t10k-labels-idx1-ubyte", labels({10, 2}));
  EXPECT_THAT(refusal_of_load(folder(), 10), StartsWith(path_of("t10k-labels-idx1-ubyte") +
                                                        ": byte 8: expected a label from 0 to 9, found 10;"));
}

TEST_F(LoadDataset, RefusesInvalidNumbersOfClasses) {
  write_small_dataset(folder_);
  for (const std::int64_t classes : {-1, 0, 257}) {
    EXPECT_EQ(refusal_of_load(folder(), classes), "number of classes: expected 1 to 256, found " +
                                                      std::to_string(classes) +
                                                      "; give the number of classes of the data set");
  }
}

// ---- The real Fashion-MNIST ------------------------------------------------------------------------------

TEST_F(LoadDataset, LoadsFashionMnistOrSaysHowToGetIt) {
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

// ---- Verification ----------------------------------------------------------------------------------------

TEST_F(LoadDataset, VerificationDetectsChangedFiles) {
  const ScopedVariable twingrad_data("TWINGRAD_DATA", folder());
  write_small_dataset(folder_, "mnist");
  const std::vector<FileVerdict> verdicts = verify("mnist", 10);
  ASSERT_EQ(verdicts.size(), kFileNames.size());
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    EXPECT_EQ(verdicts[i].file, path_of("mnist/" + kFileNames[i]));
    EXPECT_EQ(verdicts[i].sha256.size(), 64U);
    EXPECT_TRUE(verdicts[i].known);
    EXPECT_FALSE(verdicts[i].matches);
  }
}

TEST_F(LoadDataset, VerificationHasNoChecksumsForOtherFiles) {
  write_small_dataset(folder_);
  for (const FileVerdict& verdict : verify(folder(), 10)) {
    EXPECT_FALSE(verdict.known);
    EXPECT_FALSE(verdict.matches);
  }
}

TEST_F(LoadDataset, VerificationReportsErrorsOfLoad) {
  write_small_dataset(folder_);
  EXPECT_THAT(refusal_of([&] { verify(folder(), 9); }), HasSubstr("expected a label from 0 to 8, found 9;"));
  EXPECT_THAT(refusal_of([] { verify("synthetic", 10); }),
              StartsWith("synthetic: expected a data set of files, found a generated one;"));
}

TEST(NamedDatasets, HaveAPublishedChecksumForEachFile) {
  std::set<std::string> checksums;
  for (const NamedDataset& dataset : named_datasets()) {
    EXPECT_EQ(dataset.sha256.size(), kFileNames.size()) << dataset.name;
    for (const std::string& checksum : dataset.sha256) {
      EXPECT_EQ(checksum.size(), 64U) << dataset.name;
      EXPECT_TRUE(checksums.insert(checksum).second) << "duplicate: " << checksum;
    }
  }
}

TEST(NamedDatasets, HaveNamesForClassesThatAreNotDigits) {
  EXPECT_THAT(class_names("fashion-mnist"), ElementsAre("T-shirt/top", "trouser", "pullover", "dress", "coat",
                                                        "sandal", "shirt", "sneaker", "bag", "ankle boot"));
  EXPECT_THAT(class_names("mnist"), IsEmpty());
  EXPECT_THAT(class_names("another"), IsEmpty());
}

}  // namespace twingrad::data::dataset_test
